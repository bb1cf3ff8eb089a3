"""Policies, which select the actions of the players.

A dataset's config names its policy, as one of `POLICIES` or as "module:factory". The
player processes create it: `factory(game, **arguments)` must return a `Policy`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genie_tf.datasets.checks import check_least
from genie_tf.datasets.procgen.environment import ACTION_NAMES, GAMES

if TYPE_CHECKING:
    from genie_tf.datasets.procgen.levels import Settings


class PolicyError(ValueError):
    """Policy that cannot be created, or does not return valid actions."""


class Policy:
    """Base class of policies, which map the frames of some levels to an action each.

    Attributes:
        name: name stored in the metadata of its episodes.

    Example:
        ```python
        class Brightness(Policy):
            name = "brightness"

            def act(self, frames, rngs):
                return frames.mean(axis=(1, 2, 3)).astype(int) % 15
        ```
    """

    name: str

    def open_levels(self, settings: "Settings", level_seeds: Sequence[int]) -> None:
        """See which levels are played next, and how, before `start_levels`.

        Args:
            settings: how the levels are played.
            level_seeds: seeds of the levels.

        Raises:
            PolicyError: if the policy cannot play so.
        """

    def start_levels(self, num_steps: int, rngs: Sequence[np.random.Generator]) -> None:
        """Prepare for new levels.

        Args:
            num_steps: maximum number of calls of `act`.
            rngs: one generator per level, which depends only on the level's seed.
        """

    def start_episodes(self, is_first: np.ndarray) -> None:
        """Forget the past of levels whose next frame starts an episode.

        Called before `act` if there is such a level.

        Args:
            is_first: bool (levels,), whether the next frame starts an episode.
        """

    def act(
        self, frames: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Sequence[int]:
        """Return the action to take in each level.

        Args:
            frames: uint8 (levels, 64, 64, 3), the observations. A level that is over
                stays at its last frame.
            rngs: see `start_levels`; the only allowed source of random numbers.

        Returns:
            Integers (levels,), from 0 to 14, or to one less than the number of the
            config's `actions`.
        """
        raise NotImplementedError


class PlannedPolicy(Policy):
    """Base class of policies that select all actions of a level in advance."""

    def start_levels(self, num_steps: int, rngs: Sequence[np.random.Generator]) -> None:
        """Plan the actions of all levels."""
        self._actions = iter(np.stack([self.plan(num_steps, rng) for rng in rngs]).T)

    def plan(self, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        """Return the actions of a level, int32 (num_steps,)."""
        raise NotImplementedError

    def act(
        self, frames: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Sequence[int]:
        """Return the actions of the next step."""
        return next(self._actions)


class RandomPolicy(PlannedPolicy):
    """Policy that draws an action uniformly from all, at every step.

    Args:
        game: name in `environment.GAMES`.
        num_actions: number of actions.
    """

    name = "uniform_random"

    def __init__(self, game: str, num_actions: int = len(ACTION_NAMES)):
        del game  # All games have the same actions.
        check_least(num_actions=(num_actions, 1))
        self._num_actions = num_actions

    def plan(self, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        """Return random actions, int32 (num_steps,)."""
        return rng.integers(self._num_actions, size=num_steps, dtype=np.int32)


class HeldPolicy(PlannedPolicy):
    """Policy that holds each action for some steps.

    A character that is pushed for a single step stands still in the next: it walks, and
    jumps sideways, only if actions are held. Actions are drawn from the representatives
    of the game's action groups; otherwise the character would mostly stand.

    Args:
        game: name in `environment.GAMES`.
        hold: mean number of steps between draws: after each step, a new action is drawn
            with a probability of 1 / `hold`. Of several means, each level draws one.
    """

    def __init__(self, game: str, hold: int | Sequence[int] = 8):
        self._holds = (hold,) if isinstance(hold, int) else tuple(hold)
        for mean in self._holds:
            check_least(hold=(mean, 1))
        self.name = "_".join(["held", *map(str, self._holds)])
        self._choices = np.unique(GAMES[game].actions.groups).astype(np.int32)

    def plan(self, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        """Return held random actions, int32 (num_steps,)."""
        chosen = rng.integers(len(self._choices), size=num_steps, dtype=np.int32)
        drawn = (rng.random(num_steps) < 1 / self._draw_hold(rng)) * np.arange(
            num_steps
        )
        return self._choices[chosen[np.maximum.accumulate(drawn)]]

    def _draw_hold(self, rng: np.random.Generator) -> int:
        # Without a choice, nothing is drawn: actions stay those of earlier versions.
        return self._holds[0] if len(self._holds) == 1 else rng.choice(self._holds)


# Some by "module:factory", as their modules import this one.
POLICIES: dict[str, Callable[..., Policy] | str] = {
    "random": RandomPolicy,
    "held": HeldPolicy,
    "scripted": "genie_tf.datasets.procgen.scripted_policy:ScriptedPolicy",
    "agent": "genie_tf.datasets.procgen.preset_policy:PresetPolicy",
}


def make_policy(policy: str, game: str, arguments: Mapping[str, Any]) -> Policy:
    """Create a policy by name.

    Args:
        policy: name in `POLICIES`, or "module:factory".
        game: name in `environment.GAMES`.
        arguments: arguments of the factory, in addition to the game.

    Raises:
        PolicyError: if the policy does not exist or does not take these arguments, or
            if the factory does not return a `Policy`.
    """
    make = POLICIES.get(policy, policy)
    if isinstance(make, str) and ":" in make:
        module, _, factory = make.partition(":")
        try:
            make = getattr(importlib.import_module(module), factory)
        except (ImportError, AttributeError, ValueError) as error:
            raise PolicyError(f"Policy {policy!r} cannot be found: {error}.") from error
    elif isinstance(make, str):
        raise PolicyError(
            f"There is no policy {policy!r}: expected {', '.join(POLICIES)}, or your own "
            "module:factory."
        )
    try:
        result = make(game, **arguments)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"Policy {policy!r} cannot be created: {error}") from error
    if not isinstance(result, Policy):
        raise PolicyError(
            f"Policy {policy!r} cannot be created: expected a Policy, received "
            f"{type(result).__name__}."
        )
    return result


def check_actions(
    actions: Any,
    policy: Policy,
    num_levels: int,
    num_actions: int = len(ACTION_NAMES),
) -> list[int]:
    """Check the actions that a policy returned, and return them as a list.

    Raises:
        PolicyError: if they are not valid actions.
    """
    try:
        actions = np.asarray(actions)
    except ValueError:  # Lists of different lengths.
        actions = np.asarray(actions, object)
    last = num_actions - 1
    if actions.shape != (num_levels,) or actions.dtype.kind not in "iu":
        received = f"{actions.dtype} {actions.shape}"
    else:
        # For a few levels, lists are ten times as fast as arrays.
        actions = actions.tolist()
        if min(actions) >= 0 and max(actions) <= last:
            return actions
        received = next(str(x) for x in actions if not 0 <= x <= last)
    raise PolicyError(
        f"Policy {policy.name!r} must return integers ({num_levels},) from 0 to "
        f"{last}, one action per level; received {received}."
    )
