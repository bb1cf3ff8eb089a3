"""Fréchet distance of features from any network: FID and FVD."""

import numpy as np


def frechet_distance(a, b) -> float:
    """Return the squared Fréchet distance of Gaussians fitted to two sets of features.

    |mean a - mean b|^2 + tr(A + B - 2 (A B)^(1/2)), where A and B are the unbiased
    covariances (Heusel et al. 2017, Unterthiner et al. 2018).

    Covariances can be singular: each is factored into F F^T by its eigenvectors, and
    the trace of (A B)^(1/2) is the sum of the singular values of F_a^T F_b. With fewer
    samples than features, covariances are poor and the distance is too large.

    Args:
        a: features, (samples, width).
        b: features, (samples, width); the number of samples can differ.

    Returns:
        A number, 0 or more, computed in float64.

    Raises:
        ValueError: if the sets have different widths or fewer than two samples, or a
            feature is not finite.
    """
    a, b = _features(a), _features(b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            "Both sets of features must have the same width; received shapes "
            f"{a.shape} and {b.shape}."
        )
    shift = a.mean(axis=0) - b.mean(axis=0)
    total_variance = a.var(axis=0, ddof=1).sum() + b.var(axis=0, ddof=1).sum()
    shared = np.linalg.norm(_factor(a).T @ _factor(b), "nuc")
    # Rounding can make the distance of equal features negative.
    return max(0.0, float(shift @ shift + total_variance - 2 * shared))


def _features(features) -> np.ndarray:
    features = np.asarray(features, "float64")
    if features.ndim != 2 or len(features) < 2 or not features.shape[1]:
        raise ValueError(
            "Features must have shape (samples, width), with at least two samples; "
            f"received {features.shape}."
        )
    if not np.isfinite(features).all():
        raise ValueError("Features must be finite; received NaN or infinity.")
    return features


def _factor(features: np.ndarray) -> np.ndarray:
    """Factor the covariance of features as F F^T; return F, (width, width)."""
    centered = features - features.mean(axis=0)
    covariance = centered.T @ centered / (len(features) - 1)
    values, vectors = np.linalg.eigh(covariance)
    # Drop zeros that came out as rounding errors: their square roots are not small.
    rounding = np.finfo("float64").eps * len(values) * values[-1]
    return vectors * np.sqrt(np.where(values > rounding, values, 0))
