import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from skimage.util import view_as_blocks

from genie_tf.metrics.frame_detail import (
    detail,
    pairwise_distances,
    sharpness,
    stripes,
)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def test_sharpness_equals_loops_over_neighbors():
    (frame,) = noise(1, 5, 7, 3)
    down = [abs(frame[y + 1, x] - frame[y, x]) for y in range(4) for x in range(7)]
    right = [abs(frame[y, x + 1] - frame[y, x]) for y in range(5) for x in range(6)]
    expected = (np.mean(down) + np.mean(right)) / 2
    np.testing.assert_allclose(sharpness(frame[None]), [expected])


def test_sharpness_goes_from_flat_to_checkerboard():
    board = np.indices((8, 8)).sum(axis=0) % 2
    frames = np.stack([np.zeros((8, 8)), board])[..., None]
    np.testing.assert_allclose(sharpness(frames.astype("float32")), [0, 1])


def test_blur_lowers_sharpness_and_detail():
    frame = noise(64, 64, 3)
    blurred = [gaussian_filter(frame, (sigma, sigma, 0)) for sigma in (1, 3, 20)]
    frames = np.stack([frame, *blurred])
    assert np.all(np.diff(sharpness(frames)) < 0)
    assert detail(frames)[0] == 1
    assert detail(frames)[-1] < 0.5


def test_detail_equals_deviations_of_blocks():
    frames = 0.5 + 0.04 * noise(2, 3, 24, 16, 3) * noise(2, 3, 24, 16, 1)
    expected = [
        np.mean(
            view_as_blocks(frame.mean(axis=-1), (8, 8)).std(axis=(-1, -2)) >= 4 / 255
        )
        for frame in frames.reshape(6, 24, 16, 3)
    ]
    np.testing.assert_allclose(detail(frames).ravel(), expected)


def test_detail_counts_complete_patches_with_structure():
    frame = np.full((20, 23, 3), 0.5)
    frame[:8, 8:16] = noise(8, 8, 3)
    frame[16:] = noise(4, 23, 3)  # Below the last complete patch.
    assert detail(frame) == 1 / 4


def test_stripes_count_patches_with_one_direction():
    frame = noise(24, 24, 3)
    frame[:8, :8] = frame[:1, :8]
    frame[8:16, :8] = frame[8:16, :1]
    frame[16:, :8] = 0.5 + 3 / 255 * (np.arange(8) % 2)[:, None, None]  # Too faint.
    assert stripes(frame) == 2 / 9


def test_gradient_ratio_of_five_separates_stripes():
    """Steps of 0.01 down and of a little more or less than 0.05 to the right."""
    down, right = np.mgrid[:8, :8]
    frames = [(down + slope * (right % 2)) / 100 for slope in (4.9, 5.1)]
    assert stripes(np.stack(frames)[..., None]).tolist() == [0, 1]


def test_repeated_edge_has_detail_but_is_striped():
    frame = noise(64, 64, 3)
    failing = np.stack([frame, np.broadcast_to(frame[:1], frame.shape)])
    assert detail(failing).tolist() == [1, 1]
    assert stripes(failing).tolist() == [0, 1]


def test_distances_equal_scipy():
    frames = noise(4, 6, 5, 3)
    flat = frames.reshape(4, -1)
    expected = cdist(flat, flat) / np.sqrt(flat.shape[1])
    np.testing.assert_allclose(pairwise_distances(frames), expected)


@pytest.mark.parametrize("measure", [sharpness, detail, stripes, pairwise_distances])
def test_bytes_count_as_unit_range(measure):
    frames = (255 * noise(3, 16, 16, 3)).astype("uint8")
    np.testing.assert_allclose(measure(frames), measure(frames / 255))
