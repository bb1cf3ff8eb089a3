"""Writing of PNG files: frames side by side, and grids of images."""

import io

import numpy as np
from PIL import Image

from genie_tf.files import write_file
from genie_tf.media.video_grid import grid
from genie_tf.pixels import video_to_bytes


def save_strip(path, video):
    """Write the frames of a video side by side, as a PNG.

    Args:
        path: name of the file.
        video: (time, height, width, 3).

    Raises:
        ValueError: if the video has another shape or type.
    """
    _save_png(path, np.concatenate(list(video_to_bytes(video)), axis=1))


def save_image_grid(path, rows, labels=None, scale: int = 4, columns=None):
    """Write rows of images, such as frames and their reconstructions, as a PNG.

    Args:
        path: name of the file.
        rows: images of each row, (images, height, width, 3), uint8, or float in [0, 1];
            all rows must have the same shape.
        labels: text on the left of each row; none if not given.
        scale: factor by which images are enlarged, a positive integer.
        columns: text above each column; none if not given.

    Raises:
        ValueError: if shapes or numbers of rows, labels and columns do not match, or
            `scale` is not a positive integer.
    """
    rows = [[image[None] for image in video_to_bytes(row)] for row in rows]
    _save_png(path, grid(rows, labels, scale, columns)[0])


def _save_png(path, image):
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    write_file(path, content.getbuffer())
