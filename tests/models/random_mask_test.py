import numpy as np
import pytest

from genie_tf.models.random_mask import RandomMask

CLIP = {"video": np.zeros((5, 8, 8, 3), np.uint8)}


def draw_masks(num_masks, num_patches, rates=(0.5, 1.0)):
    transform = RandomMask(num_patches, rates)
    rngs = map(np.random.default_rng, range(num_masks))
    return np.stack([transform(rng, CLIP)["mask"] for rng in rngs])


def test_the_first_frame_is_never_hidden():
    masks = draw_masks(10, 6, rates=(1.0, 1.0))
    assert masks.shape == (10, 5, 6)
    assert masks.dtype == bool
    assert masks[:, 1:].all() and not masks[:, 0].any()


def test_a_rate_hides_that_share_of_the_patches():
    masks = draw_masks(80, 400, rates=(0.2, 0.2))
    np.testing.assert_allclose(masks[:, 1:].mean(axis=(1, 2)), 0.2, atol=0.1)


def test_rates_are_uniform():
    rates = draw_masks(800, 400)[:, 1:].mean(axis=(1, 2))
    # U(0.5, 1) has mean 0.75 and standard deviation 0.144.
    assert 0.46 < rates.min() < 0.52
    assert rates.max() > 0.98
    assert rates.mean() == pytest.approx(0.75, abs=0.02)
    assert rates.std() == pytest.approx(0.144, abs=0.02)


def test_clips_of_tokens_have_the_masks_of_their_frames():
    tokens = {"tokens": np.zeros((5, 6), np.int32)}
    of_frames, of_tokens = (
        RandomMask(6)(np.random.default_rng(3), clip)["mask"] for clip in (CLIP, tokens)
    )
    np.testing.assert_array_equal(of_frames, of_tokens)
