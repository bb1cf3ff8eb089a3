"""Long play of a world whose frames are all known."""

from types import SimpleNamespace

import numpy as np
import pytest

from genie_tf.evaluation import horizon_study
from genie_tf.evaluation.horizon_study import study_horizon

PLAYS, SIZE = 5, 24
LEFT, STAY, RIGHT = range(3)
STEP = np.array([1, 0, -1])  # Pixels by which the image moves to the right.


# Wide landscapes of noise.
CANVASES = np.random.default_rng(0).integers(
    256, size=(PLAYS + 1, SIZE, 1000, 3), dtype="uint8"
)
CANVASES[:, 16:] = CANVASES[:, 16:17]  # Stripes in a third of the patches.
START = 500
PROMPTS = CANVASES[:, :, START : START + SIZE]


class Sampler:
    """Camera that pans over landscapes; from the age `MELTS`, all frames are gray."""

    MELTS = 10**6

    def __init__(self, world):
        self.world = SimpleNamespace(num_actions=3)

    def reset(self, prompt):
        # Prompts identify landscapes.
        numbers = [
            np.flatnonzero((PROMPTS == frame).all(axis=(1, 2, 3))).item()
            for frame in prompt[:, 0]
        ]
        return (numbers, np.full(len(prompt), START), 0), prompt / 255

    def step(self, state, action, seed, sampling):
        assert len(action) == len(seed)
        numbers, left, age = state
        left, age = left - STEP[action], age + 1
        frames = np.array(
            [CANVASES[i, :, x : x + SIZE] for i, x in zip(numbers, left, strict=True)]
        )
        melted = np.full(frames.shape, 0.5)
        return (numbers, left, age), melted if age >= self.MELTS else frames / 255


def batches(horizon):
    """Yield two batches of three still clips, one clip more than needed."""
    video = np.repeat(PROMPTS[:, None], 1 + horizon, axis=1)
    yield from ({"video": video[:3]}, {"video": video[3:]})


@pytest.fixture
def study(monkeypatch):
    def run(horizon, melts=10**6, **options):
        monkeypatch.setattr(Sampler, "MELTS", melts)
        monkeypatch.setattr(horizon_study, "WorldSampler", Sampler)
        return study_horizon(None, batches(horizon), PLAYS, **options)

    return run


def values(scores, name):
    return [score["value"] for score in scores[name]]


def test_world_that_holds_scores_one(study):
    scores, videos = study(12)
    assert (scores["plays"], scores["ages"]) == (5, [1, 10, 12])
    for name in ("sharpness", "detail", "stripes", "spread"):
        assert values(scores, name) == pytest.approx([1, 1, 1], abs=0.05)
        for score in scores[name]:
            low, high = score["ci95"]
            assert low <= score["value"] <= high
    assert {name: video.shape for name, video in videos.items()} == {
        name: (3, 13, SIZE, SIZE, 3) for name in ("truth", "play")
    }
    np.testing.assert_array_equal(videos["play"][:, 0], videos["truth"][:, 0])


def test_melted_world_has_no_detail_and_no_spread(study):
    scores, _ = study(12, melts=10)
    for name in ("sharpness", "detail", "stripes", "spread"):
        assert values(scores, name) == pytest.approx([1, 0, 0], abs=0.05)


def test_actions_keep_their_effects_in_world_that_holds(study):
    scores, _ = study(12)
    left, stay, right = scores["actions"]
    assert left["shift"] == [[0, 5]] * 3
    assert stay["shift"] == [[0, 0]] * 3
    assert right["shift"] == [[0, -5]] * 3
    for action in scores["actions"]:
        assert action["same_direction"] == [1, 1, 1]


def test_actions_of_melted_world_do_nothing(study):
    scores, _ = study(12, melts=10)
    left, stay, _ = scores["actions"]
    assert (left["shift"][0], left["shift"][2]) == ([0, 5], [0, 0])
    assert (left["same_direction"][0], left["same_direction"][2]) == (1, 0)
    assert stay["same_direction"][2] == 1


def test_random_actions_are_held_for_five_frames_on_average(study, monkeypatch):
    monkeypatch.setattr(horizon_study, "_AGES", ())
    _, videos = study(300)
    columns = {c.tobytes(): i for i, c in enumerate(CANVASES[0].swapaxes(0, 1))}
    left = [columns[frame[:, 0].tobytes()] for frame in videos["play"][0]]
    moves = np.diff(left)
    assert set(moves) == {-1, 0, 1}
    # One change in three draws the same action again.
    assert 300 / np.count_nonzero(np.diff(moves)) == pytest.approx(7.5, rel=0.3)


def test_equal_seeds_give_equal_plays(study):
    first, again, other = (study(4, seed=seed)[1]["play"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


class Contrasts:
    """Network whose features are the standard deviations of colors."""

    name, score_name = "contrasts", "FVD-contrasts"

    def __call__(self, video):
        assert video.shape[1:] == (16, SIZE, SIZE, 3)
        return (video / 255).std(axis=(1, 2, 3))


def test_frechet_distances_compare_windows_of_sixteen_frames(study, monkeypatch):
    monkeypatch.setattr(horizon_study, "_WINDOW_ENDS", (16, 30, 31))
    scores, _ = study(30, melts=26, feature_networks=[Contrasts()])
    (frechet,) = scores["frechet"]
    assert (frechet["score"], frechet["network"]) == ("FVD-contrasts", "contrasts")
    assert frechet["windows"] == [[1, 16], [15, 30]]
    first, last = frechet["distances"]
    assert first < last / 3


def test_play_shorter_than_a_window_has_no_frechet_distance(study):
    scores, _ = study(4, feature_networks=[Contrasts()])
    assert "frechet" not in scores


def test_real_frames_without_detail_leave_ratios_finite(monkeypatch):
    monkeypatch.setattr(horizon_study, "WorldSampler", Sampler)
    black = np.zeros((3, 3, SIZE, SIZE, 3), "uint8")
    black[:, 0] = PROMPTS[:3]
    scores, _ = study_horizon(None, iter([{"video": black}]), 3)
    for name in ("sharpness", "detail", "stripes", "spread"):
        for score in scores[name]:
            assert np.isfinite([score["value"], *score["ci95"]]).all()
