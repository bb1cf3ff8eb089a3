"""Feature networks for FID and FVD, from files or TensorFlow Hub."""

import dataclasses
import importlib.util
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genie_tf.files import local_path

# Images or clips per call of a network.
_BATCH = 16
# Limit for config.json in a .keras file; published networks need less than 1 MB.
_MAX_CONFIG_BYTES = 2**22
# Required by the authors of FVD: I3D halves the time three times.
_LEAST_FRAMES = 9

_INPUTS = {
    "fid": "float32 images (batch, height, width, 3)",
    "fvd": "float32 video (batch, time, height, width, 3)",
}
# Frame sizes of the published networks, for networks that accept any size.
_FRAME_SIZES = {"fid": (299, 299), "fvd": (224, 224)}
# Handles of the networks of the published scores, on both sites and in all versions.
_PUBLISHED = {
    "fid": r"tensorflow/tfgan/eval/inception(/\d+)?",
    "fvd": r"deepmind/i3d-kinetics(-400(/\d+)?"
    r"|/(frameworks/)?tensorflow1/(variations/)?400(/(versions/)?\d+)?)",
}


@dataclasses.dataclass(frozen=True)
class FeatureNetwork:
    """A network that computes features of video, and scales frames as it needs them.

    Attributes:
        kind: "fid" for features of frames, or "fvd" for features of clips.
        name: name of the network.
        score_name: name of the Fréchet distance of its features: "FID" or "FVD" for the
            network of the published scores, otherwise followed by the network's name.
        frame_size: (height, width) to which frames are scaled.
        num_frames: the only clip length it accepts, or None.
        black: its value for black; white is 1.
        width: number of features.
        function: maps prepared frames to features.
    """

    kind: str
    name: str
    score_name: str
    frame_size: tuple[int, int]
    num_frames: int | None
    black: float
    width: int
    function: Callable[[np.ndarray], Any] = dataclasses.field(repr=False)

    def __call__(self, video) -> np.ndarray:
        """Return the features of clips.

        Args:
            video: (clips, time, height, width, 3), uint8, or float in [0, 1].

        Returns:
            float64 (samples, width); a sample is a frame, clip after clip, or a clip.

        Raises:
            ValueError: if `video` is not a video, the network does not accept this clip
                length, or its features are malformed.
        """
        video = np.asarray(video)
        is_pixels = video.dtype == "uint8" or video.dtype.kind == "f"
        if video.ndim != 5 or video.shape[-1] != 3 or not video.size or not is_pixels:
            raise ValueError(
                "Expected video (clips, time, height, width, 3), uint8, or float in "
                f"[0, 1]; received shape {video.shape}, dtype {video.dtype}."
            )
        self._check_length(video.shape[1])
        if self.kind == "fid":
            video = video.reshape(-1, *video.shape[2:])
        return np.concatenate(
            [
                _compute(self.name, self.function, self._prepare(video[i : i + _BATCH]))
                for i in range(0, len(video), _BATCH)
            ]
        )

    def check_clips(self, clips: int, clip_length: int) -> None:
        """Check that a score of this number of clips can be computed.

        Args:
            clips: number of true clips, and of predicted clips.
            clip_length: frames per clip.

        Raises:
            ValueError: if the clips are too short, or too few for the covariance of the
                features.
        """
        self._check_length(clip_length)
        samples = num_samples_needed(self)
        needed = -(-samples // clip_length) if self.kind == "fid" else samples
        if clips < needed:
            raise ValueError(
                f"{self.score_name} needs {needed} clips of {clip_length} frames or "
                f"more, because its network has {self.width} features; received {clips}."
            )

    def _check_length(self, clip_length: int) -> None:
        if self.kind == "fvd" and clip_length < _LEAST_FRAMES:
            raise ValueError(
                f"{self.score_name} needs clips of {_LEAST_FRAMES} frames or more; "
                f"received {clip_length}."
            )
        if self.num_frames not in (None, clip_length):
            raise ValueError(
                f"The network {self.name} takes clips of {self.num_frames} frames; "
                f"received {clip_length}."
            )

    def _prepare(self, frames: np.ndarray) -> np.ndarray:
        """Return frames in the network's size and range, float32 (..., h, w, 3)."""
        from keras import ops

        images = frames.reshape(-1, *frames.shape[-3:]).astype("float32")
        if frames.dtype == "uint8":
            images /= 255
        # The published scores scale without antialiasing.
        images = ops.image.resize(
            np.clip(images, 0, 1), self.frame_size, "bilinear", antialias=False
        )
        images = self.black + (1 - self.black) * ops.convert_to_numpy(images)
        return images.reshape(*frames.shape[:-3], *self.frame_size, 3)


def num_samples_needed(network: FeatureNetwork) -> int:
    """Return the number of samples that make the covariance of features invertible."""
    return network.width + 1


def load_feature_network(source: str, kind: str) -> FeatureNetwork:
    """Load a network that computes features.

    The network must map float32 images (batch, height, width, 3), or video (batch, time,
    height, width, 3), with values in [-1, 1], to finite features (batch, width). Networks
    on TensorFlow Hub called "feature_vector" get values in [0, 1], as Hub requires.

    Args:
        source: folder of a SavedModel, a .keras file, whose code is never run, or a
            handle of TensorFlow Hub. A SavedModel must have a signature
            "serving_default", a single signature, or be callable. Of several outputs,
            "pool_3" is used.
        kind: "fid" or "fvd".

    Raises:
        ValueError: if there is no such network, it does not meet these requirements, or
            a handle needs tensorflow_hub, which is not installed.
    """
    if kind not in _INPUTS:
        raise ValueError(f"`kind` must be 'fid' or 'fvd'; received {kind!r}.")
    handle = re.fullmatch(
        r"https://(?:tfhub\.dev|(?:www\.)?kaggle\.com/models)/(.+)", source
    )
    # Other web addresses are no paths either.
    path = None if source.startswith("https://") else local_path(source)
    if handle:
        name = handle[1]
        function, shape = _from_saved_model(name, _load_hub(source))
    elif path and path.suffix == ".keras" and path.is_file():
        name, function, shape = load_keras_model(path)
    elif path and (path / "saved_model.pb").is_file():
        name = path.resolve().name
        function, shape = _from_saved_model(name, _load_saved_model(path))
    else:
        raise ValueError(
            "A feature network must be an existing SavedModel folder, a .keras file or a "
            "handle such as https://tfhub.dev/deepmind/i3d-kinetics-400/1; received "
            f"{source!r}."
        )
    _, *time, height, width, _ = _check_shape(name, shape, kind)
    is_published = handle and re.fullmatch(_PUBLISHED[kind], name.lower())
    network = FeatureNetwork(
        kind=kind,
        name=name,
        score_name=kind.upper() if is_published else f"{kind.upper()}-{name}",
        frame_size=(height or _FRAME_SIZES[kind][0], width or _FRAME_SIZES[kind][1]),
        num_frames=time[0] if time else None,
        black=0.0 if handle and re.search("feature[-_]vector", name) else -1.0,
        width=0,
        function=function,
    )
    blank = np.zeros((1, network.num_frames or 16, *network.frame_size, 3), "uint8")
    return dataclasses.replace(network, width=network(blank).shape[1])


def _load_hub(handle: str) -> Any:
    if not importlib.util.find_spec("tensorflow_hub"):
        raise ValueError(f"{handle} needs tensorflow_hub: pip install genie_tf[hub]")
    import tensorflow as tf
    import tensorflow_hub

    try:
        return tensorflow_hub.load(handle)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"{handle} could not be loaded: {_first_line(error)}; on a machine without "
            "network access, pass the folder of a copy."
        ) from error


