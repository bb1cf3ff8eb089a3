"""How well latent actions agree with the true ones: all of it, in one dict.

Axes: c clips, a latent actions, g true actions.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from genie_tf.metrics.controllability import (
    assignment_accuracy_of_counts,
    mutual_information_of_counts,
)
from genie_tf.metrics.intervals import jackknife_interval

_SHUFFLES = 200


def action_agreement(latent, true, num_latent: int, seed: int = 0) -> dict:
    """Compare latent with true actions, with intervals over clips.

    Args:
        latent: integers (clips, time), in [0, num_latent).
        true: integers (clips, time).
        num_latent: how many latent actions there are.
        seed: of the shuffling.

    Returns:
        A dict for JSON: `true_actions`, those that occur, in order; `confusion`,
        counts, a row for each latent action and a column for each of these; `nmi` and
        `accuracy` (normalized mutual information, best-assignment accuracy), each with
        `value`, `ci95` (delete-one-clip jackknife), and what latent actions reach that
        are shuffled over all clips, `shuffled` with `mean` and `quantile95`; and
        `groups`, for each true action its `share` of all, its `most_frequent` latent
        action, the one `assigned` to it, if any, and its `recall` under the best
        assignment.

    Raises:
        ValueError: if the shapes differ, or there are fewer than two clips.
    """
    latent, true = np.asarray(latent), np.asarray(true)
    if latent.shape != true.shape or latent.ndim != 2 or len(latent) < 2:
        raise ValueError(
            "Latent and true actions must have the same shape (clips, time), of at "
            f"least two clips; received {latent.shape} and {true.shape}."
        )
    labels, found = np.unique(true, return_inverse=True)
    found = found.reshape(true.shape)
    of_clips = _counts(latent, found, num_latent, len(labels))
    joint = of_clips.sum(axis=0)
    rng = np.random.default_rng(seed)
    shuffled = np.concatenate(
        [
            _counts(
                rng.permutation(latent.ravel())[None],
                found.reshape(1, -1),
                num_latent,
                len(labels),
            )
            for _ in range(_SHUFFLES)
        ]
    )
    agreement = {"true_actions": labels.tolist(), "confusion": joint.tolist()}
    for name, measure in (
        ("nmi", mutual_information_of_counts),
        ("accuracy", assignment_accuracy_of_counts),
    ):
        value, by_chance = float(measure(joint)), measure(shuffled)
        agreement[name] = {
            "value": value,
            "ci95": list(jackknife_interval(value, measure(joint - of_clips))),
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
    """How often each latent action meets each true one in each clip: (c, a, g)."""
    clips = np.arange(len(latent))[:, None]
    index = (clips * num_latent + latent) * num_true + true
    size = len(latent) * num_latent * num_true
    counts = np.bincount(index.ravel(), minlength=size)
    return counts.reshape(len(latent), num_latent, num_true)
