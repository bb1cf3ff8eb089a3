import itertools

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from genie_tf.metrics.controllability import (
    best_assignment_accuracy,
    delta_psnr,
    normalized_mutual_information,
)


def video_with_errors(errors):
    """Return a gray video of (clips, time) frames, each with its constant error."""
    errors = np.asarray(errors, "float32")[..., None, None, None]
    return np.broadcast_to(0.5 + errors, (*errors.shape[:2], 4, 4, 3))


def test_delta_psnr_reads_frame_at_horizon():
    target = video_with_errors(np.zeros((2, 5)))
    inferred = video_with_errors([[0, 0, 0, 0.01, 0], [0, 0, 0, 0.001, 0]])
    random = video_with_errors([[0, 0, 0, 0.1, 0], [0, 0, 0, 0.1, 0]])
    # 40 - 20 dB and 60 - 20 dB in the fourth frame, 100 - 100 dB in all others.
    np.testing.assert_allclose(delta_psnr(target, inferred, random), [20, 40], 1e-4)
    np.testing.assert_allclose(delta_psnr(target, inferred, random, horizon=5), [0, 0])
    np.testing.assert_allclose(delta_psnr(target, random, inferred), [-20, -40], 1e-4)


def test_delta_psnr_of_actions_without_effect_is_zero():
    rng = np.random.default_rng(0)
    target, generated = rng.integers(0, 256, (2, 3, 4, 8, 8, 3), dtype="uint8")
    np.testing.assert_array_equal(delta_psnr(target, generated, generated, 4), [0] * 3)


def test_delta_psnr_rejects_bad_input():
    video = video_with_errors(np.zeros((2, 5)))
    with pytest.raises(
        ValueError, match=r"\(2, 5, 4, 4, 3\), \(2, 5, 4, 4, 3\), \(2, 4, 4, 4, 3\)"
    ):
        delta_psnr(video, video, video[:, 1:])
    with pytest.raises(ValueError, match=r"`horizon` must be in 1..5, .* received 6"):
        delta_psnr(video, video, video, horizon=6)
    with pytest.raises(ValueError, match=r"`horizon` must be in 1..5, .* received 0"):
        delta_psnr(video, video, video, horizon=0)


@pytest.mark.parametrize("agreement", [0, 0.5, 1])
def test_mutual_information_equals_scikit_learn(agreement):
    rng = np.random.default_rng(1)
    a = rng.integers(0, 6, (20, 15))
    b = np.where(
        rng.random(a.shape) < agreement, 7 * a + 3, rng.integers(0, 9, a.shape)
    )
    expected = normalized_mutual_info_score(a.ravel(), b.ravel())
    assert normalized_mutual_information(a, b) == pytest.approx(expected, abs=1e-9)


def test_mutual_information_in_limit_cases():
    a = np.array([0, 0, 1, 1, 2, 2])
    assert normalized_mutual_information(a, 5 - 2 * a) == pytest.approx(1)
    assert normalized_mutual_information(a, [3, 4] * 3) == pytest.approx(0, abs=1e-9)
    assert normalized_mutual_information(a, np.zeros(6)) == 0
    # As in scikit-learn, two constant labelings agree.
    assert normalized_mutual_information(np.zeros(6), np.ones(6)) == 1


@pytest.mark.parametrize(("num_latent", "num_true"), [(4, 4), (3, 5), (5, 3)])
def test_assignment_equals_brute_force(num_latent, num_true):
    rng = np.random.default_rng(2)
    latent = rng.integers(0, num_latent, 60)
    true = np.where(rng.random(60) < 0.5, latent % num_true, rng.integers(num_true))
    # -1 assigns a latent code to no true action.
    names = [*range(num_true), *[-1] * num_latent]
    expected = max(
        np.mean(np.array(permutation)[latent] == true)
        for permutation in set(itertools.permutations(names, num_latent))
    )
    assert best_assignment_accuracy(latent, true) == pytest.approx(expected)


def test_assignment_does_not_depend_on_label_values():
    true = np.arange(9).repeat(5).reshape(3, 15)
    assert best_assignment_accuracy((true * 2 + 1) % 11, true) == 1
    assert best_assignment_accuracy(np.minimum(true, 5), true) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "metric", [normalized_mutual_information, best_assignment_accuracy]
)
def test_labelings_of_different_shapes_are_rejected(metric):
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(2,\)"):
        metric([0, 1, 2], [0, 1])
    with pytest.raises(ValueError, match=r"at least one label.* \(0,\) and \(0,\)"):
        metric([], [])
