import numpy as np
import pytest

from genie_tf.datasets.procgen.environment import ACTION_NAMES, make_environment
from genie_tf.datasets.procgen.levels import Settings, play_levels
from genie_tf.datasets.procgen.policies import (
    HeldPolicy,
    Policy,
    PolicyError,
    RandomPolicy,
)

NUM_STEPS = 120
COINRUN = Settings("coinrun", "hard", NUM_STEPS)
# Within 120 random steps the agent dies in levels 6 and 22, and wins in level 132.
LEVELS = [6, 7, 22, 132]


def play(level_seed, settings=COINRUN, policy=None):
    (episodes,) = play_levels(
        settings, [level_seed], policy or RandomPolicy(settings.game)
    )
    return episodes


class Waiting(Policy):
    """Policy that does nothing."""

    name = "waiting"

    def act(self, frames, rngs):
        return np.full(len(frames), 4)


class Brightness(Policy):
    """Policy that depends on the frame and on the step within the episode."""

    name = "brightness"

    def start_levels(self, num_steps, rngs):
        self.steps = np.full(len(rngs), -1)

    def start_episodes(self, is_first):
        assert is_first.any()
        self.steps[is_first] = -1

    def act(self, frames, rngs):
        assert frames.shape == (len(rngs), 64, 64, 3)
        self.steps += 1
        return (frames.sum(axis=(1, 2, 3), dtype=int) + self.steps) % 15


def test_one_episode_plays_only_the_first():
    first, *others = play(6)
    assert others
    (only,) = play(6, COINRUN._replace(one_episode=True))
    np.testing.assert_equal(only, first)
    (cut,) = play(6, COINRUN._replace(one_episode=True, steps_per_level=10))
    assert len(cut.actions) == 10
    assert not cut.is_terminal


def test_timeout_is_not_terminal():
    first, second = play(0, Settings("maze", "easy", 501), Waiting())
    assert len(first.actions) == 500
    assert not first.is_terminal
    # The level restarts from the same frame.
    assert second.frames == first.frames[:1]


@pytest.mark.parametrize("game", ["coinrun", "ninja", "bigfish"])
def test_replaying_actions_reproduces_episodes(game):
    settings = Settings(game, "easy", 200)
    environment = make_environment(game, "easy", 22)
    _, seen, is_first = environment.observe()
    assert environment.get_info()[0]["level_seed"] == 22
    for index, episode in enumerate(play(22, settings, HeldPolicy(game))):
        assert (episode.level_seed, episode.index) == (22, index)
        for frame, action, reward in zip(
            episode.pixels(), episode.actions, episode.rewards
        ):
            np.testing.assert_array_equal(frame, seen["rgb"][0])
            environment.act(np.array([action], np.int32))
            (expected,), seen, is_first = environment.observe()
            assert reward == expected
        assert episode.is_terminal == is_first[0]


def test_chosen_actions_are_those_of_the_game():
    names = ("none", "right", "up")
    settings = COINRUN._replace(actions=names)
    (few,) = play_levels(settings, [7], RandomPolicy("coinrun", num_actions=3))
    taken = np.concatenate([episode.actions for episode in few])
    assert set(taken) == {0, 1, 2}

    class Repeating(Waiting):
        def act(self, frames, rngs):
            return [ACTION_NAMES.index(names[next(steps)])]

    steps = iter(taken)
    every = play(7, policy=Repeating())
    for episode, same in zip(few, every, strict=True):
        assert episode.frames == same.frames
        np.testing.assert_array_equal(episode.rewards, same.rewards)
    with pytest.raises(PolicyError, match=r"from 0 to 2, .*; received 4\."):
        play(7, settings, Waiting())


def test_solved_episodes_are_told_from_others():
    episodes = [episode for level_seed in LEVELS for episode in play(level_seed)]
    solved = [episode.rewards[-1] > 0 for episode in episodes]
    assert [episode.is_solved for episode in episodes] == solved
    assert 0 < sum(solved) < len(solved)
    settings = COINRUN._replace(solved="required")
    kept = [episode for level_seed in LEVELS for episode in play(level_seed, settings)]
    expected = [episode for episode in episodes if episode.is_solved]
    np.testing.assert_equal(kept, expected)


def test_velocity_is_painted_in_its_region_only():
    plain, painted = (
        play(7, COINRUN._replace(paint_velocity=is_painted), HeldPolicy("coinrun"))[0]
        for is_painted in (False, True)
    )
    np.testing.assert_array_equal(plain.actions, painted.actions)
    differs = np.any(plain.pixels() != painted.pixels(), axis=(0, -1))
    assert differs[:13, :26].all()
    assert differs.sum() == 13 * 26
    # At rest, velocities of 0 are gray.
    assert set(painted.pixels()[0, :13, :26].ravel()) == {127}
    assert len(np.unique(painted.pixels()[:, 0, 0])) > 3


def test_policy_sees_stored_frames():
    episodes = play(4, policy=Brightness())
    assert len(episodes) > 1
    for episode in episodes:
        brightness = episode.pixels().sum(axis=(1, 2, 3), dtype=int)
        expected = (brightness + np.arange(len(brightness))) % 15
        np.testing.assert_array_equal(episode.actions, expected)
        assert episode.policy == "brightness"


@pytest.mark.parametrize("one_episode", [False, True])
@pytest.mark.parametrize("policy", [RandomPolicy("coinrun"), Brightness()])
def test_episodes_do_not_depend_on_levels_played_in_lockstep(policy, one_episode):
    settings = COINRUN._replace(one_episode=one_episode)
    together = play_levels(settings, LEVELS, policy)
    separate = [play(level_seed, settings, policy) for level_seed in LEVELS]
    np.testing.assert_equal(together, separate)
    assert not one_episode or {len(level) for level in together} == {1}