def _load_saved_model(path: Path) -> Any:
    import tensorflow as tf

    try:
        return tf.saved_model.load(path)
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            f"{path} could not be loaded as a SavedModel: {_first_line(error)}"
        ) from error


def load_keras_model(path: Path) -> tuple[str, Callable, tuple]:
    """Return the name, function and input shape of a Keras model; run none of its code.

    Raises:
        ValueError: if it can't be loaded, or does not have one input and one output.
    """
    import keras

    try:
        _check_keras_size(path)
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds of errors.
        raise ValueError(
            f"{path} could not be loaded as a Keras model with built-in layers only: "
            f"{_first_line(error)}"
        ) from error
    _check_single(model.name, "input", [x.name for x in model.inputs])
    _check_single(model.name, "output", [x.name for x in model.outputs])
    return model.name, model.predict_on_batch, tuple(model.inputs[0].shape)


def _check_keras_size(path: Path) -> None:
    """Raise a ValueError if a file describes a model that is larger than its weights."""
    import keras

    from genie_tf.presets.without_weights import without_weights

    with zipfile.ZipFile(path) as archive:
        config, weights = (
            archive.getinfo(name) for name in ("config.json", "model.weights.h5")
        )
        if config.file_size > _MAX_CONFIG_BYTES:
            raise ValueError(f"its config.json has {config.file_size:,} bytes.")
        text = archive.read(config)
    model = without_weights(
        lambda: keras.saving.deserialize_keras_object(json.loads(text), safe_mode=True)
    )
    # A number takes at least a byte. Compressed weights can grow on reading.
    if model.count_params() > min(weights.file_size, 4 * weights.compress_size):
        raise ValueError(
            f"its config.json describes {model.count_params():,} numbers; its weights are "
            f"{weights.file_size:,} bytes."
        )


