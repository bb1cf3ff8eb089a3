"""A network that reads true actions off frames, to see whether a world carries them out."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from keras import ops

from genie_tf.evaluation.feature_networks import load_keras_model
from genie_tf.evaluation.quality import mean
from genie_tf.files import local_path


@dataclasses.dataclass(frozen=True)
class ActionProbe:
    """An inverse dynamics model of a dataset.

    Attributes:
        name: of its file.
        actions: the dataset's `Actions`.
        function: of video, float32 in [-1, 1], (b, t, height, width, 3), the logits of
            the groups of actions, (b, t-1, groups), in the order of their numbers.
    """

    name: str
    actions: tuple
    function: Callable = dataclasses.field(repr=False)

    def __call__(self, video) -> np.ndarray:
        """Return the likeliest group between two frames: int (clips, time-1).

        Args:
            video: (clips, time, height, width, 3), uint8, or float in [0, 1].
        """
        video = np.asarray(video)
        if video.dtype == "uint8":
            video = video / 255
        video = (2 * np.clip(video, 0, 1) - 1).astype("float32")
        groups = np.unique(self.actions.groups)
        return groups[np.asarray(self.function(video)).argmax(axis=-1)]


def load_action_probe(source: str, actions, frame_shape: tuple) -> ActionProbe:
    """Load a probe that `genie-features` has written.

    Args:
        source: a .keras file of Keras' own layers; no code from it is run.
        actions: the `Actions` of the dataset, or None if it does not name them.
        frame_shape: of the dataset and the world.

    Raises:
        ValueError: if there is no such file, or its probe is not of this dataset.
    """
    path = local_path(source)
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(
            "An action probe must be a .keras file that genie-features has written; "
            f"{source!r} is none that exists."
        )
    if actions is None:
        raise ValueError(
            "An action probe needs a dataset that names its actions; this one doesn't."
        )
    _, function, shape = load_keras_model(path)
    groups = len(set(actions.groups))
    takes, returns = shape[2:], None
    if len(shape) == 5 and takes == tuple(frame_shape):
        returns = np.shape(function(np.zeros((1, 2, *frame_shape), "float32")))
    if returns != (1, 1, groups):
        raise ValueError(
            f"{source} is not a probe of this dataset: expected video of frames "
            f"{tuple(frame_shape)} and logits of {groups} groups of actions; it takes "
            f"{shape}" + (f" and returns {returns}." if returns else ".")
        )
    return ActionProbe(path.name, actions, function)


def probe_answers(probe: ActionProbe, videos: Mapping) -> dict:
    """Return what the probe reads off predicted frames and the true ones: (b, frames)."""
    prediction = ops.convert_to_numpy(videos["prediction"])
    truth = videos["truth"][:, : prediction.shape[1]]
    return {"real": probe(truth), "generated": probe(prediction)}


def probe_scores(probe: ActionProbe, answers: Mapping, true, latent=None) -> dict:
    """Return how often the probe is right, a dict for JSON.

    Args:
        probe: the probe.
        answers: of `probe_answers`, of all clips.
        true: the true actions, int (clips, time-1).
        latent: the latent actions that the frames were predicted with, the same shape,
            or None if these were the true ones. Each stands for the true group that it
            most often meets in these clips.
    """
    true, frames = probe.actions.group(true), answers["real"].shape[1]
    rows = {"real": (answers["real"], true)}
    if latent is None:
        rows["generated_given"] = answers["generated"], true
    else:
        assigned = _most_frequent(latent, true)[latent]
        rows["real_assigned"] = answers["real"], assigned
        rows["generated"] = answers["generated"], assigned
    return {
        "probe": probe.name,
        "rows": {
            name: {
                "accuracy": mean((answer == label[:, :frames]).mean(axis=1)),
                "majority": float(np.bincount(label[:, :frames].ravel()).max())
                / answer.size,
            }
            for name, (answer, label) in rows.items()
        },
    }


def _most_frequent(latent, true) -> np.ndarray:
    """Return the true action that each latent action most often meets."""
    counts = np.zeros((latent.max() + 1, true.max() + 1), int)
    np.add.at(counts, (latent, true), 1)
    return counts.argmax(axis=1)
