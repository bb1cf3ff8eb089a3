"""What decides the actions of those who play.

A policy sees the frames of several levels at once and returns an action for each:

```python
class Brightest(Policy):
    name = "brightest"

    def act(self, frames, rngs):
        return frames.mean(axis=(1, 2, 3)).astype(int) % 15
```

It is named in a dataset's config, as one of `POLICIES` or as "module:factory", and made
by the processes that play: `factory(game, **arguments)` must return it.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from genie_tf.datasets.checks import check_least
from genie_tf.datasets.procgen.environment import ACTION_NAMES, GAMES


class PolicyError(ValueError):
    """A policy that cannot be made, or does not return actions."""


class Policy:
    """Decides what is done in levels that are played side by side.

    Attributes:
        name: what the metadata of its episodes say.
    """

    name: str

    def start_levels(self, num_steps: int, rngs: Sequence[np.random.Generator]) -> None:
        """Prepare for other levels than those before.

        Args:
            num_steps: how often `act` will be called at most.
            rngs: of each level, a generator that depends on its seed only.
        """

    def start_episodes(self, is_first: np.ndarray) -> None:
        """Forget what was before, in levels whose next frame is the first of an episode.

        Called before `act` if there is such a level.

        Args:
            is_first: bool (levels,).
        """

    def act(
        self, frames: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Sequence[int]:
        """Return the action to take in each level.

        Args:
            frames: uint8 (levels, 64, 64, 3), what is seen. A level that is over stays
                at its last frame.
            rngs: as above; whatever is random must come from these.

        Returns:
            Integers (levels,), from 0 to 14.
        """
        raise NotImplementedError


class PlannedPolicy(Policy):
    """Decides all actions of a level before it is played."""

    def start_levels(self, num_steps: int, rngs: Sequence[np.random.Generator]) -> None:
        """Decide what to do."""
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
    """Draws an action from all, at every step."""

    name = "uniform_random"

    def __init__(self, game: str):
        del game  # All have the same actions.

    def plan(self, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        """Return random actions, int32 (num_steps,)."""
        return rng.integers(len(ACTION_NAMES), size=num_steps, dtype=np.int32)


class HeldPolicy(PlannedPolicy):
    """Holds each action for some steps.

    A figure that is pushed for a single step stands still in the next: it walks, and
    jumps to the side, only if actions are held. Those that are held are of the ones that
    do something else than others, or the figure would mostly stand.

    Args:
        game: the game.
        hold: after each step another action is drawn with a probability of 1 / `hold`.
    """

    def __init__(self, game: str, hold: int = 8):
        check_least(hold=(hold, 1))
        self.name = f"held_{hold}"
        self._hold = hold
        self._choices = np.unique(GAMES[game].actions.groups).astype(np.int32)

    def plan(self, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        """Return random actions that are held, int32 (num_steps,)."""
        chosen = rng.integers(len(self._choices), size=num_steps, dtype=np.int32)
        drawn = (rng.random(num_steps) < 1 / self._hold) * np.arange(num_steps)
        return self._choices[chosen[np.maximum.accumulate(drawn)]]


POLICIES: dict[str, Callable[..., Policy]] = {
    "random": RandomPolicy,
    "held": HeldPolicy,
}


def make_policy(policy: str, game: str, arguments: Mapping[str, Any]) -> Policy:
    """Return a policy by its name.

    Args:
        policy: one of `POLICIES`, or "module:factory".
        game: what it plays.
        arguments: those of the factory besides the game.

    Raises:
        PolicyError: if there is no such policy, if it does not take these arguments, or
            if what is made is not a policy.
    """
    module, _, factory = policy.partition(":")
    if factory:
        try:
            make = getattr(importlib.import_module(module), factory)
        except (ImportError, AttributeError, ValueError) as error:
            raise PolicyError(f"Policy {policy!r} cannot be found: {error}.") from error
    elif policy in POLICIES:
        make = POLICIES[policy]
    else:
        raise PolicyError(
            f"There is no policy {policy!r}: expected {', '.join(POLICIES)}, or "
            "module:factory of your own."
        )
    try:
        made = make(game, **arguments)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"Policy {policy!r} cannot be made: {error}") from error
    if not isinstance(made, Policy):
        raise PolicyError(
            f"Policy {policy!r} cannot be made: expected a Policy, received "
            f"{type(made).__name__}."
        )
    return made


def checked_actions(actions: Any, policy: Policy, num_levels: int) -> list[int]:
    """Return what a policy decided.

    Raises:
        PolicyError: if these are not actions.
    """
    try:
        actions = np.asarray(actions)
    except ValueError:  # Lists of several lengths.
        actions = np.asarray(actions, object)
    last = len(ACTION_NAMES) - 1
    if actions.shape != (num_levels,) or actions.dtype.kind not in "iu":
        received = f"{actions.dtype} {actions.shape}"
    else:
        # For few levels, lists are ten times as fast as arrays.
        actions = actions.tolist()
        if min(actions) >= 0 and max(actions) <= last:
            return actions
        received = next(str(x) for x in actions if not 0 <= x <= last)
    raise PolicyError(
        f"Policy {policy.name!r} must return integers ({num_levels},) from 0 to "
        f"{last}, an action for each level; received {received}."
    )
