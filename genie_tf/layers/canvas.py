"""Canvas: a frame with everything around it that was in view before.

A canvas is uint8 (b, height + 2 * margin, width + 2 * margin, channels + 1). Its center
is the newest frame. The last channel is 255 where a pixel was in view before, else 0.

Axes: b batch.
"""

from keras import ops

from genie_tf.layers.motion import shift_frames


def blank_canvas(b: int, frame_shape: tuple[int, int, int], margin: int):
    """Return canvases on which nothing has been in view."""
    height, width, channels = frame_shape
    shape = height + 2 * margin, width + 2 * margin, channels + 1
    return ops.zeros((b, *shape), "uint8")


def canvas_bytes(frame_shape: tuple[int, int, int], margin: int) -> int:
    """Return the size of one canvas in bytes."""
    height, width, channels = frame_shape
    return (height + 2 * margin) * (width + 2 * margin) * (channels + 1)


def paint(canvas, frames):
    """Return canvases with frames in their center.

    Args:
        canvas: uint8, see above.
        frames: float (b, height, width, channels), in [0, 1].
    """
    margin = (canvas.shape[1] - frames.shape[1]) // 2
    pixels = ops.cast(ops.round(ops.clip(frames, 0, 1) * 255), "int32")
    pixels = ops.pad(pixels, [(0, 0), (0, 0), (0, 0), (0, 1)], constant_values=255)
    sides = [(0, 0), (margin, margin), (margin, margin), (0, 0)]
    inside = ops.pad(ops.ones_like(pixels[..., :1]), sides)
    pixels = ops.where(inside > 0, ops.pad(pixels, sides), ops.cast(canvas, "int32"))
    return ops.cast(pixels, "uint8")


def view(canvas, margin: int):
    """Return the center of canvases.

    Returns:
        The pixels, float32 (b, height, width, channels), in [0, 1]; and whether each was
        in view before, float32 (b, height, width, 1), 1 or 0.
    """
    height, width = (side - margin for side in canvas.shape[1:3])
    center = ops.cast(canvas[:, margin:height, margin:width], "float32") / 255
    return center[..., :-1], center[..., -1:]


def move_canvas(canvas, dy, dx):
    """Return canvases moved by dy rows and dx columns, int (b,) each."""
    moved, inside = shift_frames(ops.cast(canvas, "float32"), dy, dx)
    return ops.cast(ops.round(moved * inside), "uint8")


def predict_view(canvas, dy, dx, margin: int):
    """Return what is known of the next view, if the picture moves.

    Returns:
        The pixels, float32 (b, height, width, channels), which repeat the edge of the
        last view where nothing is known; and whether each is known, float32 (b, height,
        width, 1), 1 or 0.
    """
    moved, known = view(move_canvas(canvas, dy, dx), margin)
    repeated, _ = shift_frames(view(canvas, margin)[0], dy, dx)
    return ops.where(known > 0, moved, repeated), known
