"""Grids of videos for visual comparison."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from genie_tf.pixels import video_to_bytes

_GAP = 2  # White pixels between the cells of a grid.
_HEADING = 14  # Height of the column names above a grid, in pixels.


def grid(rows, labels=None, scale: int = 4, columns=None):
    """Arrange videos in a grid, enlarged, for visual comparison.

    Args:
        rows: video or list of videos for each row; all videos must have the same shape,
            all rows the same length.
        labels: text on the left of each row; none if not given.
        scale: factor by which videos are enlarged, a positive integer.
        columns: text above each column; none if not given.

    Returns:
        One video: uint8 (time, grid height, grid width, 3).

    Raises:
        ValueError: if shapes or numbers of videos, labels and columns do not match, or
            `scale` is not a positive integer.
    """
    if scale < 1 or scale != int(scale):
        raise ValueError(f"`scale` must be a positive integer; received {scale}.")
    rows = [[row] if getattr(row, "ndim", None) == 4 else list(row) for row in rows]
    rows = [[video_to_bytes(video) for video in row] for row in rows]
    lengths = [len(row) for row in rows]
    shapes = list(dict.fromkeys(video.shape for row in rows for video in row))
    if len(set(lengths)) != 1 or len(shapes) != 1:
        raise ValueError(
            "A grid needs rows of the same length, and videos of the same shape; "
            f"received rows of {lengths} videos, of shapes "
            f"{', '.join(map(str, shapes))}."
        )
    if labels is not None and len(labels) != len(rows):
        raise ValueError(
            f"A grid needs one label per row; received {len(labels)} labels for "
            f"{len(rows)} rows."
        )
    if columns is not None and len(columns) != lengths[0]:
        raise ValueError(
            f"A grid needs one text per column; received {len(columns)} for "
            f"{lengths[0]} columns."
        )
    height, width = (scale * side for side in shapes[0][1:3])
    margin = _margin(labels)
    above = 0 if columns is None else _HEADING
    canvas = Image.new(
        "RGB",
        (
            margin + len(rows[0]) * (width + _GAP) - _GAP,
            above + len(rows) * (height + _GAP) - _GAP,
        ),
        "white",
    )
    for index, label in enumerate(columns or ()):
        middle = margin + index * (width + _GAP) + width // 2
        ImageDraw.Draw(canvas).text(
            (middle, above // 2), str(label), "black", _font(), anchor="mm"
        )
    for index, label in enumerate(labels or ()):
        middle = above + index * (height + _GAP) + height // 2
        ImageDraw.Draw(canvas).text(
            (margin // 2, middle), str(label), "black", _font(), anchor="mm"
        )
    video = np.repeat(np.asarray(canvas)[None], shapes[0][0], axis=0)
    for index, row in enumerate(rows):
        for column, clip in enumerate(row):
            top = above + index * (height + _GAP)
            left = margin + column * (width + _GAP)
            video[:, top : top + height, left : left + width] = clip.repeat(
                scale, axis=1
            ).repeat(scale, axis=2)
    return video


def _font():
    return ImageFont.load_default()


def _margin(labels):
    """Return the width of the column of labels, in pixels."""
    if labels is None:
        return 0
    return int(max(_font().getlength(str(label)) for label in labels)) + 8
