import numpy as np
import pytest

from genie_tf.datasets.actions import Actions
from genie_tf.evaluation.action_probe import (
    ActionProbe,
    load_action_probe,
    probe_answers,
    probe_name,
    probe_scores,
)
from genie_tf.testing.tiny_models import save_action_probe

# Waiting is like jumping.
ACTIONS = Actions(("left", "right", "jump", "wait"), (0, 1, 2, 2))


def brightening(video):
    """Return logits of groups: brighter is right, darker is left, same is jump."""
    change = np.diff(video.mean(axis=(2, 3, 4)), axis=1)
    return np.stack([-change, change, 0.01 - np.abs(change)], axis=-1)


PROBE = ActionProbe("probe.keras", ACTIONS, brightening)


def clips(*brightness):
    """Flat frames of the given brightness, 0 to 255."""
    values = np.array(brightness, "uint8")[:, :, None, None, None]
    return np.broadcast_to(values, (*values.shape[:2], 8, 8, 3))


def test_probe_names_groups_between_frames():
    video = clips([0, 100, 100, 50], [9, 9, 0, 255])
    expected = [[1, 2, 0], [2, 0, 1]]
    assert PROBE(video).tolist() == expected
    assert PROBE(video / 255).tolist() == expected


def test_answers_are_of_predicted_frames():
    truth, prediction = clips([0, 100, 100, 50]), clips([0, 0, 100])
    answers = probe_answers(PROBE, {"truth": truth, "prediction": prediction})
    assert answers["real"].tolist() == [[1, 2]]
    assert answers["generated"].tolist() == [[2, 1]]


TRUE = np.array([[0, 3, 1], [2, 2, 0]])
ANSWERS = {
    "real": np.array([[0, 2], [2, 1]]),
    "generated": np.array([[0, 1], [0, 1]]),
}


def accuracies(scores):
    return {name: row["accuracy"]["mean"] for name, row in scores["rows"].items()}


def test_given_actions_are_scored_by_their_groups():
    scores = probe_scores(PROBE, ANSWERS, TRUE)
    assert scores["probe"] == "probe.keras"
    assert accuracies(scores) == {"real": 3 / 4, "generated_given": 1 / 4}
    assert scores["rows"]["real"]["majority"] == 3 / 4


def test_latent_actions_are_assigned_groups_they_most_often_meet():
    latent = np.array([[4, 0, 0], [0, 0, 4]])  # 4 meets only left, 0 mostly jump.
    scores = probe_scores(PROBE, ANSWERS, TRUE, latent)
    assert accuracies(scores) == {
        "real": 3 / 4,
        "real_assigned": 3 / 4,
        "generated": 1 / 4,
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """File of a probe of frames of 8x8."""
    path = tmp_path_factory.mktemp("probes") / "probe.keras"
    save_action_probe(path, probe_name(ACTIONS), 3, (8, 8))
    return path


def test_saved_probe_is_loaded(saved):
    probe = load_action_probe(str(saved), ACTIONS, (8, 8, 3))
    answers = probe(clips([0, 100, 100], [9, 9, 0]))
    assert answers.shape == (2, 2)
    assert set(answers.ravel()) <= {0, 1, 2}


def test_names_differ_if_names_or_groups_of_actions_do():
    renamed = ACTIONS._replace(names=("up", "right", "jump", "wait"))
    regrouped = ACTIONS._replace(groups=(0, 1, 2, 3))
    assert len({probe_name(actions) for actions in (ACTIONS, renamed, regrouped)}) == 3


@pytest.mark.parametrize(
    ("name", "actions", "size", "sentence"),
    [
        (
            "none.keras",
            ACTIONS,
            8,
            "must be an existing .keras file written by genie-features; received '.*none.k",
        ),
        ("probe.keras", None, 8, "a dataset that names its actions; this one does not"),
        (
            "probe.keras",
            Actions(("left", "right", "jump"), (0, 1, 2)),
            8,
            "is not a probe of this dataset: .* the same actions; received the network ",
        ),
        (
            "probe.keras",
            ACTIONS,
            9,
            r"with frames \(9, 9, 3\); it takes \(None, None, 8, 8, 3\)",
        ),
    ],
)
def test_probe_of_another_dataset_is_rejected(saved, name, actions, size, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_action_probe(str(saved.with_name(name)), actions, (size, size, 3))
