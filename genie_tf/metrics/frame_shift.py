"""How far a picture moves from one frame to the next.

Numpy in, numpy out."""

import itertools

import numpy as np

_RADIUS = 8


def frame_shifts(before, after, radius: int = _RADIUS) -> np.ndarray:
    """Return the whole shift of each frame that best explains the frame after it.

    An exact search of all shifts by whole pixels: the one with the smallest mean
    squared difference where the two frames overlap, in gray; of equal ones, the
    smallest. A frame that doesn't change, or is flat, has the shift (0, 0).

    Args:
        before: (n, height, width, channels), uint8 or float.
        after: the same shape.
        radius: most pixels to search, down, up, right and left; less than both sides.

    Returns:
        int64 (n, 2): how many pixels the picture moves down and to the right.

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


def share_going_the_same_way(shifts, way) -> np.ndarray:
    """Return the share of shifts that go a given way.

    A shift goes that way if their inner product is positive. If the way is at most one
    pixel in both directions, the picture stands, and so does a shift of at most one.

    Args:
        shifts: (n, ..., 2), in pixels.
        way: (..., 2).

    Returns:
        float64 (...), in [0, 1].
    """
    along = np.sum(shifts * way, axis=-1) > 0
    same = np.where(_stands(way), _stands(shifts), along)
    return same.mean(axis=0)


def _stands(shifts) -> np.ndarray:
    return np.all(np.abs(shifts) <= 1, axis=-1)


def _overlap(shift: int) -> slice:
    """Return the part of an axis that a shifted one covers."""
    return slice(max(shift, 0), min(shift, 0) or None)
