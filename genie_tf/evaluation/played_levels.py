"""How well players solve levels of a Procgen game."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from genie_tf.agents import Agent
from genie_tf.datasets.procgen.environment import (
    FRAME_SHAPE,
    GAMES,
    check_game,
    select_actions,
)
from genie_tf.datasets.procgen.levels import Episode, Settings, play_levels
from genie_tf.datasets.procgen.policies import PlannedPolicy, Policy
from genie_tf.metrics.intervals import mean_confidence_interval


def check_agent(agent: Agent, mode: str) -> Settings:
    """Return the settings of the levels that an agent plays.

    Args:
        agent: the agent.
        mode: mode of its game.

    Raises:
        ValueError: if there is no such game, mode, action or frame.
    """
    check_game(agent.game, mode)
    select_actions(agent.game, agent.action_names)
    if agent.frame_shape != FRAME_SHAPE:
        raise ValueError(
            f"Procgen has frames of {FRAME_SHAPE}; the agent expects {agent.frame_shape}."
        )
    return Settings(
        agent.game,
        mode,
        1,
        actions=agent.action_names,
        paint_velocity=agent.paint_velocity,
    )


class ConstantPolicy(PlannedPolicy):
    """Policy that always takes one action."""

    name = "constant"

    def __init__(self, action: int):
        self._action = action

    def plan(self, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        """Return the same action for each step, int32 (num_steps,)."""
        return np.full(num_steps, self._action, np.int32)


class SeededPolicy(Policy):
    """Policy whose random numbers also depend on a seed, not only on the level.

    Args:
        policy: the policy.
        seed: the seed.
    """

    def __init__(self, policy: Policy, seed: int):
        self.name = policy.name
        self._policy = policy
        self._seed = seed

    def open_levels(self, settings: Settings, level_seeds: Sequence[int]) -> None:
        """Let the policy know the levels."""
        self._policy.open_levels(settings, level_seeds)

    def start_levels(self, num_steps: int, rngs: Sequence[np.random.Generator]) -> None:
        """Prepare for new levels."""
        self._rngs = [
            np.random.default_rng((self._seed, int(rng.integers(2**32))))
            for rng in rngs
        ]
        self._policy.start_levels(num_steps, self._rngs)

    def start_episodes(self, is_first: np.ndarray) -> None:
        """Forget the past of levels whose next frame starts an episode."""
        self._policy.start_episodes(is_first)

    def act(
        self, frames: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Sequence[int]:
        """Return the actions of the policy."""
        del rngs
        return self._policy.act(frames, self._rngs)


class Played(NamedTuple):
    """Results of a player; row s belongs to seed s, column i to level i.

    Attributes:
        solved: bool (seeds, levels), whether the episode ended by success, as at CoinRun's
            coin.
        returns: float (seeds, levels), sums of rewards.
        lengths: int (seeds, levels), steps.
    """

    solved: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray

    def summary(self) -> dict:
        """Return means over levels and seeds.

        The 95% intervals are over levels: the seeds of a level count as one measurement.
        """
        percent = _interval(100 * self.solved)
        percent |= {"low": max(percent["low"], 0), "high": min(percent["high"], 100)}
        return {
            "solved_percent": percent,
            "return": _interval(self.returns),
            "steps": _interval(self.lengths),
            "solved_percent_by_seed": (100 * self.solved.mean(axis=1)).tolist(),
        }


def _interval(values: np.ndarray) -> dict[str, float]:
    mean, (low, high) = mean_confidence_interval(values.mean(axis=0))
    return {"mean": mean, "low": low, "high": high}


def play_once(
    policy: Policy, settings: Settings, levels: Sequence[int], seed: int = 0
) -> list[Episode]:
    """Return the first episode of each level, played at once.

    Args:
        policy: the player; it replaces that of the settings.
        settings: game, mode and what else describes the games.
        levels: numbers of the levels.
        seed: seed of the player.
    """
    timeout = GAMES[settings.game].timeouts[settings.mode]
    settings = settings._replace(steps_per_level=timeout, one_episode=True)
    played = play_levels(settings, levels, SeededPolicy(policy, seed))
    return [episodes[0] for episodes in played]


def play_with_seeds(
    policy: Policy, settings: Settings, levels: Sequence[int], num_seeds: int
) -> Played:
    """Play the first episode of each level with several seeds of the player.

    Args:
        policy, settings, levels: see `play_once`.
        num_seeds: number of seeds.
    """
    rows = []
    for seed in range(num_seeds):
        episodes = play_once(policy, settings, levels, seed)
        rows.append([(x.is_solved, x.rewards.sum(), len(x.rewards)) for x in episodes])
    solved, returns, lengths = np.moveaxis(np.array(rows, np.float64), -1, 0)
    return Played(solved > 0, returns, lengths)
