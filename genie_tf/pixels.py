"""Conversion of frames from floats in [0, 1] to bytes."""

import numpy as np


def to_bytes(frames) -> np.ndarray:
    """Return frames as uint8: clip floats to [0, 1] and scale them to 0 to 255."""
    return np.round(np.clip(frames, 0, 1) * 255).astype("uint8")


def video_to_bytes(video) -> np.ndarray:
    """Check a video and return it as uint8.

    Args:
        video: uint8, or float in [0, 1], (time, height, width, 3); floats are clipped.

    Raises:
        ValueError: if it has another shape or dtype, or numbers that are not finite.
    """
    video = np.asarray(video)
    is_pixels = video.dtype == "uint8" or video.dtype.kind == "f"
    if not is_pixels or video.ndim != 4 or video.shape[-1] != 3 or not video.size:
        raise ValueError(
            "A video must be uint8, or float in [0, 1], of shape (time, height, width, "
            f"3); received {video.dtype} of shape {video.shape}."
        )
    if video.dtype == "uint8":
        return video
    if not np.isfinite(video).all():
        raise ValueError("A video must have finite numbers; received NaN or infinity.")
    return to_bytes(video)
