"""The math of PPO equals its definitions, computed slowly."""

import random

import keras
import numpy as np
import tensorflow as tf

from genie_tf.agents import ImpalaAgent
from genie_tf.training.ppo import (
    PpoModel,
    RewardScale,
    estimate_advantages,
    ppo_terms,
)


def draw_batch(size: int = 40, num_actions: int = 5) -> tuple:
    """Return logits, values and a batch, with ratios within and beyond the clip."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(size, num_actions)).astype("float32")
    actions = rng.integers(num_actions, size=size, dtype="int32")
    values, earlier, returns, advantages = rng.normal(size=(4, size)).astype("float32")
    chosen = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))[
        np.arange(size), actions
    ]
    batch = {
        "actions": actions,
        "log_probs": chosen + rng.normal(0, 0.3, size).astype("float32"),
        "values": earlier,
        "returns": returns,
        "advantages": advantages,
    }
    return logits, values, batch


def test_terms_equal_formulas_of_single_steps():
    logits, values, batch = draw_batch()
    clip = 0.2
    policy, value, entropy, kl, clipped = [], [], [], [], []
    for i, logit in enumerate(logits.astype(float)):
        probabilities = np.exp(logit) / np.exp(logit).sum()
        probability = probabilities[batch["actions"][i]]
        ratio = probability / np.exp(batch["log_probs"][i])
        advantage = batch["advantages"][i]
        if advantage > 0:  # More than 1 + clip brings nothing.
            policy.append(-min(ratio, 1 + clip) * advantage)
        else:
            policy.append(-max(ratio, 1 - clip) * advantage)
        change = np.clip(values[i] - batch["values"][i], -clip, clip)
        errors = values[i], batch["values"][i] + change
        value.append(max((x - batch["returns"][i]) ** 2 for x in errors) / 2)
        entropy.append(-sum(p * np.log(p) for p in probabilities))
        kl.append((np.log(probability) - batch["log_probs"][i]) ** 2 / 2)
        clipped.append(not 1 - clip <= ratio <= 1 + clip)
    expected = {
        "policy_loss": policy,
        "value_loss": value,
        "entropy": entropy,
        "kl": kl,
        "clipped": clipped,
    }
    assert 0 < sum(clipped) < len(clipped)
    terms = ppo_terms(logits, values, batch, clip)
    assert terms.keys() == expected.keys()
    for name, steps in expected.items():
        np.testing.assert_allclose(terms[name], np.mean(steps), rtol=1e-5, err_msg=name)


def test_first_gradient_is_the_policy_gradient():
    logits, values, batch = draw_batch()
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    one_hot = np.eye(logits.shape[1])[batch["actions"]]
    batch["log_probs"] = np.log((probabilities * one_hot).sum(axis=1))
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = ppo_terms(variable, values, batch, 0.2)["policy_loss"]
    expected = -batch["advantages"][:, None] * (one_hot - probabilities) / len(logits)
    np.testing.assert_allclose(tape.gradient(loss, variable), expected, atol=1e-6)


def test_loss_weighs_terms():
    random.seed(0)
    agent = ImpalaAgent(
        "coinrun", "abcde".split("|") * 5, (8, 8, 3), channels=(2,), dim=4
    )
    model = PpoModel(agent, clip=0.1, value_weight=0.3, entropy_weight=0.02)
    _, _, batch = draw_batch(6)
    batch["frames"] = np.random.default_rng(2).integers(
        256, size=(6, 8, 8, 3), dtype="uint8"
    )
    batch["episode_return"] = np.full(6, 7, "float32")
    batch["episode_length"] = np.full(6, 30, "float32")
    metrics, codebook_stats = model.losses_and_metrics(batch)
    metrics = {name: float(x) for name, x in metrics.items()}
    assert codebook_stats == {}
    assert (metrics["episode_return"], metrics["episode_length"]) == (7, 30)
    np.testing.assert_allclose(
        metrics["loss"],
        metrics["policy_loss"]
        + 0.3 * metrics["value_loss"]
        - 0.02 * metrics["entropy"],
        rtol=1e-5,
    )
    assert model.arguments() == agent.arguments()
    assert len(model.trainable_variables) == len(agent.trainable_variables)


def test_advantages_are_discounted_sums_of_later_errors():
    rng = np.random.default_rng(0)
    steps, games, discount, decay = 12, 3, 0.9, 0.8
    rewards = rng.normal(size=(steps, games)).astype("float32")
    values = rng.normal(size=(steps + 1, games)).astype("float32")
    is_first = rng.random((steps + 1, games)) < 0.2
    assert is_first[1:].any() and is_first[-1].any() and not is_first[-1].all()
    advantages = estimate_advantages(rewards, values, is_first, discount, decay)
    for game in range(games):
        for step in range(steps):
            expected = 0
            for later in range(step, steps):
                ends = is_first[later + 1, game]
                future = 0 if ends else discount * values[later + 1, game]
                error = rewards[later, game] + future - values[later, game]
                expected += (discount * decay) ** (later - step) * error
                if ends:
                    break
            np.testing.assert_allclose(advantages[step, game], expected, rtol=1e-4)


def test_advantages_with_full_decay_are_returns_minus_values():
    rewards = np.ones((4, 1), "float32")
    values = np.arange(5, dtype="float32")[:, None]
    none_first = np.zeros((5, 1), bool)
    advantages = estimate_advantages(rewards, values, none_first, 1.0, 1.0)
    np.testing.assert_allclose(
        advantages[:, 0], [4 + 4, 3 + 4 - 1, 2 + 4 - 2, 1 + 4 - 3]
    )


def test_rewards_are_divided_by_deviation_of_returns():
    rng = np.random.default_rng(0)
    rewards = 10 * rng.random((200, 4)) * (rng.random((200, 4)) < 0.3)
    is_first = rng.random((200, 4)) < 0.1
    scale = RewardScale(4, discount=0.9)
    returns, seen = np.zeros(4), []
    for reward, first in zip(rewards, is_first):
        scaled = scale.scale(reward, first)
        returns = 0.9 * returns + reward
        seen.append(returns)
        returns = np.where(first, 0, returns)
        if len(seen) > 10:  # At first, the assumed variance of 1 counts.
            expected = np.clip(reward / np.std(seen), -10, 10)
            np.testing.assert_allclose(scaled, expected, rtol=1e-3)


def test_scaled_rewards_are_limited():
    scale = RewardScale(2, limit=0.5)
    np.testing.assert_allclose(
        scale.scale(np.array([100.0, -100.0]), np.zeros(2, bool)), [0.5, -0.5]
    )
