"""PSNR and SSIM of each predicted frame.

Both take uint8, divided by 255, or float, clipped to [0, 1]. Both compute in float32
and can be compiled.
"""

import math

import keras
import numpy as np
from keras import ops

_MIN_MSE = 1e-10  # An exact copy scores 100 dB.
_SIGMA, _RADIUS = 1.5, 5  # SSIM's Gaussian window, 11 pixels wide.
MIN_SSIM_SIDE = 2 * _RADIUS + 1
_C1, _C2 = 0.01**2, 0.03**2


def black_out(video, region):
    """Return a video whose pixels in a region are black, such as a painted map.

    Args:
        video: (..., height, width, channels), an array or a tensor.
        region: (top, left, height, width) in pixels; None for no region.
    """
    if region is None:
        return video
    top, left, height, width = region
    keep = np.ones((*video.shape[-3:-1], 1), "float32")
    keep[top : top + height, left : left + width] = 0
    dtype = keras.backend.standardize_dtype(video.dtype)
    return video * keep.astype(dtype)


def psnr(target, prediction):
    """Return the peak signal-to-noise ratio of each frame.

    The squared error is averaged per frame, so a mean over frames is a mean of
    decibels; `keras.ops.psnr` pools all frames into one error and returns a lower
    number.

    Args:
        target: (..., height, width, channels), uint8, or float in [0, 1].
        prediction: the same shape; its dtype can differ.

    Returns:
        float32 (...): decibels, at most 100.

    Raises:
        ValueError: if the shapes differ or a dtype is neither uint8 nor float.
    """
    target, prediction = _comparable_frames(target, prediction)
    mse = ops.mean((target - prediction) ** 2, axis=(-3, -2, -1))
    return -10 / math.log(10) * ops.log(ops.maximum(mse, _MIN_MSE))


def psnr_of_mean_error(psnr):
    """Return the PSNR of the mean squared error of many frames, at most their mean PSNR.

    The worst frames decide it, and an exact copy is only an error of zero.

    Args:
        psnr: decibels of each frame, from `psnr`; any shape.
    """
    errors = 10 ** (-np.asarray(psnr, "float64") / 10)
    return float(-10 * np.log10(errors.mean()))


def ssim(target, prediction):
    """Return the structural similarity of each frame (Wang et al. 2004).

    Uses an 11x11 Gaussian window of sigma 1.5 inside the frame, per channel. Equal to
    scikit-image's `structural_similarity` with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1, channel_axis=-1`.

    Args:
        target: (..., height, width, channels), uint8, or float in [0, 1]; height and
            width at least 11.
        prediction: the same shape; its dtype can differ.

    Returns:
        float32 (...), at most 1, for equal frames.

    Raises:
        ValueError: if the shapes differ, a dtype is neither uint8 nor float, or the
            frames are smaller than the window.
    """
    x, y = _comparable_frames(target, prediction)
    if min(x.shape[-3:-1]) < MIN_SSIM_SIDE:
        raise ValueError(
            f"SSIM needs frames of at least {MIN_SSIM_SIDE}x{MIN_SSIM_SIDE} "
            f"pixels; received shape {tuple(x.shape)}."
        )
    # Center values: variances are small differences of squares, and smaller squares
    # lose less precision.
    x, y = x - 0.5, y - 0.5
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variances = _window_mean(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    return ops.mean(luminance * structure, axis=(-3, -2, -1))


def _comparable_frames(target, prediction):
    """Return both as float32 in [0, 1]; raise a ValueError if their shapes differ."""
    target, prediction = _unit_range(target), _unit_range(prediction)
    shapes = tuple(target.shape), tuple(prediction.shape)
    if (
        len(shapes[0]) < 3
        or len(shapes[0]) != len(shapes[1])
        or any(a != b for a, b in zip(*shapes, strict=True) if None not in (a, b))
    ):
        raise ValueError(
            "`target` and `prediction` must have the same shape (..., height, width, "
            f"channels); received {shapes[0]} and {shapes[1]}."
        )
    return target, prediction


def _unit_range(frames):
    frames = ops.convert_to_tensor(frames)
    dtype = keras.backend.standardize_dtype(frames.dtype)
    if dtype == "uint8":
        return ops.cast(frames, "float32") / 255
    if keras.backend.is_float_dtype(dtype):
        return ops.clip(ops.cast(frames, "float32"), 0, 1)
    raise ValueError(
        f"Frames must be uint8, or float in [0, 1]; received dtype {dtype}."
    )


def _window_mean(frames):
    """Return Gaussian means over each window inside the frame.

    Sums shifted copies, by rows and then by columns. In a convolution or a matrix
    product accelerators round factors to as few as 8 bits, too coarse for variances
    that are differences of two means.
    """
    width = 2 * _RADIUS + 1
    weights = [math.exp(-((k - _RADIUS) ** 2) / (2 * _SIGMA**2)) for k in range(width)]
    weights = [weight / sum(weights) for weight in weights]
    rows, columns = frames.shape[-3] - width + 1, frames.shape[-2] - width + 1
    frames = _symmetric_sum(
        [frames[..., k : k + rows, :, :] for k in range(width)], weights
    )
    return _symmetric_sum(
        [frames[..., k : k + columns, :] for k in range(width)], weights
    )


def _symmetric_sum(parts, weights):
    """Return the weighted sum of parts; pairs of equal weight are added first."""
    total = weights[_RADIUS] * parts[_RADIUS]
    for k in range(_RADIUS):
        total += weights[k] * (parts[k] + parts[-1 - k])
    return total
