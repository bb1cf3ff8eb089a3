"""Procgen games: their modes and actions, and environments that play a level."""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from genie_tf.datasets.actions import Actions

FRAME_SHAPE = (64, 64, 3)
# Keys held down. The effect of the last six, such as shooting, depends on the game.
ACTION_NAMES = (
    *("left+down", "left", "left+up"),
    *("down", "none", "up"),
    *("right+down", "right", "right+up"),
    *("D", "A", "W", "S", "Q", "E"),
)
# Those of the first CoinRun (Cobbe et al. 2019), in its order: DISCRETE_ACTIONS in
# coinrun/coinrun.cpp, lines 41 to 49, of github.com/openai/coinrun at commit 523704f.
SEVEN_ACTIONS = ("none", "right", "left", "up", "right+up", "left+up", "down")
NUM_THEMES = 6


class LevelNumber(NamedTuple):
    """Integer that describes a level and is stored with its episodes.

    Attributes:
        read: function that returns the integer, given the level's environment.
        doc: description of the integer.
    """

    read: Callable
    doc: str


class Game(NamedTuple):
    """Description of a game.

    Attributes:
        timeouts: maximum number of steps per episode, by mode.
        actions: names and groups of the actions.
        level_numbers: integers that describe its levels, by name.
    """

    timeouts: Mapping[str, int]
    actions: Actions
    level_numbers: Mapping[str, LevelNumber] = {}


def make_environment(
    game: str, mode: str, level_seed: int, paint_velocity: bool = False
):
    """Return a gym3 environment that plays one level repeatedly.

    Args:
        game: name in `GAMES`.
        mode: mode of the game.
        level_seed: seed of the level, 0..2**31-2.
        paint_velocity: whether frames show the character's velocity, as the grays of
            two squares in the rows 0..12 and columns 0..25. Games on a grid ignore it.

    Raises:
        ValueError: if the game or mode does not exist.
    """
    check_game(game, mode)
    return import_procgen().ProcgenGym3Env(
        num=1,
        env_name=game,
        distribution_mode=mode,
        num_levels=1,
        start_level=level_seed,
        # Selects among the levels. There is only one, but by default the seed would
        # come from the operating system.
        rand_seed=0,
        num_threads=0,
        paint_vel_info=paint_velocity,
    )


def import_procgen():
    """Return the module procgen, imported without a notice."""
    # procgen imports gym, which prints a notice from this table.
    import gym_notices.notices

    gym_notices.notices.notices.clear()
    import procgen

    return procgen


def check_game(game: str, mode: str) -> None:
    """Raise a ValueError if the game does not exist or lacks the mode."""
    if game not in GAMES:
        raise ValueError(
            f"Procgen has no game {game!r}; available: {', '.join(GAMES)}."
        )
    modes = GAMES[game].timeouts
    if mode not in modes:
        raise ValueError(
            f"Procgen's {game} has no mode {mode!r}; available: {', '.join(modes)}."
        )


def select_actions(game: str, names: Sequence[str]) -> Actions:
    """Return some actions of a game, in this order; all of them for no names.

    Raises:
        ValueError: if a name is unknown or occurs twice.
    """
    every = GAMES[game].actions
    if not names:
        return every
    unknown = [name for name in names if name not in every.names]
    if unknown or len(set(names)) < len(names):
        raise ValueError(
            f"The actions must be different ones of {', '.join(every.names)}; received "
            f"{', '.join(map(str, names))}."
        )
    groups = [every.groups[every.names.index(name)] for name in names]
    return Actions(tuple(names), tuple(map(groups.index, groups)))


def read_theme(environment) -> int:
    """Return the ground theme of a CoinRun level, 0..5.

    It depends only on the level, so all its episodes share it. The game exposes it only
    in its full state, which ends with seven 4-byte numbers: wall_theme, has_support,
    facing_right, is_on_crate, gravity, air_control and an end mark.

    Raises:
        ValueError: if the state holds no theme there.
    """
    (state,) = environment.callmethod("get_state")
    (theme,) = struct.unpack("<i", state[-28:-24])
    if not 0 <= theme < NUM_THEMES:
        raise ValueError(
            f"Expected the theme of a CoinRun level, 0..{NUM_THEMES - 1}, 28 bytes "
            f"before the end of the game's state; received {theme}: use another version "
            "of procgen."
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
        modes: modes in addition to easy, hard and those in `timeouts`.
        keys: letter keys that have an effect.
        same: maps an action to the equivalent action that represents it.
        timeout: maximum number of steps per episode.
        timeouts: timeouts of modes with another one.
        **others: other attributes of the `Game`.
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
# Only one axis at a time: left and right win.
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
