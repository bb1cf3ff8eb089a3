"""Metrics of control: effect of actions on frames, agreement with true actions.

`delta_psnr` can be compiled; the others take and return NumPy arrays, in float64.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import entr

from genie_tf.metrics.image_quality import psnr


def delta_psnr(target, with_inferred_actions, with_random_actions, horizon: int = 4):
    """Return how much better inferred actions predict a frame than random ones.

    dPSNR_t = PSNR(x_t, x̂_t) - PSNR(x_t, x̂'_t) (Genie, section 3). Both videos are
    generated from the same prompt: x̂ with actions inferred from the true clip, x̂' with
    actions drawn uniformly. 0 means that actions have no effect. In GenieRedux's code,
    x̂'_t follows x̂_(t-1), and only action t is another one.

    Args:
        target: the true frames after the prompt, (clips, time, height, width,
            channels), uint8, or float in [0, 1]; index 0 is the first predicted frame.
        with_inferred_actions: x̂, the same frames, generated.
        with_random_actions: x̂', the same frames, generated.
        horizon: t, counted from 1, the first frame after the prompt.

    Returns:
        float32 (clips,), in decibels.

    Raises:
        ValueError: if the shapes differ or frame t does not exist.
    """
    videos = target, with_inferred_actions, with_random_actions
    shapes = [tuple(video.shape) for video in videos]
    if len(set(shapes)) > 1 or len(shapes[0]) != 5:
        raise ValueError(
            "The true video and both generated ones must have the same shape (clips, "
            f"time, height, width, channels); received {', '.join(map(str, shapes))}."
        )
    if not 1 <= horizon <= shapes[0][1]:
        raise ValueError(
            f"`horizon` must be in 1..{shapes[0][1]}, the number of predicted frames; "
            f"received {horizon}."
        )
    x, inferred, random = (video[:, horizon - 1] for video in videos)
    return psnr(x, inferred) - psnr(x, random)


def normalized_mutual_information(a, b) -> float:
    """Return the normalized mutual information of two labelings.

    Args:
        a: integer labels, such as latent actions.
        b: integer labels of the same shape, such as true actions.

    Returns:
        Mutual information over the arithmetic mean of the two entropies, in [0, 1];
        1 if both labelings are constant. Equal to scikit-learn's
        `normalized_mutual_info_score`.

    Raises:
        ValueError: if the shapes differ or there are no labels.
    """
    return float(mutual_information_from_counts(_joint_counts(a, b)))


def mutual_information_from_counts(joint):
    """Return the `normalized_mutual_information` of counted pairs of labels.

    Args:
        joint: (..., labels of a, labels of b), counts of pairs.

    Returns:
        float64 (...).
    """
    shares = joint / joint.sum(axis=(-2, -1), keepdims=True)
    entropy_a = entr(shares.sum(axis=-1)).sum(axis=-1)
    entropy_b = entr(shares.sum(axis=-2)).sum(axis=-1)
    total = entropy_a + entropy_b
    information = total - entr(shares).sum(axis=(-2, -1))
    varied = total > 0
    return np.where(
        varied, np.clip(2 * information / np.where(varied, total, 1), 0, 1), 1.0
    )


def best_assignment_accuracy(latent, true) -> float:
    """Return the accuracy of latent actions under the best assignment to true actions.

    The assignment is one-to-one (Hungarian method). Unassigned latent or true actions
    count as wrong: 6 codes for 9 equally frequent actions reach at most 2/3.

    Args:
        latent: integer labels.
        true: integer labels of the same shape.

    Returns:
        A share in (0, 1].

    Raises:
        ValueError: if the shapes differ or there are no labels.
    """
    return float(assignment_accuracy_from_counts(_joint_counts(latent, true)))


def assignment_accuracy_from_counts(joint):
    """Return the `best_assignment_accuracy` of counted pairs of labels.

    Args:
        joint: (..., latent labels, true labels), counts of pairs.

    Returns:
        float64 (...).
    """
    tables = joint.reshape(-1, *joint.shape[-2:])
    hits = [
        table[linear_sum_assignment(table, maximize=True)].sum() for table in tables
    ]
    return np.reshape(hits, joint.shape[:-2]) / joint.sum(axis=(-2, -1))


def _joint_counts(a, b):
    """Count the pairs of labels, (labels of a, labels of b)."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or not a.size:
        raise ValueError(
            "Two labelings must have the same shape and at least one label; received "
            f"shapes {a.shape} and {b.shape}."
        )
    labels_a, a = np.unique(a.ravel(), return_inverse=True)
    labels_b, b = np.unique(b.ravel(), return_inverse=True)
    counts = np.bincount(a * len(labels_b) + b, minlength=len(labels_a) * len(labels_b))
    return counts.reshape(len(labels_a), len(labels_b))
