import time

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, normalized_mutual_info_score

from genie_tf.metrics.action_agreement import action_agreement
from genie_tf.metrics.controllability import best_assignment_accuracy
from genie_tf.metrics.intervals import jackknife_interval

CLIPS, TIME = 12, 15


def actions(clips=CLIPS):
    """Six latent actions that tell something of five true ones, 2, 3, 5, 6 and 8."""
    rng = np.random.default_rng(0)
    true = rng.choice(
        [2, 3, 5, 6, 8], p=[0.4, 0.3, 0.2, 0.05, 0.05], size=(clips, TIME)
    )
    noise = rng.random(true.shape) < 0.5
    latent = np.where(noise, rng.integers(6, size=true.shape), (true + 1) % 6)
    return latent, true


def test_confusion_equals_scikit_learn():
    latent, true = actions()
    found = action_agreement(latent, true, 6)
    expected = confusion_matrix(latent.ravel(), true.ravel(), labels=range(9))
    assert found["true_actions"] == [2, 3, 5, 6, 8]
    assert found["confusion"] == expected[:6, [2, 3, 5, 6, 8]].tolist()


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("nmi", lambda a, b: normalized_mutual_info_score(a.ravel(), b.ravel())),
        ("accuracy", best_assignment_accuracy),
    ],
)
def test_measures_have_the_interval_of_leaving_each_clip_out(name, measure):
    latent, true = actions()
    found = action_agreement(latent, true, 6)[name]
    without_each = [
        measure(np.delete(latent, i, axis=0), np.delete(true, i, axis=0))
        for i in range(CLIPS)
    ]
    whole = measure(latent, true)
    assert found["value"] == pytest.approx(whole)
    assert found["ci95"] == pytest.approx(jackknife_interval(whole, without_each))
    low, high = found["ci95"]
    assert low < whole < high
    # What comes by chance is less, and not nothing.
    assert 0 < found["shuffled"]["mean"] < found["shuffled"]["quantile95"] < low


def test_actions_that_tell_nothing_score_as_shuffled_ones_do():
    rng = np.random.default_rng(0)
    latent, true = rng.integers(6, size=(100, 15)), rng.integers(9, size=(100, 15))
    for name in ("nmi", "accuracy"):
        found = action_agreement(latent, true, 6)[name]
        shuffled = found["shuffled"]
        assert found["value"] == pytest.approx(shuffled["mean"], rel=0.3)
        assert found["value"] < 1.2 * shuffled["quantile95"]


def test_groups():
    #        true 0       1    4       6
    latent = [0, 0, 0, 1, 1, 1, 2, 2, 2, 0]
    true = [0, 0, 0, 0, 1, 1, 4, 4, 6, 6]
    clips = np.reshape(latent, (2, 5)), np.reshape(true, (2, 5))
    found = action_agreement(*clips, num_latent=3)["groups"]
    names = ("action", "share", "most_frequent", "assigned", "recall")
    assert [tuple(group[name] for name in names) for group in found] == [
        (0, 0.4, 0, 0, 0.75),
        (1, 0.2, 1, 1, 1.0),
        (4, 0.2, 2, 2, 1.0),
        (6, 0.2, 0, None, 0.0),  # three codes name three actions
    ]


def test_equal_seeds_shuffle_equally_and_quickly():
    start = time.perf_counter()
    latent, true = actions(256)
    assert action_agreement(latent, true, 6) == action_agreement(latent, true, 6)
    assert action_agreement(latent, true, 6) != action_agreement(
        latent, true, 6, seed=1
    )
    assert time.perf_counter() - start < 4


@pytest.mark.parametrize("shape", [(3, 4), (1, 5), (5,)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"the same shape \(clips, time\), .* received"
    ):
        action_agreement(np.zeros((1, 5), int), np.zeros(shape, int), 6)
