"""An action probe: a network that names the true action between two frames."""

import dataclasses
import hashlib
import json
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
        name: name of its file.
        actions: the `Actions` of the dataset.
        function: maps video, float32 in [-1, 1], (b, t, height, width, 3), to logits of
            the groups of actions, (b, t-1, groups), in ascending order.
    """

    name: str
    actions: tuple
    function: Callable = dataclasses.field(repr=False)

    def __call__(self, video) -> np.ndarray:
        """Return the most likely group between frames: int (clips, time-1).

        Args:
            video: (clips, time, height, width, 3), uint8, or float in [0, 1].
        """
        video = np.asarray(video)
        if video.dtype == "uint8":
            video = video / 255
        video = (2 * np.clip(video, 0, 1) - 1).astype("float32")
        groups = np.unique(self.actions.groups)
        return groups[np.asarray(self.function(video)).argmax(axis=-1)]


def probe_name(actions) -> str:
    """Return the name of Keras models that are probes of a dataset's `Actions`."""
    digest = hashlib.sha256(json.dumps(actions).encode()).hexdigest()
    return f"action_probe_{digest[:16]}"


def load_action_probe(source: str, actions, frame_shape: tuple) -> ActionProbe:
    """Load a probe written by `genie-features`.

    Args:
        source: a .keras file of built-in layers, whose code is never run.
        actions: the `Actions` of the dataset, or None if it does not name them.
        frame_shape: frame shape of the dataset and the world.

    Raises:
        ValueError: if there is no such file, or it is not a probe of this dataset.
    """
    path = local_path(source)
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(
            "An action probe must be an existing .keras file written by genie-features; "
            f"received {source!r}."
        )
    if actions is None:
        raise ValueError(
            "An action probe needs a dataset that names its actions; this one does not."
        )
    name, function, shape = load_keras_model(path)
    if shape != (None, None, *frame_shape):
        raise ValueError(
            f"{source} is not a probe of this dataset: expected one of video with frames "
            f"{tuple(frame_shape)}; it takes {shape}."
        )
    if name != probe_name(actions):
        raise ValueError(
            f"{source} is not a probe of this dataset: expected one that genie-features "
            f"trained on the same actions; received the network {name!r}."
        )
    return ActionProbe(path.name, actions, function)


def probe_answers(probe: ActionProbe, videos: Mapping, prompt_frames: int = 1) -> dict:
    """Return the probe's answers for true and predicted frames, each (b, frames)."""
    prediction = ops.convert_to_numpy(videos["prediction"])[:, prompt_frames - 1 :]
    truth = videos["truth"][:, prompt_frames - 1 :][:, : prediction.shape[1]]
    return {"real": probe(truth), "generated": probe(prediction)}


def probe_scores(
    probe: ActionProbe, answers: Mapping, true, latent=None, prompt_frames: int = 1
) -> dict:
    """Return the accuracy of the probe on real and predicted frames, a dict for JSON.

    Args:
        probe: the probe.
        answers: results of `probe_answers` for all clips.
        true: the true actions, int (clips, time-1).
        latent: the latent actions that led to the predicted frames, the same shape; None
            if the true ones did. Each is assigned the true group that it most often
            meets in these clips.
        prompt_frames: frames before the predicted ones.
    """
    frames = slice(prompt_frames - 1, prompt_frames - 1 + answers["real"].shape[1])
    true = probe.actions.group(true)
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
                "accuracy": mean((answer == label[:, frames]).mean(axis=1)),
                "majority": float(np.bincount(label[:, frames].ravel()).max())
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
