"""Batches for PPO, made by playing with the agent that is being trained."""

import collections
import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np

from genie_tf.agents import Agent
from genie_tf.training.ppo import RewardScale, estimate_advantages

# Last part of the seed: one number per random quantity.
_ACTIONS, _ORDER = 0, 1
# Episodes in the mean return that is logged.
_EPISODES = 100


class Games(Protocol):
    """Several games that are played at once; each begins a new episode when one ends.

    Attributes:
        num_games: number of games.
    """

    num_games: int

    def observe(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what all games show now.

        Returns:
            Rewards for the last actions, float32 (games,); frames, uint8 (games, height,
            width, channels); and whether each is the first of an episode, bool (games,).
        """

    def act(self, actions: np.ndarray) -> None:
        """Do an action in each game, int32 (games,)."""

    def state(self) -> dict[str, np.ndarray]:
        """Return what `restore` needs."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a `state`."""

    def close(self) -> None:
        """End all games."""


class RolloutSettings(NamedTuple):
    """How rollouts are made and divided into batches; by default as for Procgen.

    Attributes:
        length: steps of each game in a rollout.
        epochs: number of times each step is learned from.
        minibatches: number of batches per epoch.
        discount: discount of future rewards per step.
        advantage_decay: see `estimate_advantages`.
    """

    length: int = 256
    epochs: int = 3
    minibatches: int = 8
    discount: float = 0.999
    advantage_decay: float = 0.95


class Rollouts:
    """Endless batches for `PpoModel`, of rollouts with the agent's present weights.

    The state of games and statistics between two rollouts, the step and the weights
    determine all that follows, so a run resumed there is exact.

    Args:
        agent: the agent, which learns from each batch before the next rollout.
        games: the games.
        settings: see `RolloutSettings`.
        seed: of actions and of the order of batches.

    Raises:
        ValueError: if a rollout cannot be divided into minibatches of one size.

    Attributes:
        steps: number of batches of a rollout.
        num_frames: number of frames played so far by this object.
        is_between: whether all batches of the latest rollout were given out.
        seconds: time spent so far with "games" and "actions".
    """

    def __init__(
        self, agent: Agent, games: Games, settings: RolloutSettings, seed: int = 0
    ):
        size = games.num_games * settings.length
        if size % settings.minibatches:
            raise ValueError(
                f"A rollout of {games.num_games} games x {settings.length} steps must divide "
                f"into minibatches of one size; received {settings.minibatches} minibatches."
            )
        self.steps = settings.epochs * settings.minibatches
        self.num_frames = 0
        self.is_between = True
        self.seconds = collections.Counter()
        self._agent = agent
        self._games = games
        self._settings = settings
        self._seed = seed
        self._scale = RewardScale(games.num_games)
        self._returns = np.zeros(games.num_games)
        self._lengths = np.zeros(games.num_games)
        # Return and length of the latest episodes.
        self._episodes = collections.deque(maxlen=_EPISODES)
        self._rollout = {}

    def batches(self, start: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """Yield batches from a step on, which must be between two rollouts."""
        number = start // self.steps
        with contextlib.closing(self._games):
            while True:
                self._rollout = self._play(number)
                for index in range(self.steps):
                    self.is_between = index == self.steps - 1
                    yield self.batch_at(number * self.steps + index)
                number += 1

    def count_frames(self, steps: int) -> int:
        """Return the number of frames that batches of some steps, in all, come from."""
        return steps // self.steps * self._games.num_games * self._settings.length

    def batch_at(self, step: int) -> dict[str, np.ndarray]:
        """Return the batch after a number of steps, which the latest rollout must hold.

        Returns:
            `frames`, `actions`, `log_probs`, `values`, `advantages` (of mean 0 and
            standard deviation 1) and `returns`; and `episode_return` and
            `episode_length`, means of the latest episodes; each (batch, ...).
        """
        number, index = divmod(step, self.steps)
        epoch, part = divmod(index, self._settings.minibatches)
        rng = np.random.default_rng((self._seed, number, epoch, _ORDER))
        order = rng.permutation(len(self._rollout["actions"]))
        chosen = np.split(order, self._settings.minibatches)[part]
        batch = {name: array[chosen] for name, array in self._rollout.items()}
        advantages = batch["advantages"]
        batch["advantages"] = (advantages - advantages.mean()) / (
            advantages.std() + 1e-8
        )
        return batch

    def state(self) -> dict[str, np.ndarray]:
        """Return what `restore` needs, between two rollouts."""
        parts = {"games": self._games.state(), "scale": self._scale.state()}
        return {
            "returns": self._returns,
            "lengths": self._lengths,
            "episodes": np.array(self._episodes).reshape(-1, 2),
            **{
                f"{part}/{name}": array
                for part, state in parts.items()
                for name, array in state.items()
            },
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a `state`.

        Raises:
            ValueError: if it is of another number of games.
        """
        if len(state["returns"]) != self._games.num_games:
            raise ValueError(
                f"The checkpoint is of {len(state['returns'])} games played at once, where "
                f"the config asks for {self._games.num_games}: continue with its original "
                "settings, or start in another --workdir."
            )
        self._returns, self._lengths = state["returns"], state["lengths"]
        self._episodes.extend(map(tuple, state["episodes"]))
        for part, object in (("games", self._games), ("scale", self._scale)):
            names = [name for name in state if name.startswith(f"{part}/")]
            object.restore({x.partition("/")[2]: state[x] for x in names})

    def _play(self, number: int) -> dict[str, np.ndarray]:
        """Play a rollout; return its steps in any order, (length * games, ...)."""
        rng = np.random.default_rng((self._seed, number, _ACTIONS))
        steps, rewards, firsts = collections.defaultdict(list), [], []
        for step in range(self._settings.length + 1):
            with self._timed("games"):
                reward, frames, is_first = self._games.observe()
            firsts.append(is_first)
            if step:
                rewards.append(self._scale.scale(reward, is_first))
                self._count(reward, is_first)
            with self._timed("actions"):
                logits, values = self._agent.predict_on_batch(frames)
            steps["values"].append(values)
            if step == self._settings.length:
                break
            noise = rng.gumbel(size=logits.shape)
            actions = np.argmax(logits + noise, axis=-1).astype(np.int32)
            steps["frames"].append(frames)
            steps["actions"].append(actions)
            steps["log_probs"].append(_log_probs(logits, actions))
            with self._timed("games"):
                self._games.act(actions)
        self.num_frames += self.count_frames(self.steps)
        values = np.stack(steps.pop("values"))
        advantages = estimate_advantages(
            np.stack(rewards),
            values,
            np.stack(firsts),
            self._settings.discount,
            self._settings.advantage_decay,
        )
        rollout = {name: np.concatenate(arrays) for name, arrays in steps.items()}
        rollout["values"] = values[:-1].reshape(-1)
        rollout["advantages"] = advantages.reshape(-1)
        rollout["returns"] = rollout["advantages"] + rollout["values"]
        means = np.mean(self._episodes, axis=0) if self._episodes else np.zeros(2)
        for name, mean in zip(("episode_return", "episode_length"), means):
            rollout[name] = np.full_like(rollout["returns"], mean)
        return rollout

    def _count(self, rewards: np.ndarray, is_first: np.ndarray) -> None:
        """Count the rewards of one step, and the episodes that it ended."""
        self._returns = self._returns + rewards
        self._lengths = self._lengths + 1
        ended = zip(self._returns[is_first], self._lengths[is_first])
        self._episodes.extend(ended)
        self._returns = np.where(is_first, 0.0, self._returns)
        self._lengths = np.where(is_first, 0.0, self._lengths)

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - start


def _log_probs(logits: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Return the logarithm of each action's probability."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, actions[:, None], axis=-1)[:, 0]
    return chosen - np.log(np.exp(shifted).sum(axis=-1))
