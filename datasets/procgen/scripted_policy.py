"""Policy that solves levels of CoinRun by trial and error, without a trained agent."""

from collections.abc import Sequence

import numpy as np

from genie_tf.datasets.checks import check_least
from genie_tf.datasets.procgen.environment import (
    ACTION_NAMES,
    GAMES,
    make_environment,
)
from genie_tf.datasets.procgen.levels import Settings
from genie_tf.datasets.procgen.policies import PlannedPolicy, PolicyError

_LEFT, _RIGHT = (
    [i for i, name in enumerate(ACTION_NAMES) if key in name.split("+")]
    for key in ("left", "right")
)
_RUN = ACTION_NAMES.index("right+up")
# Detours are drawn from these; those that occur more often are more likely.
_MOVES = [
    ACTION_NAMES.index(name)
    for name in (*["right"] * 3, *["none"] * 2, "left", "left+up", "up")
]
_MAX_MOVES = 3
_MAX_MOVE_STEPS = 12
# Mean number of steps before a death at which the next attempt turns off.
_STEPS_BACK = 12
# Mean number of steps that a perturbation lasts.
_PERTURBED_STEPS = 3
_RESTART = -1  # Action that makes Procgen restart the level.


class ScriptedPolicy(PlannedPolicy):
    """Policy that attempts a level of CoinRun many times, and plays the shortest solution.

    An attempt runs right and jumps, until it reaches the coin or dies. The next attempt
    repeats one up to a random step, takes a detour of moves with random durations, and
    runs on. Before a level is solved, it repeats the failed attempt that came furthest,
    up to shortly before its death; then, the shortest solution so far, and it has to be
    shorter. Without a solution, the furthest attempt is played.

    Args:
        game: "coinrun".
        attempts: number of attempts at each level.
        perturbed: share of steps with a random action, 0..0.5. They are the same in all
            attempts at a level, so that solutions recover from them instead of avoiding
            them.

    Raises:
        ValueError: if it cannot play the game, or an argument is out of range.
    """

    def __init__(self, game: str, attempts: int = 64, perturbed: float = 0.1):
        if game != "coinrun":
            raise ValueError(f"it plays only coinrun; received {game!r}.")
        check_least(attempts=(attempts, 1))
        if not 0 <= perturbed <= 0.5:
            raise ValueError(f"perturbed must be from 0 to 0.5; received {perturbed}.")
        self.name = f"scripted_{attempts}"
        self._num_attempts = attempts
        self._perturbed = perturbed

    def open_levels(self, settings: Settings, level_seeds: Sequence[int]) -> None:
        """Keep the levels, to attempt them."""
        if settings.actions:
            raise PolicyError(
                f"Policy {self.name!r} chooses from all actions; received "
                f"{', '.join(settings.actions)}."
            )
        self._environments = (
            make_environment(settings.game, settings.mode, level_seed)
            for level_seed in level_seeds
        )

    def plan(self, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        """Return the actions of the best attempt, again and again: int32 (num_steps,)."""
        environment = next(self._environments)
        perturbations = draw_perturbations(rng, num_steps, self._perturbed)
        best, progress, is_solved = np.zeros(0, np.int32), 0, False
        for _ in range(self._num_attempts):
            longest = len(best) - 1 if is_solved else num_steps
            start = _draw_start(rng, best, is_solved)
            plan = np.full(longest, _RUN, np.int32)
            detour = _draw_detour(rng) if len(best) else []
            planned = np.concatenate([best[:start], detour])[:longest]
            plan[: len(planned)] = planned
            plan = np.where(perturbations[:longest] < 0, plan, perturbations[:longest])
            steps, has_ended, has_won = _attempt(environment, plan)
            made = _count(plan[:steps], _RIGHT) - _count(plan[:steps], _LEFT)
            is_further = has_ended and not is_solved and made >= progress
            if has_won or is_further:
                best, progress, is_solved = plan[:steps], made, has_won
        environment.close()
        return np.resize(best if len(best) else plan, num_steps)


def draw_perturbations(
    rng: np.random.Generator, num_steps: int, share: float
) -> np.ndarray:
    """Return random actions that last some steps, and -1 at other steps: (num_steps,).

    Args:
        rng: random numbers.
        num_steps: number of steps.
        share: mean share of steps with an action, 0..0.5.
    """
    if not share:
        return np.full(num_steps, -1)
    end_gap = share / (1 - share) / _PERTURBED_STEPS
    actions = rng.choice(np.unique(GAMES["coinrun"].actions.groups), num_steps)
    durations = [rng.geometric(p, num_steps) for p in (end_gap, 1 / _PERTURBED_STEPS)]
    runs = np.stack([np.full(num_steps, -1), actions], 1)
    return np.repeat(runs, np.stack(durations, 1).ravel())[:num_steps]


def _draw_start(rng: np.random.Generator, best: np.ndarray, is_solved: bool) -> int:
    """Return the number of steps to repeat."""
    if is_solved:
        return rng.integers(len(best))
    return max(0, len(best) - rng.geometric(1 / _STEPS_BACK))


def _draw_detour(rng: np.random.Generator) -> np.ndarray:
    """Return some moves, each for some steps."""
    num_moves = rng.integers(1, _MAX_MOVES, endpoint=True)
    moves = rng.choice(_MOVES, num_moves)
    return np.repeat(moves, rng.integers(1, _MAX_MOVE_STEPS, num_moves, endpoint=True))


def _attempt(environment, actions: np.ndarray) -> tuple[int, bool, bool]:
    """Take actions from the start of a level.

    Returns:
        Number of actions taken, whether the episode has ended, and by reaching the coin.
    """
    environment.act(np.array([_RESTART], np.int32))
    for step, action in enumerate(actions[:, None], 1):
        environment.act(action)
        reward, _, is_first = environment.observe()
        if is_first[0]:
            return step, True, reward[0] > 0
    return len(actions), False, False


def _count(actions: np.ndarray, counted: Sequence[int]) -> int:
    """Return how many actions are among those counted."""
    return np.isin(actions, counted).sum()
