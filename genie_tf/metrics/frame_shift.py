"""Motion of the whole image from one frame to the next.

Numpy in, numpy out.
"""

import itertools

import numpy as np

_RADIUS = 8


def frame_shifts(before, after, radius: int = _RADIUS) -> np.ndarray:
    """Return the shift of each frame that best explains the frame after it.

    Searches all shifts by whole pixels for the smallest mean squared difference of gray
    values where the two frames overlap. Among equal ones, the smallest shift wins, so
    frames that are flat or do not change have the shift (0, 0).

    Args:
        before: (n, height, width, channels), uint8 or float.
        after: the same shape.
        radius: largest shift in each direction, in pixels; less than both sides.

    Returns:
        int64 (n, 2): pixels by which the image moves down and to the right.

    Raises:
        ValueError: if the shapes differ, or the frames are not larger than the radius.
    """
    before, after = np.asarray(before), np.asarray(after)
    if before.shape != after.shape or before.ndim != 4:
        raise ValueError(
            "Frames before and after must have the same shape (n, height, width, "
            f"channels); received {before.shape} and {after.shape}."
        )
    if min(before.shape[1:3]) <= radius:
        raise ValueError(
            f"Shifts of up to {radius} pixels need larger frames; received shape "
            f"{before.shape}."
        )
    before, after = (x.mean(axis=-1, dtype="float32") for x in (before, after))
    steps = range(-radius, radius + 1)
    shifts = sorted(
        itertools.product(steps, steps), key=lambda x: x[0] ** 2 + x[1] ** 2
    )
    least = np.full(len(before), np.inf)
    best = np.zeros((len(before), 2), "int64")
    for down, right in shifts:
        old = before[:, _overlap(-down), _overlap(-right)]
        new = after[:, _overlap(down), _overlap(right)]
        error = np.mean((new - old) ** 2, axis=(1, 2))
        better = error < least
        least[better], best[better] = error[better], (down, right)
    return best


def share_with_direction(shifts, direction) -> np.ndarray:
    """Return the share of shifts that have a given direction.

    A shift has it if their inner product is positive. If the given direction is at most
    one pixel in both axes, it is standing still, which other such shifts do too.

    Args:
        shifts: (n, ..., 2), in pixels.
        direction: (..., 2).

    Returns:
        float64 (...), in [0, 1].
    """
    is_along = np.sum(shifts * direction, axis=-1) > 0
    has_direction = np.where(_is_still(direction), _is_still(shifts), is_along)
    return has_direction.mean(axis=0)


def _is_still(shifts) -> np.ndarray:
    return np.all(np.abs(shifts) <= 1, axis=-1)


def _overlap(shift: int) -> slice:
    """Return the part of an axis that overlaps with the shifted axis."""
    return slice(max(shift, 0), min(shift, 0) or None)
