"""Procgen's games: which there are, what their actions do, and how to play a level."""

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from genie_tf.datasets.actions import Actions

FRAME_SHAPE = (64, 64, 3)
# Which keys are held down. What the last six do, shooting for example, is up to the game.
ACTION_NAMES = (
    *("left+down", "left", "left+up"),
    *("down", "none", "up"),
    *("right+down", "right", "right+up"),
    *("D", "A", "W", "S", "Q", "E"),
)
NUM_THEMES = 6


class LevelNumber(NamedTuple):
    """Whole number that describes a level, and is stored with its episodes.

    Attributes:
        read: returns it, given the level's environment.
        doc: what it says.
    """

    read: Callable
    doc: str


class Game(NamedTuple):
    """What there is to know of a game.

    Attributes:
        timeouts: the steps after which an episode ends at the latest, by mode.
        actions: names of the actions, and which do the same.
        level_numbers: numbers that describe its levels, by name.
    """

    timeouts: Mapping[str, int]
    actions: Actions
    level_numbers: Mapping[str, LevelNumber] = {}


def make_environment(game: str, mode: str, level_seed: int):
    """Return a gym3 environment that plays one level again and again.

    Args:
        game: one of `GAMES`.
        mode: one of its modes.
        level_seed: the level, 0..2**31-2.

    Raises:
        ValueError: if there is no such game or mode.
    """
    check_game(game, mode)
    # procgen imports gym, which prints from this table that it is no longer maintained.
    import gym_notices.notices

    gym_notices.notices.notices.clear()
    import procgen

    return procgen.ProcgenGym3Env(
        num=1,
        env_name=game,
        distribution_mode=mode,
        num_levels=1,
        start_level=level_seed,
        # Chooses among the allowed levels. Only one is, but the seed would be taken
        # from the operating system if left out.
        rand_seed=0,
        num_threads=0,
    )


def check_game(game: str, mode: str) -> None:
    """Raise a ValueError if there is no such game, or if the game has no such mode."""
    if game not in GAMES:
        raise ValueError(f"Procgen has no game {game!r}: it has {', '.join(GAMES)}.")
    modes = GAMES[game].timeouts
    if mode not in modes:
        raise ValueError(
            f"Procgen's {game} has no mode {mode!r}: it has {', '.join(modes)}."
        )


def read_theme(environment) -> int:
    """Return what the ground of a CoinRun level is made of, 0..5.

    The level decides it, so it is the same in all its episodes. The game only gives it
    with its whole state, which ends with seven numbers of 4 bytes: wall_theme,
    has_support, facing_right, is_on_crate, gravity, air_control and an end mark.

    Raises:
        ValueError: if no theme is there.
    """
    (state,) = environment.callmethod("get_state")
    (theme,) = struct.unpack("<i", state[-28:-24])
    if not 0 <= theme < NUM_THEMES:
        raise ValueError(
            f"The theme of a CoinRun level is expected in 0..{NUM_THEMES - 1}, 28 "
            f"bytes before the end of the game's state; received {theme}: use another "
            "version of procgen."
        )
    return theme


def _make_game(
    modes: str = "",
    *,
    keys: str = "",
    same: Mapping[str, str] = {},
    timeout: int = 1_000,
    timeouts: Mapping[str, int] = {},
    **others,
) -> Game:
    """Return a game.

    Args:
        modes: those that it has besides easy and hard, and those in `timeouts`.
        keys: the letters that do something.
        same: for each action that does what another one does, that other one.
        timeout: steps after which an episode ends.
        timeouts: those of modes in which it is another one.
        **others: other attributes of a `Game`.
    """
    ignored = {key: "none" for key in ACTION_NAMES[9:] if key not in keys}
    same = ignored | dict(same)
    groups = [ACTION_NAMES.index(same.get(name, name)) for name in ACTION_NAMES]
    return Game(
        timeouts=dict.fromkeys(("easy", "hard", *modes.split()), timeout) | timeouts,
        actions=Actions(ACTION_NAMES, tuple(groups)),
        **others,
    )


_NO_DOWN = {"left+down": "left", "down": "none", "right+down": "right"}
# Not both at a time: left and right win.
_ONE_AXIS = {
    **{"left+down": "left", "left+up": "left"},
    **{"right+down": "right", "right+up": "right"},
}
_NO_UP_AND_DOWN = {**_ONE_AXIS, "down": "none", "up": "none"}

GAMES = {
    "bigfish": _make_game(timeout=6_000),
    "bossfight": _make_game(keys="D", timeout=4_000),
    "caveflyer": _make_game("memory", keys="D"),
    "chaser": _make_game("extreme"),
    "climber": _make_game(same=_NO_DOWN),
    "coinrun": _make_game(
        level_numbers={
            "theme": LevelNumber(
                read_theme, "What the level's ground is made of, 0..5."
            )
        }
    ),
    "dodgeball": _make_game("extreme memory", keys="D"),
    "fruitbot": _make_game(keys="D", same=_NO_UP_AND_DOWN),
    "heist": _make_game("memory"),
    "jumper": _make_game(same=_NO_DOWN, timeouts={"memory": 2_000}),
    "leaper": _make_game("extreme", same=_ONE_AXIS, timeout=500),
    "maze": _make_game("memory", same=_ONE_AXIS, timeout=500),
    "miner": _make_game("memory", same=_ONE_AXIS),
    "ninja": _make_game(keys="DAWS", same={**_NO_DOWN, "Q": "D", "E": "D"}),
    "plunder": _make_game(keys="D", same=_NO_UP_AND_DOWN, timeout=4_000),
    "starpilot": _make_game(
        "extreme", keys="DA", same={"W": "D", "S": "D", "Q": "D", "E": "D"}
    ),
}
