import numpy as np
from PIL import Image

from genie_tf import media
from genie_tf.testing.game_video import game_video


def test_strip_has_frames_side_by_side(tmp_path):
    media.save_strip(tmp_path / "a.png", game_video(3))
    strip = np.asarray(Image.open(tmp_path / "a.png"))
    assert strip.shape == (48, 3 * 64, 3)
    np.testing.assert_array_equal(strip[:, 64:128], game_video(3)[1])


def test_image_grid_has_one_row_per_set(tmp_path):
    rows = [game_video(4), 255 - game_video(4)]
    media.save_image_grid(tmp_path / "a.png", rows, scale=1)
    image = np.asarray(Image.open(tmp_path / "a.png"))
    assert image.shape == (2 * 48 + 2, 4 * 64 + 3 * 2, 3)
    np.testing.assert_array_equal(image[50:, 66 : 66 + 64], rows[1][1])
