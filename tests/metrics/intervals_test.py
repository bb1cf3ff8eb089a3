import numpy as np
import pytest
import scipy.stats

from genie_tf.metrics.intervals import (
    jackknife_interval,
    mean_confidence_interval,
    median_interval,
)


@pytest.mark.parametrize("n", [2, 5, 100])
def test_interval_equals_scipy(n):
    values = np.random.default_rng(n).normal(2, 3, n)
    mean, interval = mean_confidence_interval(values)
    assert mean == pytest.approx(values.mean())
    assert interval == pytest.approx(
        scipy.stats.t.interval(0.95, n - 1, values.mean(), scipy.stats.sem(values))
    )


def test_interval_covers_true_mean_in_95_percent_of_cases():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        _, (low, high) = mean_confidence_interval(rng.normal(size=6))
        covered += low < 0 < high
    assert 0.93 < covered / 2000 < 0.97


@pytest.mark.parametrize("values", [[], [1.0], [[1.0, 2.0]]])
def test_fewer_than_two_values_are_rejected(values):
    with pytest.raises(ValueError, match="at least two values; received shape"):
        mean_confidence_interval(values)
    with pytest.raises(ValueError, match="at least two values; received shape"):
        jackknife_interval(1.0, values)


@pytest.mark.parametrize("n", [2, 5, 100])
def test_jackknife_of_mean_equals_its_interval(n):
    values = np.random.default_rng(n).normal(2, 3, n)
    without_each = [np.delete(values, i).mean() for i in range(n)]
    mean, interval = mean_confidence_interval(values)
    assert jackknife_interval(mean, without_each) == pytest.approx(interval)


def test_jackknife_covers_correlation_in_95_percent_of_cases():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        x, noise = rng.normal(size=(2, 40))
        y = 0.6 * x + 0.8 * noise

        def correlation(kept, x=x, y=y):
            return np.corrcoef(x[kept], y[kept])[0, 1]

        all_but = ~np.eye(40, dtype=bool)
        low, high = jackknife_interval(
            correlation(slice(None)), list(map(correlation, all_but))
        )
        covered += low < 0.6 < high
    assert 0.9 < covered / 300 < 0.98


def test_interval_of_median_has_its_coverage():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        # Frames of a clip are alike.
        clips = rng.normal(size=(30, 1)) + 0.1 * rng.normal(size=(30, 4))
        low, high = median_interval(clips, resamples=200)
        covered += low < 0 < high
    assert 0.9 < covered / 300 < 0.98


def test_repeated_frames_do_not_narrow_interval_of_median():
    clips = np.random.default_rng(0).normal(size=(31, 1))
    once = median_interval(clips)
    assert once == median_interval(np.repeat(clips, 9, axis=1))
    assert once[0] < np.median(clips) < once[1]
