"""TFDS's own checks of the CoinRun builder."""

import os

import tensorflow_datasets as tfds
from genie_tf.datasets.coinrun import coinrun_dataset_builder


class BuilderTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = coinrun_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = [
        coinrun_dataset_builder.CoinRunConfig(
            name="tiny",
            description="A few levels, for tests.",
            levels={"train": range(3), "validation": range(10_000, 10_001)},
            steps_per_level=20,
        ),
    ]
    SPLITS = {"train": 3, "validation": 1}
    # Nothing is downloaded, so there are no dummy files, but TFDS wants a folder.
    EXAMPLE_DIR = os.fspath(coinrun_dataset_builder.Builder.pkg_dir_path)
