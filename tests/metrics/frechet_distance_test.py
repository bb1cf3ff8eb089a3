"""Fréchet distance: closed forms, other formulas, and a published implementation."""

import numpy as np
import pytest
from scipy import linalg

from genie_tf.metrics.frechet_distance import frechet_distance


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def skewed_features(seed, samples, width):
    """Return features that are correlated, not Gaussian, and not negative."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width))
    latent = rng.gamma(0.7 + seed, size=(samples, width))
    return np.abs(latent @ mixing + rng.normal(size=width))


def matrix_root_formula(a, b):
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    shift = a.mean(axis=0) - b.mean(axis=0)
    return shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)


@pytest.mark.parametrize("width", [2, 7, 40])
def test_distance_equals_formula_with_matrix_root(width):
    a = skewed_features(1, 500, width)
    b = skewed_features(2, 300, width)
    assert frechet_distance(a, b) == pytest.approx(matrix_root_formula(a, b), rel=1e-9)


def test_distance_equals_published_implementation():
    """Numbers are from pytorch-fid 0.3.0, `calculate_frechet_distance`.

    Its inputs are the means and `np.cov(..., rowvar=False)` of these features, as in
    its `calculate_activation_statistics`.
    """
    a = skewed_features(1, 400, 24)
    b = skewed_features(2, 700, 24)
    assert frechet_distance(a, b) == pytest.approx(2878.189612768726, rel=1e-12)
    halves = frechet_distance(a[:200], a[200:])
    assert halves == pytest.approx(31.156024284852265, rel=1e-12)


def test_distance_of_shifted_features_is_squared_shift(rng):
    a = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6))
    shift = rng.normal(size=6)
    assert frechet_distance(a, a + shift) == pytest.approx(shift @ shift, rel=1e-12)


def test_distance_of_scaled_features(rng):
    """tr(A + s^2 A - 2 s A) = (s - 1)^2 tr A."""
    a = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6))
    a -= a.mean(axis=0)
    variance = np.trace(np.cov(a, rowvar=False))
    assert frechet_distance(a, 3 * a) == pytest.approx(4 * variance, rel=1e-12)


def test_distance_of_single_feature(rng):
    """(mean a - mean b)^2 + (deviation a - deviation b)^2, with unbiased deviations."""
    a, b = rng.exponential(size=(20, 1)), rng.normal(2, 3, size=(35, 1))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_distances_of_independent_features_add_up():
    """Columns of +-1 are orthogonal, so covariances are exact."""
    signs = linalg.hadamard(8)[:, 1:4].astype(float)
    a, b = signs * [1, 2, 3], signs * [4, 2, 0.5] + [0, 1, 0]
    expected = (3**2 + 0 + 2.5**2) * 8 / 7 + 1
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("samples", [2, 5, 30, 400])
def test_distance_of_equal_features_is_zero(rng, samples):
    a = rng.exponential(size=(samples, 60)) * np.geomspace(1e-4, 1e3, 60)
    assert 0 <= frechet_distance(a, a) < 1e-9 * a.var(axis=0).sum()
    assert 0 <= frechet_distance(a, a[::-1]) < 1e-9 * a.var(axis=0).sum()


def test_distance_with_fewer_samples_than_features():
    """Rotated features differ in only four of 64 dimensions."""
    a, b = skewed_features(1, 10, 4), skewed_features(2, 9, 4)
    rotation = linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0][:4]
    expected = matrix_root_formula(a, b)
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(
        expected, rel=1e-6
    )


def test_distance_of_orthogonal_subspaces(rng):
    """tr (A B)^(1/2) is 0 and variances add up."""
    a, b = np.zeros((2, 5, 12))
    a[:, :6], b[:, 6:] = rng.normal(size=(2, 5, 6))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    expected = np.sum(a**2) / 4 + np.sum(b**2) / 4
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_distance_of_constant_features(rng):
    constant = np.full((5, 3), 2.0)
    assert frechet_distance(constant, constant + 1) == 3
    a = rng.normal(size=(9, 3))
    shift = a.mean(axis=0) - 2
    expected = shift @ shift + a.var(axis=0, ddof=1).sum()
    assert frechet_distance(a, constant) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("samples", [6, 300])
def test_distance_is_symmetric(samples):
    a, b = skewed_features(1, samples, 20), skewed_features(2, 2 * samples, 20)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


def test_distance_is_computed_in_float64(rng):
    """In float32, the small distance would be lost at a mean of 10^4."""
    a = rng.normal(size=(100, 4)).astype("float32") + np.float32(1e4)
    assert frechet_distance(a, a + np.float32(0.25)) == pytest.approx(0.25, rel=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (
            np.zeros((3, 2)),
            np.zeros((3, 4)),
            r"same width; received shapes \(3, 2\) and",
        ),
        (np.zeros(3), np.zeros(3), r"shape \(samples, width\), .*received \(3,\)"),
        (
            np.zeros((3, 2)),
            np.zeros((1, 2)),
            r"at least two samples; received \(1, 2\)",
        ),
        (
            np.zeros((3, 0)),
            np.zeros((3, 0)),
            r"\(samples, width\), .*received \(3, 0\)",
        ),
        (np.zeros((3, 2)), np.full((3, 2), np.nan), "must be finite; received NaN"),
        (np.full((3, 2), np.inf), np.zeros((3, 2)), "must be finite"),
    ],
)
def test_invalid_features_are_rejected(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)
