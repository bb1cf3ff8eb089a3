"""Named datasets of Procgen games: which levels they play, and how."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

from genie_tf.datasets.procgen.environment import GAMES, SEVEN_ACTIONS, check_game
from genie_tf.datasets.procgen.levels import Settings


class Levels(NamedTuple):
    """Levels of a dataset, and how to play them.

    Attributes:
        description: short description.
        splits: level seeds of each split; no two splits share one.
        settings: how the levels are played.
    """

    description: str
    splits: Mapping[str, range]
    settings: Settings


_FULL = {
    "train": range(10_000),
    "validation": range(10_000, 10_100),
    "test": range(20_000, 21_000),
}
_SMALL = {
    "train": range(200),
    "validation": range(10_000, 10_016),
    "test": range(20_000, 20_032),
}
_MEDIUM = {**_SMALL, "train": range(3_000)}
# By suffix of the config name: level seeds, and steps per level.
_SIZES = {"": (_FULL, 1_000), "_small": (_SMALL, 500)}

# Policies that play all games.
_POLICIES = ("random", "held")

# As many episodes as GenieRedux's data.
_GENIEREDUX = {
    "train": range(100_000, 179_200),
    "validation": range(179_200, 188_000),
    "test": range(20_000, 21_000),
}

_GENIEREDUX_AGENT = {
    "train": range(9_000),
    "validation": range(10_000, 11_000),
    "test": range(20_000, 21_000),
}
_DEMONSTRATIONS = Settings(
    "coinrun", "easy", 500, one_episode=True, policy="scripted", solved="required"
)
_AGENT = Settings(
    "coinrun",
    "easy",
    500,
    one_episode=True,
    policy="agent",
    levels_at_once=64,
    paint_velocity=True,
    solved="stored",
)

_COINRUN = {
    "random_hard": Levels(
        "Random policy, hard levels, 11.1M frames: Genie's CoinRun.",
        _FULL,
        Settings("coinrun", "hard", 1_000),
    ),
    "random_hard_small": Levels(
        "Random policy, fewer and shorter hard levels: 124,000 frames.",
        _SMALL,
        Settings("coinrun", "hard", 500),
    ),
    "held_hard_small": Levels(
        "The same with actions held for 8 steps on average: the character walks.",
        _SMALL,
        Settings("coinrun", "hard", 500, policy="held"),
    ),
    "mixed_hard": Levels(
        "More levels, actions held for 1, 2, 4, 8 or 16 steps on average: 304,800 frames.",
        _MEDIUM,
        Settings(
            "coinrun",
            "hard",
            100,
            policy="held",
            policy_arguments={"hold": (1, 2, 4, 8, 16)},
        ),
    ),
    "genieredux": Levels(
        "Random policy, one episode per hard level: as many as GenieRedux's data.",
        _GENIEREDUX,
        Settings("coinrun", "hard", 500, one_episode=True),
    ),
    "genieredux_7": Levels(
        "The same with seven actions: those of the first CoinRun.",
        _GENIEREDUX,
        Settings(
            "coinrun",
            "hard",
            500,
            one_episode=True,
            policy_arguments={"num_actions": len(SEVEN_ACTIONS)},
            actions=SEVEN_ACTIONS,
        ),
    ),
    "demonstrations_easy": Levels(
        "The shortest of 64 scripted attempts at each easy level that reach the coin.",
        _FULL,
        _DEMONSTRATIONS,
    ),
    "demonstrations_easy_small": Levels(
        "The same for fewer levels.", _SMALL, _DEMONSTRATIONS
    ),
    "demonstrations_hard": Levels(
        "The same for hard levels.", _FULL, _DEMONSTRATIONS._replace(mode="hard")
    ),
    "demonstrations_hard_small": Levels(
        "The same for fewer hard levels.",
        _SMALL,
        _DEMONSTRATIONS._replace(mode="hard"),
    ),
    "agent": Levels(
        "A trained agent, one episode per easy level: GenieRedux's Diverse data.",
        _GENIEREDUX_AGENT,
        _AGENT,
    ),
    "agent_small": Levels("The same for fewer levels.", _SMALL, _AGENT),
}


def _name_all() -> dict[str, Levels]:
    """Return the datasets of each game, mode and policy."""
    configs = {}
    for game, policy in itertools.product(GAMES, _POLICIES):
        for mode, size in itertools.product(GAMES[game].timeouts, _SIZES):
            splits, steps = _SIZES[size]
            configs[f"{game}_{policy}_{mode}{size}"] = Levels(
                f"{game}, {mode} levels, {policy} policy.",
                splits,
                Settings(game, mode, steps, policy=policy),
            )
    return configs


# By TFDS dataset and config name.
CONFIGS = {"coinrun": _COINRUN, "procgen": _name_all()}


def explain_missing(dataset: str, config: str) -> str:
    """Return why a dataset has no config of this name, as part of a sentence."""
    if dataset != "procgen":
        return f"the configs of {dataset!r} are {', '.join(CONFIGS[dataset])}"
    game, *rest = config.split("_")
    try:
        check_game(game, rest[1] if len(rest) > 1 else "hard")
    except ValueError as error:
        return str(error).removesuffix(".")
    return (
        "its configs are GAME_POLICY_MODE and GAME_POLICY_MODE_small, such as "
        f"{game}_random_hard_small; policies are {', '.join(_POLICIES)}, and modes of "
        f"{game} are {', '.join(GAMES[game].timeouts)}"
    )
