import subprocess
import sys
from unittest import mock

import numpy as np
import pytest

from genie_tf.datasets.actions import Actions
from genie_tf.datasets.procgen.environment import (
    ACTION_NAMES,
    FRAME_SHAPE,
    GAMES,
    NUM_THEMES,
    SEVEN_ACTIONS,
    check_game,
    make_environment,
    read_theme,
    select_actions,
)


def play(game, mode, actions):
    """Take actions in a level; return frames, rewards and first-frame flags."""
    environment = make_environment(game, mode, level_seed=3)
    steps = []
    for action in actions:
        reward, observation, is_first = environment.observe()
        steps.append((observation["rgb"][0], reward[0], is_first[0]))
        environment.act(np.array([action], np.int32))
    environment.close()
    return [np.array(column) for column in zip(*steps)]


def test_games_and_actions_match_procgen():
    from procgen import env

    assert list(GAMES) == env.ENV_NAMES
    combos = env.ProcgenGym3Env.get_combos(None)
    names = ["+".join(keys).lower() or "none" for keys in combos[:9]]
    names += [key for (key,) in combos[9:]]
    assert list(ACTION_NAMES) == names


@pytest.mark.parametrize("game", GAMES)
def test_actions_of_a_group_are_equivalent(game):
    rng = np.random.default_rng(0)
    groups = GAMES[game].actions.groups
    # Held, so that characters move around.
    actions = rng.integers(len(ACTION_NAMES), size=50).repeat(4)
    for mode in GAMES[game].timeouts:
        frames, rewards, is_first = play(game, mode, actions)
        assert frames.shape == (200, *FRAME_SHAPE)
        assert len({frame.tobytes() for frame in frames}) > 3
        grouped = play(game, mode, np.array(groups)[actions])
        np.testing.assert_array_equal(grouped[0], frames)
        np.testing.assert_array_equal(grouped[1], rewards)
        np.testing.assert_array_equal(grouped[2], is_first)


def test_selected_actions_keep_their_groups():
    # In climber, pressing down changes nothing.
    assert select_actions("climber", ("down", "left", "none")) == Actions(
        ("down", "left", "none"), (0, 1, 0)
    )
    seven = select_actions("coinrun", SEVEN_ACTIONS)
    assert seven == Actions(SEVEN_ACTIONS, tuple(range(7)))
    assert select_actions("coinrun", ()) == GAMES["coinrun"].actions


def test_coinrun_has_nine_distinct_actions():
    assert GAMES["coinrun"].actions.groups == (*range(9), *[4] * 6)


@pytest.mark.parametrize(("game", "mode"), [("maze", "hard"), ("leaper", "hard")])
def test_episode_ends_at_timeout(game, mode):
    timeout = GAMES[game].timeouts[mode]
    _, _, is_first = play(game, mode, [ACTION_NAMES.index("none")] * (timeout + 2))
    assert np.flatnonzero(is_first)[1] == timeout


def test_modes_depend_on_game():
    assert list(GAMES["ninja"].timeouts) == ["easy", "hard"]
    assert list(GAMES["dodgeball"].timeouts) == ["easy", "hard", "extreme", "memory"]
    assert GAMES["jumper"].timeouts == {"easy": 1_000, "hard": 1_000, "memory": 2_000}


@pytest.mark.parametrize(
    ("game", "mode", "message"),
    [
        (
            "nnja",
            "hard",
            "Procgen has no game 'nnja'; available: bigfish, bossfight, caveflyer, chaser, "
            "climber, coinrun, dodgeball, fruitbot, heist, jumper, leaper, maze, miner, "
            "ninja, plunder, starpilot.",
        ),
        (
            "ninja",
            "memory",
            "Procgen's ninja has no mode 'memory'; available: easy, hard.",
        ),
    ],
)
def test_unknown_games_and_modes_are_rejected(game, mode, message):
    for function in (check_game, lambda *names: make_environment(*names, 0)):
        with pytest.raises(ValueError) as error:
            function(game, mode)
        assert str(error.value) == message


def test_levels_of_a_theme_have_the_same_ground():
    """At the start, levels differ below the agent only by their theme."""
    grounds = {}
    for level_seed in range(40):
        environment = make_environment("coinrun", "hard", level_seed)
        _, observation, _ = environment.observe()
        ground = observation["rgb"][0, 50:].tobytes()
        grounds.setdefault(read_theme(environment), set()).add(ground)
        environment.close()
    assert sorted(grounds) == list(range(NUM_THEMES))
    assert all(len(images) == 1 for images in grounds.values())
    assert len(set.union(*grounds.values())) == NUM_THEMES


@pytest.mark.parametrize("theme", [6, -1, 1_045_220_557])
def test_state_without_theme_is_rejected(theme):
    environment = mock.Mock()
    state = np.array([3, theme, 0, 1, 0, 0, 0, 0], "<i4").tobytes()
    environment.callmethod.return_value = [state]
    with pytest.raises(
        ValueError, match=f"level, 0..5, 28 bytes before .* {theme}: use"
    ):
        read_theme(environment)


def test_gym_is_imported_only_to_play_and_prints_nothing():
    code = (
        "import sys, genie_tf.datasets\n"
        "assert 'gym' not in sys.modules\n"
        "from genie_tf.datasets.procgen.environment import make_environment\n"
        "make_environment('coinrun', 'hard', 0)\n"
        "assert 'gym' in sys.modules\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "Gym" not in outcome.stdout + outcome.stderr
