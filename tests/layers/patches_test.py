import keras
import numpy as np
import pytest

from genie_tf.layers import patch_grid, patchify, unpatchify


@pytest.mark.parametrize("patch_size", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_unpatchify_inverts_patchify(patch_size, channels, dtype):
    # All values differ, to detect any swap of axes.
    video = np.arange(2 * 3 * 8 * 12 * channels).reshape(2, 3, 8, 12, channels)
    video = (video % 256).astype(dtype)
    patches = patchify(video, patch_size)
    assert patches.shape == (2, 3, 96 // patch_size**2, patch_size**2 * channels)
    restored = unpatchify(patches, patch_size, 8, 12)
    assert keras.backend.standardize_dtype(restored.dtype) == dtype
    np.testing.assert_array_equal(restored, video)


def test_patches_and_pixels_are_row_major():
    frame = np.array(
        [
            [0, 1, 10, 11, 20, 21],
            [2, 3, 12, 13, 22, 23],
            [30, 31, 40, 41, 50, 51],
            [32, 33, 42, 43, 52, 53],
        ]
    )
    patches = patchify(frame[None, None, :, :, None], 2)
    np.testing.assert_array_equal(
        patches[0, 0],
        [
            [0, 1, 2, 3],
            [10, 11, 12, 13],
            [20, 21, 22, 23],
            [30, 31, 32, 33],
            [40, 41, 42, 43],
            [50, 51, 52, 53],
        ],
    )


def test_channels_of_a_pixel_stay_together():
    frame = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]])
    patches = patchify(frame[None, None], 2)
    np.testing.assert_array_equal(patches[0, 0, 0], np.arange(1, 13))


def test_grid_is_rows_by_columns():
    assert patch_grid(8, 12, 4) == (2, 3)


@pytest.mark.parametrize("height, width", [(9, 8), (8, 9), (7, 5)])
def test_frames_that_patches_do_not_divide_are_padded_with_zeros(height, width):
    video = np.arange(1, 1 + height * width * 3, dtype="float32")
    video = video.reshape(1, 1, height, width, 3)
    rows, columns = patch_grid(height, width, 4)
    padded = np.zeros((1, 1, 4 * rows, 4 * columns, 3), "float32")
    padded[:, :, :height, :width] = video
    patches = patchify(video, 4)
    np.testing.assert_array_equal(patches, patchify(padded, 4))
    np.testing.assert_array_equal(unpatchify(patches, 4, height, width), video)


def test_number_of_patches_matches_tokens_reported_by_genie():
    # 942 billion tokens in 125k steps of 512 clips of 16 frames (Genie, section 3.1).
    rows, columns = patch_grid(90, 160, 4)
    assert round(rows * columns * 16 * 512 * 125_000 / 1e9) == 942


def test_wrong_number_of_patches_is_rejected():
    with pytest.raises(ValueError, match="8x12 has 6 patches of side 4; received 5: "):
        unpatchify(np.zeros((1, 1, 5, 48)), 4, 8, 12)
