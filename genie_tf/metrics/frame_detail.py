"""How much there is to see in frames, without a true frame to compare them with.

Numpy in, numpy out; frames are uint8, or float in [0, 1].
"""

import numpy as np

_PATCH = 8  # Pixels, in both directions.
_LEAST_DEVIATION = 4 / 255


def sharpness(frames) -> np.ndarray:
    """Return the mean gradient of each frame.

    The mean absolute difference of neighboring pixels, rows and columns alike, over all
    colors. A blurred frame has less than a sharp one.

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
    """Return the share of 8x8 patches that aren't flat, in each frame.

    A patch is flat if the standard deviation of its gray values, the means of the
    colors, is below 4/255. Rows and columns beyond the last complete patch don't count.

    Args:
        frames: (..., height, width, channels), of at least 8x8 pixels.

    Returns:
        float64 (...), in [0, 1].
    """
    gray = _to_float(frames).mean(axis=-1)
    rows, columns = (size // _PATCH for size in gray.shape[-2:])
    patches = gray[..., : rows * _PATCH, : columns * _PATCH].reshape(
        *gray.shape[:-2], rows, _PATCH, columns, _PATCH
    )
    deviation = patches.std(axis=(-3, -1))
    return np.mean(deviation >= _LEAST_DEVIATION, axis=(-2, -1))


def pairwise_distances(frames) -> np.ndarray:
    """Return the root mean squared difference of every two frames.

    Args:
        frames: (n, height, width, channels).

    Returns:
        float64 (n, n), in [0, 1]; 0 on the diagonal.
    """
    pixels = _to_float(frames).reshape(len(frames), -1)
    return np.stack(
        [np.sqrt(np.mean((pixels - pixel) ** 2, axis=1)) for pixel in pixels]
    )


def _to_float(frames) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.dtype == "uint8":
        return frames / 255
    return np.clip(frames.astype("float64"), 0, 1)
