import numpy as np
import pytest

from genie_tf.datasets.procgen.environment import ACTION_NAMES, make_environment
from genie_tf.datasets.procgen.levels import Settings, play_levels
from genie_tf.datasets.procgen.policies import PolicyError, make_policy
from genie_tf.datasets.procgen.scripted_policy import (
    ScriptedPolicy,
    draw_perturbations,
)

EASY = Settings("coinrun", "easy", 500, one_episode=True)
SOLVED = EASY._replace(solved="required")
# Running and jumping fails in these easy levels.
UNSOLVED_AT_FIRST = (0, 1, 22)
RUN = ACTION_NAMES.index("right+up")


def play(level_seed, settings=EASY, **arguments):
    """Return the episodes of a level, at most one."""
    policy = ScriptedPolicy("coinrun", **arguments)
    (episodes,) = play_levels(settings, [level_seed], policy)
    return episodes


def test_first_attempt_runs_and_jumps():
    for level_seed in UNSOLVED_AT_FIRST:
        (episode,) = play(level_seed, attempts=1, perturbed=0)
        assert set(episode.actions) == {RUN}
        assert not episode.is_solved
        assert not play(level_seed, SOLVED, attempts=1, perturbed=0)


@pytest.mark.parametrize("mode", ["easy", "hard"])
def test_demonstrations_replay_exactly(mode):
    for level_seed in UNSOLVED_AT_FIRST:
        (episode,) = play(level_seed, SOLVED._replace(mode=mode), attempts=32)
        environment = make_environment("coinrun", mode, level_seed)
        for frame, action in zip(episode.pixels(), episode.actions):
            np.testing.assert_array_equal(environment.observe()[1]["rgb"][0], frame)
            environment.act(np.array([action], np.int32))
        (reward,), _, (is_first,) = environment.observe()
        environment.close()
        assert is_first
        assert reward == episode.rewards[-1] == 10
        assert episode.is_terminal
        assert episode.policy == "scripted_32"


def test_more_attempts_make_shorter_demonstrations():
    for level_seed in UNSOLVED_AT_FIRST:
        lengths = []
        for attempts in (16, 32, 64):
            episodes = play(level_seed, SOLVED, attempts=attempts)
            lengths.append(len(episodes[0].actions) if episodes else 500)
        assert lengths == sorted(lengths, reverse=True)


def test_demonstrations_contain_perturbations():
    (episode,) = play(3, attempts=8, perturbed=0.3)
    rng = np.random.default_rng((3, 0))
    drawn = draw_perturbations(rng, 500, 0.3)[: len(episode.actions)]
    assert np.count_nonzero(drawn >= 0) > 5
    np.testing.assert_array_equal(episode.actions[drawn >= 0], drawn[drawn >= 0])


def test_perturbations_have_their_share_and_duration():
    rng = np.random.default_rng(0)
    drawn = draw_perturbations(rng, 100_000, 0.1)
    assert set(drawn) == set(range(-1, 9))
    is_drawn = drawn >= 0
    assert is_drawn.mean() == pytest.approx(0.1, abs=0.005)
    num_runs = np.count_nonzero(np.diff(is_drawn.astype(int)) == 1)
    assert is_drawn.sum() / num_runs == pytest.approx(3, abs=0.2)
    assert not np.any(draw_perturbations(rng, 1_000, 0) >= 0)


@pytest.mark.parametrize(
    ("game", "arguments", "message"),
    [
        ("ninja", {}, "it plays only coinrun; received 'ninja'."),
        ("coinrun", {"attempts": 0}, "attempts must be at least 1; received 0."),
        (
            "coinrun",
            {"perturbed": 0.6},
            "perturbed must be from 0 to 0.5; received 0.6.",
        ),
    ],
)
def test_invalid_arguments_are_rejected(game, arguments, message):
    with pytest.raises(PolicyError) as error:
        make_policy("scripted", game, arguments)
    assert str(error.value) == f"Policy 'scripted' cannot be created: {message}"


def test_selected_actions_are_rejected():
    with pytest.raises(PolicyError) as error:
        play(3, EASY._replace(actions=("left", "right")))
    assert str(error.value) == (
        "Policy 'scripted_64' chooses from all actions; received left, right."
    )
