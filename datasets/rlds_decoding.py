"""Selection of the features of an RLDS dataset, and decoders of their steps."""

import io
import math
from collections.abc import Callable, Mapping, Sequence

import deflate
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image, UnidentifiedImageError

from genie_tf.datasets.checks import mixed_sizes_error
from genie_tf.datasets.frames import fit_frame, fit_frames
from genie_tf.datasets.threads import map_images
from genie_tf.errors import DataError

# Form of an observation that can be used as frames.
_FRAME = "frames of uint8 (height, width, 3), red, green and blue from 0 to 255"


def select_frame(
    dataset: str, features: tfds.features.FeaturesDict, camera: str | None
) -> tuple[str, tfds.features.FeatureConnector]:
    """Return the name and the feature of the column that holds the frames."""
    steps = dict(features).get("steps")
    needed = ("observation", "is_first")
    if not isinstance(steps, tfds.features.Dataset) or any(
        name not in steps for name in needed
    ):
        raise ValueError(
            f"Dataset {dataset!r} does not hold RLDS episodes: expected a dataset of "
            "'steps' with an 'observation' and 'is_first'; found "
            f"{', '.join(features)}."
        )
    observation = steps["observation"]
    if isinstance(observation, tfds.features.FeaturesDict):
        cameras = sorted(key for key, x in observation.items() if _is_frame(x))
        camera = camera or "image"
        if camera in cameras:
            return f"observation/{camera}", observation[camera]
        others = ", ".join(
            f"{key} ({_describe(value)})"
            for key, value in sorted(observation.items())
            if key not in cameras
        )
        raise ValueError(
            f"The observations of dataset {dataset!r} have no camera {camera!r}; "
            f"available: {', '.join(cameras) or 'none'}"
            + (f"; unusable: {others}; expected {_FRAME}." if others else ".")
        )
    if camera is not None:
        raise ValueError(
            f"The observations of dataset {dataset!r} have a single, unnamed camera; "
            f"received camera {camera!r}."
        )
    if not _is_frame(observation):
        raise ValueError(
            f"The observations of dataset {dataset!r} are {_describe(observation)}; "
            f"expected {_FRAME}: rewrite the dataset with frames in this form."
        )
    return "observation", observation


def select_numbers(
    steps: tfds.features.Dataset,
) -> dict[str, tfds.features.FeatureConnector]:
    """Return the features of discrete actions and rewards, if any."""
    kinds = {"action": "biu", "reward": "iuf"}
    return {
        name: steps[name]
        for name, kind in kinds.items()
        if name in steps and _is_scalar(steps[name], kind)
    }


def select_metadata(
    features: tfds.features.FeaturesDict,
) -> dict[str, tfds.features.FeatureConnector]:
    """Return the integer features of the episode metadata."""
    metadata = dict(features).get("episode_metadata")
    if not isinstance(metadata, tfds.features.FeaturesDict):
        return {}
    return {key: value for key, value in metadata.items() if _is_scalar(value, "iu")}


def _is_scalar(feature: tfds.features.FeatureConnector, kinds: str) -> bool:
    return feature.shape == () and np.dtype(feature.np_dtype).kind in kinds


def _is_frame(feature: tfds.features.FeatureConnector) -> bool:
    """Return whether a feature is an image or fixed-shape Tensor as in `_FRAME`."""
    shape = feature.shape
    return (
        isinstance(feature, tfds.features.Image)
        or (type(feature) is tfds.features.Tensor and None not in shape)
    ) and (len(shape) == 3 and shape[-1] == 3 and feature.np_dtype == np.uint8)


def _describe(feature: tfds.features.FeatureConnector) -> str:
    kind = type(feature).__name__
    if not isinstance(feature.shape, tuple) or not feature.shape:
        return kind
    dtype = getattr(feature.np_dtype, "__name__", feature.np_dtype)
    return f"{kind} of {dtype} {feature.shape}"


