import os
import subprocess
import threading

import numpy as np
import pytest

from genie_tf.datasets.procgen import players
from genie_tf.datasets.procgen.levels import Settings, play_levels
from genie_tf.datasets.procgen.players import (
    Players,
    count_workers,
    play_in_processes,
)
from genie_tf.datasets.procgen.policies import PolicyError, RandomPolicy

COINRUN = Settings("coinrun", "hard", 120)


def test_episodes_do_not_depend_on_number_of_workers():
    level_seeds = [22, 3, 6, 4]
    expected = play_levels(COINRUN, level_seeds, RandomPolicy("coinrun"))
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
