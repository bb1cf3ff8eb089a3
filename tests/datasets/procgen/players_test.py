import os
import subprocess
import threading

import numpy as np
import pytest

from genie_tf.datasets.procgen import players
from genie_tf.datasets.procgen.environment import ACTION_NAMES, make_environment
from genie_tf.datasets.procgen.players import (
    Players,
    Settings,
    count_workers,
    play_in_processes,
    play_levels,
)
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


def test_episodes_do_not_depend_on_number_of_workers():
    level_seeds = [22, 3, 6, 4]
    expected = [play(level_seed) for level_seed in level_seeds]
    for num_workers, levels_at_once in ((1, 1), (2, 1), (2, 3)):
        settings = COINRUN._replace(levels_at_once=levels_at_once)
        played = list(play_in_processes(settings, level_seeds, num_workers))
        assert [episodes[0].level_seed for episodes in played] == level_seeds
        np.testing.assert_equal(played, expected)


def test_custom_policy_plays(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from genie_tf.datasets.procgen.policies import Policy\n"
        "class Fixed(Policy):\n"
        "    name = 'fixed'\n"
        "    def __init__(self, game, action):\n"
        "        self.action = action\n"
        "    def act(self, frames, rngs):\n"
        "        print('Printed text is no episode.')\n"
        "        return [self.action] * len(frames)\n"
    )
    settings = COINRUN._replace(policy="mine:Fixed", steps_per_level=5)
    good = settings._replace(policy_arguments={"action": 7})
    ((episode,),) = play_in_processes(good, [1], 1)
    assert episode.actions.tolist() == [7] * 5
    bad = settings._replace(policy_arguments={"action": 15})
    with pytest.raises(PolicyError, match="'fixed' must return .* received 15.$"):
        list(play_in_processes(bad, [1], 1))
    with pytest.raises(PolicyError, match="'mine:Fixed' cannot be created: .*'action'"):
        list(play_in_processes(settings, [1], 1))


@pytest.fixture
def processes(monkeypatch):
    """Player processes started so far; all must have ended after the test."""
    started = []

    def start(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    yield started
    assert started
    assert all(process.poll() is not None for process in started)


SHORT = COINRUN._replace(steps_per_level=10)


def test_player_process_is_reused(processes):
    with Players() as played:
        for level_seed in (1, 2):
            list(played.play(SHORT, [[level_seed]]))
        next(played.play(SHORT, [[3], [4]]))
        assert len(processes) == 1


def test_worker_reuses_its_process(processes):
    assert len(list(play_in_processes(SHORT, [1, 2, 3], num_workers=1))) == 3
    assert len(processes) == 1


def test_failing_player_raises_error(processes, monkeypatch):
    monkeypatch.setattr(players, "_COMMAND", "raise SystemExit(2)")
    with Players() as played:
        with pytest.raises(
            ChildProcessError, match="ended with code 2: see its output"
        ):
            list(played.play(SHORT, [[1]]))


def test_killed_player_raises_error(processes):
    with Players() as played:
        levels = played.play(SHORT, [[1], [2], [3], [4]])
        next(levels)
        processes[0].kill()
        with pytest.raises(
            ChildProcessError, match="played coinrun ended with code -9: there may be"
        ):
            list(levels)


def test_end_stops_players_within_a_level(processes):
    with Players() as played:
        # This would take minutes.
        levels = played.play(COINRUN._replace(steps_per_level=10**6), [[1]])
        threading.Timer(1, played.end).start()
        with pytest.raises(ChildProcessError, match="ended with code -9"):
            next(levels)
        with pytest.raises(ChildProcessError, match="ended with code -9"):
            next(played.play(SHORT, [[2]]))


def test_players_run_in_their_own_session(processes):
    with Players() as played:
        list(played.play(SHORT, [[1]]))
        assert os.getsid(processes[0].pid) != os.getsid(0)


@pytest.mark.parametrize("workers", ["0", "two", "-1", ""])
def test_invalid_number_of_workers_is_rejected(monkeypatch, workers):
    monkeypatch.setenv("COINRUN_WORKERS", workers)
    with pytest.raises(ValueError) as error:
        count_workers("coinrun")
    assert str(error.value) == (
        f"COINRUN_WORKERS must be a number of 1 or more; received '{workers}'."
    )
