"""Conversion of pixels to floats on the device."""

from keras import ops


def to_unit_range(video, dtype="float32"):
    """Return a video, uint8 or float in [0, 1], as float in [0, 1]."""
    if "int" in str(video.dtype):
        return ops.cast(video, dtype) / 255
    return ops.cast(video, dtype)
