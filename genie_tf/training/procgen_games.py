"""Many levels of a Procgen game, played at once for training."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from genie_tf.datasets.procgen.environment import (
    ACTION_NAMES,
    check_game,
    import_procgen,
)


class ProcgenGames:
    """`Games` of one Procgen game; each episode plays a level drawn from a range.

    Args:
        game, mode: names in `environment.GAMES`.
        num_games: number of games played at once.
        first_level, num_levels: range of the levels.
        action_names: names of the actions; see `environment.ACTION_NAMES`.
        paint_velocity: whether frames show the velocity, as CoinRun can paint it.
        seed: of the choice of levels.

    Raises:
        ValueError: if the game or the mode does not exist.
    """

    def __init__(
        self,
        game: str,
        mode: str,
        num_games: int,
        first_level: int,
        num_levels: int,
        action_names: Sequence[str] = ACTION_NAMES,
        paint_velocity: bool = False,
        seed: int = 0,
    ):
        check_game(game, mode)
        self.num_games = num_games
        self._keys = np.array([ACTION_NAMES.index(x) for x in action_names], np.int32)
        self._environment = import_procgen().ProcgenGym3Env(
            num=num_games,
            env_name=game,
            distribution_mode=mode,
            num_levels=num_levels,
            start_level=first_level,
            paint_vel_info=paint_velocity,
            rand_seed=seed,
            num_threads=len(os.sched_getaffinity(0)),
        )

    def observe(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rewards, observation, is_first = self._environment.observe()
        # Copies: the game draws into the same arrays again.
        return rewards.copy(), observation["rgb"].copy(), is_first.copy()

    def act(self, actions: np.ndarray) -> None:
        self._environment.act(self._keys[actions])

    def state(self) -> dict[str, np.ndarray]:
        states = self._environment.callmethod("get_state")
        return {
            "bytes": np.frombuffer(b"".join(states), np.uint8),
            "sizes": np.array([len(state) for state in states]),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        ends = np.cumsum(state["sizes"])
        parts = np.split(state["bytes"], ends[:-1])
        self._environment.callmethod("set_state", [part.tobytes() for part in parts])

    def close(self) -> None:
        self._environment.close()
