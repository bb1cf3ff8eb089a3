"""Folder of videos as a TFDS dataset of RLDS episodes without actions."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from genie_tf.datasets.rlds_features import frame_feature
from genie_tf.datasets.video_folder import videos


@dataclasses.dataclass(eq=False, kw_only=True)
class VideoFolderConfig(tfds.core.BuilderConfig):
    """Videos of each split, and the form of their episodes.

    Attributes:
        folder: folder of the videos.
        splits: names of the videos of each split, relative to the folder.
        skipped: for each skipped file, why it cannot be used.
        fps: frames per second.
        height, width: size of the frames, in pixels.
        max_steps: maximum number of steps per episode; longer scenes are divided.
    """

    folder: Path
    splits: Mapping[str, Sequence[str]]
    skipped: Mapping[str, str]
    fps: float
    height: int
    width: int
    max_steps: int


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builder of a dataset from a user's videos.

    It is not registered: TFDS reads the finished dataset from its files.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    # TFDS would look in genie_tf/, which lacks this folder in an editable install.
    pkg_dir_path = epath.Path(__file__).parent

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        step = {
            "observation": frame_feature(
                (config.height, config.width, 3), "A frame of the video."
            ),
            "is_first": np.bool_,
            "is_last": np.bool_,
            "is_terminal": np.bool_,
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "steps": tfds.features.Dataset(step),
                    "episode_metadata": {
                        "video": tfds.features.Text(doc="Name of the video."),
                        "start": tfds.features.Scalar(
                            np.float32,
                            doc="Start of the episode in the video, in seconds.",
                        ),
                    },
                }
            ),
            homepage="https://github.com/PyAV-Org/PyAV",
            metadata=tfds.core.MetadataDict(
                fps=config.fps, skipped=dict(config.skipped)
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {
            split: self._generate_examples(names)
            for split, names in self.builder_config.splits.items()
        }

    def _generate_examples(self, names: Sequence[str]) -> Iterator[tuple[bytes, dict]]:
        config = self.builder_config
        is_empty = True
        for name in tfds.core.utils.tqdm(names, unit=" videos", leave=False):
            episodes = videos.read_episodes(
                config.folder / name,
                fps=config.fps,
                height=config.height,
                width=config.width,
                max_steps=config.max_steps,
            )
            try:
                for number, (start, frames) in enumerate(episodes):
                    key = os.fsencode(f"{name}_{number}")
                    yield key, _to_example(videos.printable(name), start, frames)
                    is_empty = False
            except ValueError as error:
                self.info.metadata["skipped"][videos.printable(name)] = (
                    f"part of it, because {error}"
                )
        if is_empty:
            raise ValueError(
                "The videos have changed: a split has no usable videos left."
            )


def _to_example(name: str, start: float, frames: np.ndarray) -> dict:
    last = len(frames) - 1
    return {
        "steps": [
            {
                "observation": frame,
                "is_first": position == 0,
                "is_last": position == last,
                # The video ends or is cut here, but its world does not.
                "is_terminal": False,
            }
            for position, frame in enumerate(frames)
        ],
        "episode_metadata": {"video": name, "start": start},
    }
