"""Visible structure of frames, without true frames to compare them with.

Numpy in, numpy out; frames are uint8, or float in [0, 1].
"""

import numpy as np

_PATCH = 8  # Pixels per side.
_LEAST = 4 / 255  # Gray levels below this are invisible.
_STRIPED = 5  # Ratio of gradients across and along stripes.


def sharpness(frames) -> np.ndarray:
    """Return the mean absolute difference of neighboring pixels in each frame.

    Horizontal and vertical neighbors count equally, in all colors.

    Args:
        frames: (..., height, width, channels), of at least 2x2 pixels.

    Returns:
        float64 (...), in [0, 1].
    """
    frames = _to_float(frames)
    return np.mean(
        [
            np.abs(np.diff(frames, axis=axis)).mean(axis=(-3, -2, -1))
            for axis in (-3, -2)
        ],
        axis=0,
    )


def detail(frames) -> np.ndarray:
    """Return the share of 8x8 patches that are not flat, in each frame.

    A patch is flat if the standard deviation of its gray values is below 4/255. Gray is
    the mean of the colors.

    Args:
        frames: (..., height, width, channels), of at least 8x8 pixels. Rows and columns
            after the last complete patch are ignored.

    Returns:
        float64 (...), in [0, 1].
    """
    deviation = _gray_patches(frames).std(axis=(-3, -1))
    return np.mean(deviation >= _LEAST, axis=(-2, -1))


def stripes(frames) -> np.ndarray:
    """Return the share of 8x8 patches that are striped, in each frame.

    A patch is striped if its mean absolute gradient along one axis is above 4/255, and
    along the other axis is less than a fifth of that. A world that repeats edge pixels
    can be sharp and detailed, but it is striped.

    Args:
        frames: see `detail`.

    Returns:
        float64 (...), in [0, 1].
    """
    patches = _gray_patches(frames)
    gradients = [
        np.abs(np.diff(patches, axis=axis)).mean(axis=(-3, -1)) for axis in (-3, -1)
    ]
    along, across = np.sort(gradients, axis=0)
    is_striped = (_STRIPED * along < across) & (across > _LEAST)
    return is_striped.mean(axis=(-2, -1))


def pairwise_distances(frames) -> np.ndarray:
    """Return the root mean squared difference of each pair of frames.

    Args:
        frames: (n, height, width, channels).

    Returns:
        float64 (n, n), in [0, 1]; 0 on the diagonal.
    """
    pixels = _to_float(frames).reshape(len(frames), -1)
    return np.stack(
        [np.sqrt(np.mean((pixels - pixel) ** 2, axis=1)) for pixel in pixels]
    )


def _gray_patches(frames) -> np.ndarray:
    """Return gray values (..., rows, 8, columns, 8)."""
    gray = _to_float(frames).mean(axis=-1)
    rows, columns = (size // _PATCH for size in gray.shape[-2:])
    return gray[..., : rows * _PATCH, : columns * _PATCH].reshape(
        *gray.shape[:-2], rows, _PATCH, columns, _PATCH
    )


def _to_float(frames) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.dtype == "uint8":
        return frames / 255
    return np.clip(frames.astype("float64"), 0, 1)
