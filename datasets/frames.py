"""Frames scaled to the size that a model is for, and compressed."""

import deflate
import numpy as np
from PIL import Image, ImageOps

from genie_tf.datasets.threads import map_images

# Of libdeflate, which writes the streams of zlib: 12% smaller than zlib's level 1 in less
# time. Level 6 saves another 3% in 1.4 times the time, level 12 another 9% in 50 times.
_COMPRESSION = 4


def fit_frames(video: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale frames to fill a size, and cuts off evenly what is too high or too wide.

    Args:
        video: uint8 (..., height, width, 3).
        size: the new height and width.

    Returns:
        uint8 (..., new height, new width, 3).
    """
    if video.shape[-3:-1] == tuple(size):
        return video
    frames = video.reshape(-1, *video.shape[-3:])
    fitted = np.stack(map_images(lambda frame: fit_frame(frame, size), frames))
    return fitted.reshape(*video.shape[:-3], *fitted.shape[1:])


def fit_frame(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Do the same to one frame, uint8 (height, width, 3)."""
    if frame.shape[:2] == tuple(size):
        return frame
    height, width = size
    method = Image.Resampling.BILINEAR
    return np.asarray(ImageOps.fit(Image.fromarray(frame), (width, height), method))


def compress_frame(frame: np.ndarray) -> bytes:
    """Return a frame as the zlib string that `rlds_features.frame_feature` stores."""
    return bytes(deflate.zlib_compress(frame, _COMPRESSION))
