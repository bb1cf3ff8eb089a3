"""Images and videos as files that people look at, and images as prompts of worlds.

A video is uint8, or float in [0, 1], (time, height, width, 3); floats are clipped.
Files are written whole or not at all, and raise OSError if that fails, such as on a full
disk. Folders are created where needed.
"""

from genie_tf.media.curves import plot_curves
from genie_tf.media.image_reader import FITS
from genie_tf.media.image_writer import save_image_grid, save_strip
from genie_tf.media.prompt_images import load_prompt_image
from genie_tf.media.video_grid import grid
from genie_tf.media.video_writer import (
    check_video_path,
    save_gif,
    save_mp4,
    save_video,
)
