import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, normalized_mutual_info_score

from genie_tf.metrics.action_agreement import action_agreement
from genie_tf.metrics.controllability import best_assignment_accuracy
from genie_tf.metrics.intervals import jackknife_interval

CLIPS, TIME = 12, 15


def actions(clips=CLIPS):
    """Return six latent actions that partly agree with true ones 2, 3, 5, 6 and 8."""
    rng = np.random.default_rng(0)
    true = rng.choice(
        [2, 3, 5, 6, 8], p=[0.4, 0.3, 0.2, 0.05, 0.05], size=(clips, TIME)
    )
    noise = rng.random(true.shape) < 0.5
    latent = np.where(noise, rng.integers(6, size=true.shape), (true + 1) % 6)
    return latent, true


def test_confusion_equals_scikit_learn():
    latent, true = actions()
    agreement = action_agreement(latent, true, 6)
    expected = confusion_matrix(latent.ravel(), true.ravel(), labels=range(9))
    assert agreement["true_actions"] == [2, 3, 5, 6, 8]
    assert agreement["confusion"] == expected[:6, [2, 3, 5, 6, 8]].tolist()


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("nmi", lambda a, b: normalized_mutual_info_score(a.ravel(), b.ravel())),
        ("accuracy", best_assignment_accuracy),
    ],
)
def test_intervals_come_from_leaving_out_each_clip(name, measure):
    latent, true = actions()
    agreement = action_agreement(latent, true, 6)[name]
    without_each = [
        measure(np.delete(latent, i, axis=0), np.delete(true, i, axis=0))
        for i in range(CLIPS)
    ]
    whole = measure(latent, true)
    assert agreement["value"] == pytest.approx(whole)
    assert agreement["ci95"] == pytest.approx(jackknife_interval(whole, without_each))
    low, high = agreement["ci95"]
    assert low < whole < high
    # Agreement by chance is lower, but not zero.
    shuffled = agreement["shuffled"]
    assert 0 < shuffled["mean"] < shuffled["quantile95"] < low


def test_independent_actions_score_like_shuffled_ones():
    rng = np.random.default_rng(0)
    latent, true = rng.integers(6, size=(100, 15)), rng.integers(9, size=(100, 15))
    for name in ("nmi", "accuracy"):
        agreement = action_agreement(latent, true, 6)[name]
        shuffled = agreement["shuffled"]
        assert agreement["value"] == pytest.approx(shuffled["mean"], rel=0.3)
        assert agreement["value"] < 1.2 * shuffled["quantile95"]


def test_groups():
    #        true 0       1    4       6
    latent = [0, 0, 0, 1, 1, 1, 2, 2, 2, 0]
    true = [0, 0, 0, 0, 1, 1, 4, 4, 6, 6]
    clips = np.reshape(latent, (2, 5)), np.reshape(true, (2, 5))
    groups = action_agreement(*clips, num_latent=3)["groups"]
    names = ("action", "share", "most_frequent", "assigned", "recall")
    assert [tuple(group[name] for name in names) for group in groups] == [
        (0, 0.4, 0, 0, 0.75),
        (1, 0.2, 1, 1, 1.0),
        (4, 0.2, 2, 2, 1.0),
        (6, 0.2, 0, None, 0.0),  # Three codes are assigned to three actions.
    ]


def test_shuffling_depends_on_seed():
    latent, true = actions(256)
    assert action_agreement(latent, true, 6) == action_agreement(latent, true, 6)
    assert action_agreement(latent, true, 6) != action_agreement(
        latent, true, 6, seed=1
    )


@pytest.mark.parametrize("shape", [(3, 4), (1, 5), (5,)])
def test_wrong_shapes_are_rejected(shape):
    with pytest.raises(
        ValueError, match=r"the same shape \(clips, time\), .* received"
    ):
        action_agreement(np.zeros((1, 5), int), np.zeros(shape, int), 6)
