"""Image and video files: writing results, and reading prompt images.

A video is uint8, or float in [0, 1], (time, height, width, 3); floats are clipped.
Files are written completely or not at all; failures, such as a full disk, raise OSError.
Missing folders are created.
"""

from genie_tf.media.curves import plot_curves
from genie_tf.media.image_reader import FITS
from genie_tf.media.image_writer import save_image_grid, save_strip
from genie_tf.media.prompt_images import load_prompt_image
from genie_tf.media.prompts import Prompt, load_prompt
from genie_tf.media.video_grid import grid
from genie_tf.media.video_writer import (
    check_video_path,
    save_gif,
    save_mp4,
    save_video,
)
