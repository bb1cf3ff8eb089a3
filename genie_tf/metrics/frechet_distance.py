"""How far two sets of features are apart: FID and FVD, whatever network gave them."""

import numpy as np


def frechet_distance(a, b) -> float:
    """The Fréchet distance of the Gaussians fitted to two sets of features, squared.

    |mean a - mean b|^2 + tr(A + B - 2 (A B)^(1/2)), where A and B are the unbiased
    covariances (Heusel et al. 2017, Unterthiner et al. 2018).

    Covariances may be singular: each is taken apart into F F^T by its eigenvectors, and
    the trace of (A B)^(1/2) is the sum of the singular values of F_a^T F_b. Still, of
    fewer samples than features they say little, and the distance is too large.

    Args:
        a, b: features, (samples, width); the numbers of samples may differ.

    Returns:
        A number from 0 on, computed in float64.

    Raises:
        ValueError: if these are not two sets of features of the same width, with at
            least two samples each, or if a feature is not finite.
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
    # Rounding may take the distance of equal features below zero.
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
    """F of the covariance F F^T of features: (width, width)."""
    centered = features - features.mean(axis=0)
    covariance = centered.T @ centered / (len(features) - 1)
    values, vectors = np.linalg.eigh(covariance)
    # Zeros come out as rounding errors, and their roots would no longer be small.
    rounding = np.finfo("float64").eps * len(values) * values[-1]
    return vectors * np.sqrt(np.where(values > rounding, values, 0))
