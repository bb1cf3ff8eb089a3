"""Motion of whole pictures: found by trying all shifts, undone by copying pixels.

A shift is a number in [0, num_shifts(reach)): row-major over the moves (dy, dx), where
dy is in [-reach[0], reach[0]] pixels downward and dx in [-reach[1], reach[1]] pixels to
the right. Pixels that come from outside the picture repeat its edge.

Axes: b batch, y rows and x columns of a picture, s shifts.
"""

from keras import ops


def num_shifts(reach: tuple[int, int]) -> int:
    """Return how many shifts there are, standing still among them."""
    return (2 * reach[0] + 1) * (2 * reach[1] + 1)


def still(reach: tuple[int, int]) -> int:
    """Return the shift that moves nothing."""
    return num_shifts(reach) // 2


def moves(shift, reach: tuple[int, int]):
    """Return the moves (dy, dx) of shifts, int32 (...) each."""
    columns = 2 * reach[1] + 1
    shift = ops.cast(shift, "int32")
    return shift // columns - reach[0], shift % columns - reach[1]


def shift_frames(frames, dy, dx):
    """Move pictures; what comes in repeats the edge.

    Args:
        frames: float (b, height, width, channels).
        dy, dx: int (b,), pixels downward and to the right.

    Returns:
        The moved pictures, and which of their pixels were in the picture before, float
        (b, height, width, 1), 1 or 0.
    """
    b, height, width, c = frames.shape
    # Products with matrices of ones and zeros copy exactly, and any device is fast at
    # them.
    rows, rows_seen = _copies(dy, height, frames.dtype)
    columns, columns_seen = _copies(dx, width, frames.dtype)
    moved = ops.matmul(rows, ops.reshape(frames, (-1, height, width * c)))
    # Columns first: a product with few channels is slow.
    moved = ops.swapaxes(ops.reshape(moved, (-1, height, width, c)), 1, 2)
    moved = ops.matmul(columns, ops.reshape(moved, (-1, width, height * c)))
    moved = ops.swapaxes(ops.reshape(moved, (-1, width, height, c)), 1, 2)
    return moved, rows_seen[:, :, None, None] * columns_seen[:, None, :, None]


def _copies(move, length: int, dtype):
    """Return the matrix that moves a line of pixels, (b, length, length), and which
    pixels were there before, (b, length)."""
    source = ops.arange(length)[None] - ops.cast(move, "int32")[:, None]
    inside = ops.clip(source, 0, length - 1)
    matrix = ops.cast(inside[..., None] == ops.arange(length), dtype)
    return matrix, ops.cast(inside == source, dtype)


def shift_errors(previous, frames, reach: tuple[int, int], side: int):
    """Return the squared error of each block of each picture under each shift.

    Args:
        previous: float (b, height, width, channels), the pictures before.
        frames: float, of the same shape.
        reach: the largest moves, rows and columns.
        side: of a block in pixels; it must divide the picture.

    Returns:
        float32 (b, s, rows, columns), sums over the pixels of a block.
    """
    b, height, width, c = frames.shape
    grid = height // side, width // side
    padded = previous
    for axis, most in enumerate(reach, start=1):
        length = frames.shape[axis]
        source = ops.clip(ops.arange(-most, length + most), 0, length - 1)
        padded = ops.take(padded, source, axis=axis)

    def of_row(i):
        down = ops.slice(
            padded,
            (0, 2 * reach[0] - i, 0, 0),
            (ops.shape(padded)[0], height, width + 2 * reach[1], c),
        )
        errors = []
        for j in range(2 * reach[1] + 1):
            start = 2 * reach[1] - j
            change = down[:, :, start : start + width] - frames
            parts = (-1, grid[0], side, grid[1], side * c)
            errors.append(ops.sum(ops.reshape(change**2, parts), axis=(2, 4)))
        return ops.stack(errors, axis=1)

    rows = ops.map(of_row, ops.arange(2 * reach[0] + 1))
    return ops.reshape(
        ops.transpose(rows, (1, 0, 2, 3, 4)), (-1, num_shifts(reach), *grid)
    )


def find_shift(errors, reach: tuple[int, int], most: float):
    """Return the shift that most of a picture made.

    Args:
        errors: see `shift_errors`.
        reach: the largest moves, rows and columns.
        most: what a block's error counts at most, so that blocks which moved otherwise
            have little to say.

    Returns:
        int32 (b,). Of shifts that are as good, the smallest.
    """
    total = ops.sum(ops.minimum(errors, most), axis=(2, 3))
    dy, dx = moves(ops.arange(num_shifts(reach)), reach)
    length = ops.cast(ops.abs(dy) + ops.abs(dx), "float32")
    return ops.argmin(total + 1e-3 * length, axis=-1)
