"""Agreement of latent actions with true actions, as one report.

Axes: c clips, a latent actions, g true actions.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from genie_tf.metrics.controllability import (
    assignment_accuracy_from_counts,
    mutual_information_from_counts,
)
from genie_tf.metrics.intervals import jackknife_interval

_SHUFFLES = 200


def action_agreement(latent, true, num_latent: int, seed: int = 0) -> dict:
    """Compare latent actions with true actions, with confidence intervals over clips.

    Args:
        latent: integers (clips, time), in [0, num_latent).
        true: integers (clips, time).
        num_latent: number of latent actions.
        seed: seed for shuffling.

    Returns:
        A dict for JSON: `true_actions`, those that occur, sorted; `confusion`, counts
        with a row per latent action and a column per entry of `true_actions`; `nmi` and
        `accuracy` (normalized mutual information, best-assignment accuracy), each with
        `value`, `ci95` (delete-one-clip jackknife), and `shuffled`, the `mean` and
        `quantile95` for latent actions shuffled over all clips; `groups`, for each true
        action its `share`, its `most_frequent` latent action, the one `assigned` to it,
        if any, and its `recall` under the best assignment.

    Raises:
        ValueError: if the shapes differ or there are fewer than two clips.
    """
    latent, true = np.asarray(latent), np.asarray(true)
    if latent.shape != true.shape or latent.ndim != 2 or len(latent) < 2:
        raise ValueError(
            "Latent and true actions must have the same shape (clips, time), with at "
            f"least two clips; received {latent.shape} and {true.shape}."
        )
    labels, columns = np.unique(true, return_inverse=True)
    columns = columns.reshape(true.shape)
    counts_per_clip = _counts(latent, columns, num_latent, len(labels))
    joint = counts_per_clip.sum(axis=0)
    rng = np.random.default_rng(seed)
    shuffled = np.concatenate(
        [
            _counts(
                rng.permutation(latent.ravel())[None],
                columns.reshape(1, -1),
                num_latent,
                len(labels),
            )
            for _ in range(_SHUFFLES)
        ]
    )
    agreement = {"true_actions": labels.tolist(), "confusion": joint.tolist()}
    for name, measure in (
        ("nmi", mutual_information_from_counts),
        ("accuracy", assignment_accuracy_from_counts),
    ):
        value, by_chance = float(measure(joint)), measure(shuffled)
        agreement[name] = {
            "value": value,
            "ci95": list(jackknife_interval(value, measure(joint - counts_per_clip))),
            "shuffled": {
                "mean": float(by_chance.mean()),
                "quantile95": float(np.quantile(by_chance, 0.95)),
            },
        }
    codes, names = linear_sum_assignment(joint, maximize=True)
    assigned = {
        g: a for g, a in zip(names.tolist(), codes.tolist(), strict=True) if joint[a, g]
    }
    totals = joint.sum(axis=0)
    agreement["groups"] = [
        {
            "action": int(label),
            "share": float(totals[g] / totals.sum()),
            "most_frequent": int(joint[:, g].argmax()),
            "assigned": assigned.get(g),
            "recall": float(joint[assigned[g], g] / totals[g])
            if g in assigned
            else 0.0,
        }
        for g, label in enumerate(labels)
    ]
    return agreement


def _counts(latent, true, num_latent: int, num_true: int):
    """Count the pairs of latent and true actions in each clip, (c, a, g)."""
    clips = np.arange(len(latent))[:, None]
    index = (clips * num_latent + latent) * num_true + true
    size = len(latent) * num_latent * num_true
    counts = np.bincount(index.ravel(), minlength=size)
    return counts.reshape(len(latent), num_latent, num_true)