def _from_saved_model(name: str, loaded: Any) -> tuple[Callable, tuple | None]:
    """Return the function of a SavedModel, and its input shape if declared."""
    import tensorflow as tf

    signatures = getattr(loaded, "signatures", {})
    if not signatures:
        if not callable(loaded):
            raise ValueError(
                f"The SavedModel {name} must have a signature or be callable; it has none "
                "and is not callable."
            )
        return lambda frames: loaded(tf.constant(frames)), None
    if len(signatures) > 1 and "serving_default" not in signatures:
        raise ValueError(
            f"The SavedModel {name} must have one signature, or one called "
            f"serving_default; it has {', '.join(sorted(signatures))}."
        )
    signature = signatures.get("serving_default", next(iter(signatures.values())))
    inputs = signature.structured_input_signature[1]
    _check_single(name, "input", list(inputs))
    ((key, spec),) = inputs.items()
    if spec.dtype != tf.float32:
        raise ValueError(
            f"The network {name} must take float32; it declares {spec.dtype.name}."
        )
    shape = None if spec.shape.rank is None else tuple(spec.shape)
    return lambda frames: signature(**{key: tf.constant(frames)}), shape


def _check_single(network: str, kind: str, names: list[str]) -> None:
    if len(names) != 1:
        raise ValueError(
            f"The network {network} must have one {kind}; it has {len(names)}: "
            f"{', '.join(sorted(names))}."
        )


def _check_shape(name: str, shape: tuple | None, kind: str) -> tuple:
    """Return the shape of the input, with None for free axes."""
    rank = 4 if kind == "fid" else 5
    shape = shape or rank * (None,)
    if len(shape) != rank or shape[0] is not None or shape[-1] not in (3, None):
        raise ValueError(
            f"For {kind.upper()}, the network {name} must take {_INPUTS[kind]}, of any "
            f"batch size; it declares {shape}."
        )
    return shape


def _compute(name: str, function: Callable, frames: np.ndarray) -> np.ndarray:
    """Return the features of prepared frames, float64 (batch, width)."""
    import tensorflow as tf

    try:
        features = function(frames)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ValueError(
            f"The network {name} cannot compute features of {frames.shape}: "
            f"{_first_line(error)}"
        ) from error
    if isinstance(features, Mapping):
        # The network of published FIDs also returns logits.
        if "pool_3" in features:
            features = {"pool_3": features["pool_3"]}
        _check_single(name, "output", list(features))
        (features,) = features.values()
    features = np.asarray(features, "float64")
    if features.ndim != 2 or len(features) != len(frames):
        raise ValueError(
            f"The network {name} must return features (batch, width); for "
            f"{len(frames)} it returned {features.shape}."
        )
    if not np.isfinite(features).all():
        raise ValueError(
            f"The network {name} returned features that are not finite: choose another."
        )
    return features


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
