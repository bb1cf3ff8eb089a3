"""Levels are played with seeds, and their results summed up with intervals."""

import random

import numpy as np
import pytest

from genie_tf.agents import ImpalaAgent
from genie_tf.datasets.procgen.agent_policy import AgentPolicy
from genie_tf.datasets.procgen.environment import ACTION_NAMES
from genie_tf.datasets.procgen.levels import Settings
from genie_tf.datasets.procgen.policies import RandomPolicy
from genie_tf.evaluation.played_levels import (
    ConstantPolicy,
    Played,
    check_agent,
    play_once,
    play_with_seeds,
)
from genie_tf.metrics.intervals import mean_confidence_interval
from genie_tf.testing.presets import error_message

SETTINGS = Settings("coinrun", "easy", 1)
RIGHT_JUMP = ConstantPolicy(ACTION_NAMES.index("right+up"))
LEVELS = range(20_000, 20_004)


def make_agent(**changes):
    random.seed(0)
    arguments = {"channels": (2,), "dim": 4, "shrink": 8, **changes}
    return ImpalaAgent("coinrun", arguments.pop("names", ACTION_NAMES), **arguments)


def test_each_level_is_played_to_its_first_end():
    episodes = play_once(RIGHT_JUMP, SETTINGS, LEVELS)
    assert [episode.level_seed for episode in episodes] == list(LEVELS)
    for episode in episodes:
        assert set(episode.actions) == {8}
        # All rewards of CoinRun come from the coin, which ends the episode.
        assert episode.rewards[:-1].sum() == 0
        assert episode.rewards[-1] in (0, 10)
    played = play_with_seeds(RIGHT_JUMP, SETTINGS, LEVELS, num_seeds=2)
    returns = [episode.rewards.sum() for episode in episodes]
    np.testing.assert_array_equal(played.returns, [returns, returns])
    np.testing.assert_array_equal(played.solved, played.returns == 10)
    lengths = [len(episode.actions) for episode in episodes]
    np.testing.assert_array_equal(played.lengths, [lengths, lengths])
    assert 0 < played.solved.mean() < 1


def test_seed_and_level_determine_random_play():
    first, again, other = (
        play_once(RandomPolicy("coinrun"), SETTINGS, [level], seed)[0].actions[:20]
        for level, seed in ((20_003, 0), (20_003, 0), (20_003, 1))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_agent_forgets_levels_whose_episode_begins():
    told = []

    class Spy:
        def act(self, frames, is_first, rngs):
            told.append(is_first.tolist())
            return np.full(len(frames), 8)

    play_once(AgentPolicy(Spy()), SETTINGS, [20_000, 20_001])
    assert told[:2] == [[True, True], [False, False]]
    # One level has ended, and shows the start of its next episode.
    assert sorted(told[-1]) == [False, True]


def test_summary_counts_seeds_of_a_level_once():
    solved = np.array([[1, 0, 1, 1], [1, 0, 0, 1]], bool)
    played = Played(solved, 10.0 * solved, np.arange(8.0).reshape(2, 4))
    summary = played.summary()
    assert summary["solved_percent_by_seed"] == [75, 50]
    mean, (low, high) = mean_confidence_interval([10, 0, 5, 10])
    assert summary["return"] == {"mean": mean, "low": low, "high": high}
    assert summary["solved_percent"] == {"mean": 62.5, "low": 0, "high": 100}
    assert summary["steps"]["mean"] == 3.5


def test_settings_of_an_agent_name_its_actions():
    settings = check_agent(make_agent(names=("none", "right")), "hard")
    assert (settings.game, settings.mode) == ("coinrun", "hard")
    assert settings.actions == ("none", "right")


@pytest.mark.parametrize(
    ("changes", "mode", "message"),
    [
        (
            {},
            "harder",
            "Procgen's coinrun has no mode 'harder'; available: easy, hard.",
        ),
        (
            {"names": ("fly",)},
            "easy",
            f"The actions must be different ones of {', '.join(ACTION_NAMES)}; received "
            "fly.",
        ),
        (
            {"frame_shape": (32, 32, 3)},
            "easy",
            "Procgen has frames of (64, 64, 3); the agent expects (32, 32, 3).",
        ),
    ],
)
def test_agents_that_cannot_play_are_rejected(changes, mode, message):
    assert error_message(check_agent, make_agent(**changes), mode) == message