def frame_decoder(
    feature: tfds.features.FeatureConnector,
    size: tuple[int, int] | None,
    dataset: str,
) -> Callable[[Sequence], np.ndarray]:
    """Return a function that decodes frames to uint8 (frames, height, width, 3).

    If a size is given, frames are scaled to fill it.
    """
    if isinstance(feature, tfds.features.Image):

        def decode_images(encoded: Sequence[bytes]) -> np.ndarray:
            def decode(image):
                frame = _decode_image(image, feature.shape)
                return fit_frame(frame, size) if size else frame

            frames = map_images(decode, encoded)
            sizes = sorted({frame.shape[:2] for frame in frames})
            if len(sizes) > 1:
                raise mixed_sizes_error(f"Dataset {dataset!r}", sizes)
            return np.stack(frames)

        return decode_images

    decode = tensor_decoder(feature)
    return (lambda steps: fit_frames(decode(steps), size)) if size else decode


def _decode_image(encoded: bytes, shape: tuple[int | None, ...]) -> np.ndarray:
    """Decode an image to uint8 (height, width, 3)."""
    # Formats from which TFDS reads single images.
    formats = "PNG", "JPEG", "BMP"
    try:
        opened = Image.open(io.BytesIO(encoded), formats=formats)
    except UnidentifiedImageError as error:
        raise ValueError(f"it is not {', '.join(formats)}") from error
    with opened as image:
        size = image.height, image.width
        if any(expected not in (None, side) for expected, side in zip(shape, size)):
            raise ValueError(f"an image is {size}, not {shape}")
        return np.asarray(image.convert("RGB"))


def tensor_decoder(
    feature: tfds.features.Tensor,
) -> Callable[[Sequence], np.ndarray]:
    """Return a function that decodes tensors of fixed shape to (steps, *shape)."""
    shape, dtype = feature.shape, np.dtype(feature.np_dtype)
    size = math.prod(shape) * dtype.itemsize
    encoding = tfds.features.Encoding(feature.to_json_content().encoding)
    if encoding == tfds.features.Encoding.NONE:
        return np.stack

    def decode(steps: Sequence[bytes]) -> np.ndarray:
        """Decode like the feature, but zlib in less than half the time."""
        if encoding == tfds.features.Encoding.ZLIB:
            # Fails on a stream larger than this.
            steps = [deflate.zlib_decompress(step, size) for step in steps]
        if any(len(step) != size for step in steps):
            raise ValueError(f"its size is not {size} bytes")
        return np.frombuffer(bytearray().join(steps), dtype).reshape(-1, *shape)

    return decode


def select_tokens(
    dataset: str, steps: tfds.features.Dataset
) -> tfds.features.FeatureConnector:
    """Return the feature of the tokens."""
    tokens = steps["tokens"] if "tokens" in steps else None
    if (
        type(tokens) is not tfds.features.Tensor
        or len(tokens.shape) != 1
        or None in tokens.shape
        or tokens.np_dtype != np.uint16
    ):
        raise DataError(
            f"The tokens of dataset {dataset!r} are {tokens}; expected a Tensor of "
            "uint16 (patches,): recreate them with genie-tokenize."
        )
    return tokens


def check_tokenizer(dataset: str, metadata: Mapping, tokenizer: str) -> int:
    """Check that tokens come from a tokenizer, and return their `token_clip_length`."""
    if metadata["tokenizer"] != tokenizer:
        raise ValueError(
            f"The tokens of dataset {dataset!r} come from another tokenizer: pass that "
            "tokenizer, or run genie-tokenize again."
        )
    clip_length = metadata.get("clip_length") or 1
    if not isinstance(clip_length, int) or clip_length < 1:
        raise DataError(
            f"The metadata of dataset {dataset!r} have the clip length {clip_length!r}; "
            "expected 1 or more: recreate the tokens with genie-tokenize."
        )
    return clip_length
