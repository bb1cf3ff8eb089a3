"""How sure a number is that was measured on clips: 95% confidence intervals."""

import numpy as np
from scipy.special import stdtrit


def mean_confidence_interval(values):
    """The mean of independent values, one per clip, and its 95% confidence interval.

    Student's t with n-1 degrees of freedom, symmetric about the mean.

    Args:
        values: (n,), at least two.

    Returns:
        The mean, and (low, high).

    Raises:
        ValueError: if `values` is not a list of at least two numbers.
    """
    values = _checked(values)
    n = len(values)
    mean = float(values.mean())
    margin = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return mean, (mean - margin, mean + margin)


def jackknife_interval(whole: float, without_each):
    """The 95% confidence interval of a number that is no mean over clips.

    The delete-one jackknife's standard error, and Student's t with n-1 degrees of
    freedom, symmetric about the number. For a mean it is `mean_confidence_interval`.

    Args:
        whole: the number, of all clips.
        without_each: (n,), at least two: the same of all clips but the i-th.

    Returns:
        (low, high).

    Raises:
        ValueError: if `without_each` is not a list of at least two numbers.
    """
    without_each = _checked(without_each)
    n = len(without_each)
    margin = float(stdtrit(n - 1, 0.975) * np.sqrt(n - 1) * without_each.std())
    return whole - margin, whole + margin


def median_interval(values, resamples: int = 500):
    """Return the 95% confidence interval of the median over all frames of clips.

    The percentile bootstrap: clips are drawn with replacement, the same in each call,
    since frames of a clip depend on each other.

    Args:
        values: (clips, frames), at least two clips.
        resamples: how many times as many clips are drawn.

    Returns:
        (low, high).
    """
    values, n = np.asarray(values), len(values)
    drawn = values[np.random.default_rng(0).integers(n, size=(resamples, n))]
    medians = np.median(drawn.reshape(resamples, -1), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(low), float(high)


def _checked(values):
    values = np.asarray(values, dtype="float64")
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            "An interval needs a list of at least two values; received shape "
            f"{values.shape}."
        )
    return values
