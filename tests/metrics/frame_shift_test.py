import numpy as np
import pytest
from skimage.registration import phase_cross_correlation

from genie_tf.metrics.frame_shift import frame_shifts, share_with_direction


def noise(*shape):
    return np.random.default_rng(0).random(shape)


def crop(canvas, top, left, size=24):
    return canvas[top : top + size, left : left + size]


@pytest.mark.parametrize("shift", [(0, 0), (3, 0), (0, -5), (8, 8), (-8, 7), (-1, -8)])
def test_moved_image_has_its_shift(shift):
    canvas = noise(40, 40, 3)
    before = crop(canvas, 8, 8)
    # Pixel (y, x) moves to (y + down, x + right).
    after = crop(canvas, 8 - shift[0], 8 - shift[1])
    (found,) = frame_shifts(before[None], after[None])
    assert tuple(found) == shift


def test_shifts_equal_scikit_image_on_rolled_frames():
    before = noise(3, 32, 32, 3)
    after = np.stack(
        [np.roll(x, s, (0, 1)) for x, s in zip(before, [(2, -3), (0, 6), (-7, 1)])]
    )
    expected = [
        phase_cross_correlation(b.mean(axis=-1), a.mean(axis=-1))[0]
        for a, b in zip(before, after)
    ]
    np.testing.assert_array_equal(frame_shifts(before, after), expected)


def test_noise_does_not_hide_a_shift():
    canvas = noise(40, 40, 3)
    after = crop(canvas, 8, 4) + 0.3 * noise(24, 24, 3)
    assert frame_shifts(crop(canvas, 8, 8)[None], after[None]).tolist() == [[0, 4]]


def test_flat_and_equal_frames_have_no_shift():
    frames = np.stack([np.full((16, 16, 3), 0.3), noise(16, 16, 3)])
    assert frame_shifts(frames, frames).tolist() == [[0, 0], [0, 0]]


def test_unusable_frames_are_rejected():
    with pytest.raises(ValueError, match=r"\(2, 16, 16, 3\) and \(1, 16, 16, 3\)"):
        frame_shifts(noise(2, 16, 16, 3), noise(1, 16, 16, 3))
    with pytest.raises(ValueError, match=r"up to 8 pixels .* \(1, 8, 16, 3\)"):
        frame_shifts(noise(1, 8, 16, 3), noise(1, 8, 16, 3))


def test_share_with_direction():
    left, still, jump = (0, 12), (1, 0), (9, 0)
    shifts = [
        [(0, 10), (0, 0), (12, 3)],
        [(5, 1), (1, -1), (-9, 3)],
        [(0, 0), (0, 2), (0, 7)],
        [(0, -12), (0, 1), (2, -9)],
    ]
    shares = share_with_direction(np.array(shifts), np.array([left, still, jump]))
    assert shares.tolist() == [2 / 4, 3 / 4, 2 / 4]
