"""95% confidence intervals of results measured on clips."""

import numpy as np
from scipy.special import stdtrit


def mean_confidence_interval(values):
    """Return the mean of independent values and its 95% confidence interval.

    Uses Student's t with n-1 degrees of freedom; symmetric about the mean.

    Args:
        values: (n,), one value per clip, at least two.

    Returns:
        The mean, and (low, high).

    Raises:
        ValueError: if `values` is not a list of at least two numbers.
    """
    values = _check_values(values)
    n = len(values)
    mean = float(values.mean())
    margin = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return mean, (mean - margin, mean + margin)


def jackknife_interval(whole: float, without_each):
    """Return the 95% confidence interval of a statistic that is not a mean over clips.

    Uses the standard error of the delete-one jackknife and Student's t with n-1 degrees
    of freedom; symmetric about the statistic. Equal to `mean_confidence_interval` for a
    mean.

    Args:
        whole: the statistic over all clips.
        without_each: (n,), at least two: the statistic without the i-th clip.

    Returns:
        (low, high).

    Raises:
        ValueError: if `without_each` is not a list of at least two numbers.
    """
    without_each = _check_values(without_each)
    n = len(without_each)
    margin = float(stdtrit(n - 1, 0.975) * np.sqrt(n - 1) * without_each.std())
    return whole - margin, whole + margin


def median_interval(values, resamples: int = 500):
    """Return the 95% confidence interval of the median over all frames of clips.

    The percentile bootstrap over clips, because frames of a clip depend on each other.
    Its draws are the same in each call.

    Args:
        values: (clips, frames), at least two clips.
        resamples: number of bootstrap samples.

    Returns:
        (low, high).
    """
    values, n = np.asarray(values), len(values)
    drawn = values[np.random.default_rng(0).integers(n, size=(resamples, n))]
    medians = np.median(drawn.reshape(resamples, -1), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(low), float(high)


def _check_values(values):
    values = np.asarray(values, dtype="float64")
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            "An interval needs a list of at least two values; received shape "
            f"{values.shape}."
        )
    return values
