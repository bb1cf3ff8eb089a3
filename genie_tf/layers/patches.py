"""Conversion between frames and square patches.

Frames that patches do not divide are padded with zeros, at the bottom and right: frames
of 90x160 pixels, as in Genie, make 23x40 patches of side 4.

Axes: b batch, t time, n patches (row-major over the patch grid), p patch side,
y rows and x columns of the patch grid, c channels.
"""

from keras import ops


def patchify(video, patch_size: int):
    """Split each frame into non-overlapping square patches.

    Args:
        video: (batch, time, height, width, channels), any dtype.
        patch_size: side of a patch in pixels.

    Returns:
        (batch, time, patches, patch_size * patch_size * channels), patches in row-major
        order over the grid, pixels in row-major order inside a patch.
    """
    b, t, height, width, c = video.shape
    rows, columns = patch_grid(height, width, patch_size)
    below, right = rows * patch_size - height, columns * patch_size - width
    if below or right:
        video = ops.pad(video, [(0, 0), (0, 0), (0, below), (0, right), (0, 0)])
    video = ops.reshape(
        video, (-1, t or ops.shape(video)[1], rows, patch_size, columns, patch_size, c)
    )
    video = ops.transpose(video, (0, 1, 2, 4, 3, 5, 6))  # b t y x p p c
    return ops.reshape(
        video, (-1, t or ops.shape(video)[1], rows * columns, patch_size**2 * c)
    )


def patchify_frames(frames, patch_size: int):
    """Return the patches of frames: (b, height, width, c) to (b, n, p * p * c)."""
    return patchify(frames[:, None], patch_size)[:, 0]


def unpatchify(patches, patch_size: int, height: int, width: int):
    """Assemble frames from patches: the inverse of `patchify`.

    Args:
        patches: (batch, time, patches, patch_size * patch_size * channels).
        patch_size: side of a patch in pixels.
        height: height of a frame in pixels.
        width: width of a frame in pixels.

    Returns:
        (batch, time, height, width, channels).

    Raises:
        ValueError: if the number of patches does not match the frame.
    """
    b, t, n, pixels = patches.shape
    rows, columns = patch_grid(height, width, patch_size)
    if n != rows * columns:
        raise ValueError(
            f"A frame of {height}x{width} has {rows * columns} patches of side "
            f"{patch_size}; received {n}: patches.shape={tuple(patches.shape)}."
        )
    t = t or ops.shape(patches)[1]
    c = pixels // patch_size**2
    patches = ops.reshape(patches, (-1, t, rows, columns, patch_size, patch_size, c))
    patches = ops.transpose(patches, (0, 1, 2, 4, 3, 5, 6))  # b t y p x p c
    video = ops.reshape(patches, (-1, t, rows * patch_size, columns * patch_size, c))
    return video[:, :, :height, :width]


def patch_grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Return the rows and columns of patches that cover a frame.

    Args:
        height: height of a frame in pixels.
        width: width of a frame in pixels.
        patch_size: side of a patch in pixels, 1 or more.

    Raises:
        ValueError: if `patch_size` is less than 1.
    """
    if patch_size < 1:
        raise ValueError(f"`patch_size` must be 1 or more; received {patch_size}.")
    return -(-height // patch_size), -(-width // patch_size)
