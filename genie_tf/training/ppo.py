"""Proximal policy optimization (PPO, Schulman et al. 2017), as in OpenAI baselines."""

from collections.abc import Mapping

import numpy as np
from keras import ops

from genie_tf.agents import Agent
from genie_tf.models.trainable_model import TrainableModel


class PpoModel(TrainableModel, contract=True):
    """Agent with the loss of PPO, for engines.

    Args:
        agent: the agent to train.
        clip: largest change of an action's probability, as a share of it, that pays; and
            the largest change of a value.
        value_weight: weight of the values' loss.
        entropy_weight: weight of the policy's entropy, which is increased.
    """

    def __init__(
        self,
        agent: Agent,
        clip: float = 0.2,
        value_weight: float = 0.5,
        entropy_weight: float = 0.01,
    ):
        super().__init__()
        self.agent = agent
        self.clip = clip
        self.value_weight = value_weight
        self.entropy_weight = entropy_weight
        self.built = True

    def arguments(self) -> dict:
        return self.agent.arguments()

    def losses_and_metrics(self, batch: Mapping) -> tuple[dict, dict]:
        """Return loss and metrics of a batch of `Rollouts`."""
        logits, values = self.agent(batch["frames"])
        terms = ppo_terms(logits, values, batch, self.clip)
        loss = (
            terms["policy_loss"]
            + self.value_weight * terms["value_loss"]
            - self.entropy_weight * terms["entropy"]
        )
        episodes = {
            name: ops.mean(batch[name]) for name in ("episode_return", "episode_length")
        }
        return {"loss": loss, **terms, **episodes}, {}


def ppo_terms(logits, values, batch: Mapping, clip: float) -> dict:
    """Return the terms of PPO's loss, each a mean over the batch.

    Args:
        logits: float32 (batch, num_actions), of the present policy.
        values: float32 (batch,), present estimates.
        batch: `actions`, int32 (batch,), and their `log_probs`, `values`, `advantages`
            and `returns` when they were chosen, float32 (batch,).
        clip: see `PpoModel`.

    Returns:
        A dict of `policy_loss`, `value_loss` and `entropy`; and, to watch, `kl`, the
        approximate divergence from the earlier policy, and `clipped`, the share of
        actions beyond the clip.
    """
    log_probs = ops.log_softmax(logits)
    chosen = ops.take_along_axis(log_probs, batch["actions"][:, None], axis=1)[:, 0]
    change = chosen - batch["log_probs"]
    ratio = ops.exp(change)
    limited = ops.clip(ratio, 1 - clip, 1 + clip)
    gain = ops.minimum(ratio * batch["advantages"], limited * batch["advantages"])
    near = batch["values"] + ops.clip(values - batch["values"], -clip, clip)
    errors = ops.maximum(
        ops.square(values - batch["returns"]), ops.square(near - batch["returns"])
    )
    entropy = -ops.sum(ops.exp(log_probs) * log_probs, axis=-1)
    beyond = ops.cast(ops.abs(ratio - 1) > clip, "float32")
    return {
        "policy_loss": -ops.mean(gain),
        "value_loss": ops.mean(errors) / 2,
        "entropy": ops.mean(entropy),
        "kl": ops.mean(ops.square(change)) / 2,
        "clipped": ops.mean(beyond),
    }


def estimate_advantages(
    rewards: np.ndarray,
    values: np.ndarray,
    is_first: np.ndarray,
    discount: float,
    decay: float,
) -> np.ndarray:
    """Return generalized advantage estimates (Schulman et al. 2016).

    Args:
        rewards: float32 (steps, games), the reward for each action.
        values: float32 (steps+1, games), the value of each frame and of the last one.
        is_first: bool (steps+1, games), whether a frame is the first of an episode; the
            one before it has no future.
        discount: discount of future rewards per step, gamma.
        decay: decay of the errors of later values per step, lambda.

    Returns:
        float32 (steps, games).
    """
    goes_on = 1 - is_first[1:].astype(np.float32)
    errors = rewards + discount * goes_on * values[1:] - values[:-1]
    advantages = np.zeros_like(rewards)
    following = np.zeros_like(rewards[0])
    for step in reversed(range(len(rewards))):
        following = errors[step] + discount * decay * goes_on[step] * following
        advantages[step] = following
    return advantages


class RewardScale:
    """Running scale of rewards: the standard deviation of discounted returns.

    As `VecNormalize` of OpenAI baselines.

    Args:
        num_games: number of games played at once.
        discount: discount per step of these returns.
        limit: largest scaled reward.
    """

    def __init__(self, num_games: int, discount: float = 0.99, limit: float = 10.0):
        self._discount = discount
        self._limit = limit
        self._returns = np.zeros(num_games)
        self._count, self._mean, self._variance = 1e-4, 0.0, 1.0

    def scale(self, rewards: np.ndarray, is_first: np.ndarray) -> np.ndarray:
        """Return scaled rewards, and count them.

        Args:
            rewards: (games,), of one step.
            is_first: bool (games,), whether the step ended an episode.
        """
        self._returns = self._discount * self._returns + rewards
        self._add(self._returns)
        self._returns = np.where(is_first, 0.0, self._returns)
        scaled = rewards / np.sqrt(self._variance + 1e-8)
        return np.clip(scaled, -self._limit, self._limit).astype(np.float32)

    def _add(self, values: np.ndarray) -> None:
        """Merge the mean and the variance of new values (Chan et al. 1979)."""
        count = self._count + len(values)
        change = values.mean() - self._mean
        between = change**2 * self._count * len(values) / count
        within = self._variance * self._count + values.var() * len(values)
        self._mean += change * len(values) / count
        self._variance = (within + between) / count
        self._count = count

    def state(self) -> dict[str, np.ndarray]:
        """Return what `restore` needs."""
        statistics = np.array([self._count, self._mean, self._variance])
        return {"returns": self._returns, "statistics": statistics}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a `state`."""
        self._returns = state["returns"]
        self._count, self._mean, self._variance = map(float, state["statistics"])
