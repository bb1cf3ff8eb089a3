"""Features shared by the RLDS datasets of genie_tf."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from genie_tf.datasets.actions import Actions, parse_actions


def frame_feature(
    shape: tuple[int, ...], doc: str | None = None
) -> tfds.features.Tensor:
    """Return the feature of frames compressed by `frames.compress_frame`."""
    return tfds.features.Tensor(
        shape=shape, dtype=np.uint8, encoding=tfds.features.Encoding.ZLIB, doc=doc
    )


def action_feature(
    actions: Actions | None, doc: str | None = None
) -> tfds.features.FeatureConnector:
    """Return the feature of discrete actions, with their names, if any."""
    if actions is None:
        return tfds.features.Scalar(np.int32, doc=doc)
    return tfds.features.ClassLabel(names=actions.names, doc=doc)


def action_metadata(actions: Actions | None) -> dict[str, Any]:
    """Return the dataset metadata that describe the actions."""
    return {} if actions is None else {"action_groups": list(actions.groups)}


def read_actions(info: tfds.core.DatasetInfo, dataset: str) -> Actions | None:
    """Return the names and groups of a dataset's actions, if it names them.

    Raises:
        DataError: if the metadata have another form.
    """
    feature = dict(info.features["steps"].feature).get("action")
    if not isinstance(feature, tfds.features.ClassLabel) or not feature.num_classes:
        return None
    names = feature.names
    groups = (info.metadata or {}).get("action_groups", list(range(len(names))))
    return parse_actions({"names": names, "groups": groups}, f"Dataset {dataset!r}")


def flag_columns(num_steps: int) -> Mapping[str, np.ndarray]:
    """Return the columns that mark the first and last step of an episode."""
    position = np.arange(num_steps)
    return {
        "steps/is_first": position == 0,
        "steps/is_last": position == num_steps - 1,
    }
