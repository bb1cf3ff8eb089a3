"""Agents have the published network, draw actions from their policy, and are presets."""

import random

import numpy as np
import pytest
from keras import ops

from genie_tf.agents import Agent, ImpalaAgent
from genie_tf.datasets.procgen.environment import ACTION_NAMES
from genie_tf.presets.loading import load_preset
from genie_tf.testing.presets import assert_equal_weights, error_message

NAMES = ("left", "right", "jump")
SMALL = {"frame_shape": (16, 16, 3), "channels": (4, 8), "dim": 8}


def make_agent(**changes) -> ImpalaAgent:
    random.seed(0)
    return ImpalaAgent(**{"game": "coinrun", "action_names": NAMES, **SMALL, **changes})


def draw_frames(number: int, side: int = 16) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(number, side, side, 3), dtype=np.uint8)


def randomize(agent: ImpalaAgent) -> None:
    """Give all weights, including biases, values away from 0."""
    rng = np.random.default_rng(1)
    for weight in agent.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))


def test_default_is_the_network_of_procgen():
    agent = ImpalaAgent("coinrun", ACTION_NAMES)
    # Convolutions of three stages, the hidden layer, the policy and the value.
    stages = sum(
        9 * before * after + after + 4 * (9 * after * after + after)
        for before, after in ((3, 16), (16, 32), (32, 32))
    )
    assert agent.count_params() == stages + (8 * 8 * 32 + 1) * 256 + 257 * (15 + 1)
    assert agent.count_params() == 626_256


def test_first_policy_is_nearly_uniform():
    logits, values = make_agent()(draw_frames(4))
    probabilities = ops.convert_to_numpy(ops.softmax(logits))
    np.testing.assert_allclose(probabilities, 1 / 3, atol=0.02)
    assert values.shape == (4,)


def test_network_equals_its_definition():
    """Compare with loops over pixels, written from the paper's figure."""
    agent = make_agent(frame_shape=(5, 6, 3), channels=(2,), dim=3)
    randomize(agent)
    frames = draw_frames(2, 6)[:, :5]
    weights = [np.asarray(weight, np.float64) for weight in agent.weights]
    kernels, biases = weights[::2], weights[1::2]

    def convolve(x, index):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = x.shape[1:3]
        return biases[index] + sum(
            padded[:, i : i + height, j : j + width] @ kernels[index][i, j]
            for i in range(3)
            for j in range(3)
        )

    x = convolve(frames / 255, 0)
    rows, columns = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
    # As TensorFlow pads: the smaller half before.
    before = [
        max((n - 1) * 2 + 3 - side, 0) // 2 for n, side in ((rows, 5), (columns, 6))
    ]
    pooled = np.stack(
        [
            np.stack(
                [
                    x[
                        :,
                        max(2 * i - before[0], 0) : 2 * i - before[0] + 3,
                        max(2 * j - before[1], 0) : 2 * j - before[1] + 3,
                    ].max(axis=(1, 2))
                    for j in range(columns)
                ],
                axis=1,
            )
            for i in range(rows)
        ],
        axis=1,
    )
    x = pooled
    for index in (1, 3):
        inner = convolve(np.maximum(x, 0), index)
        x = x + convolve(np.maximum(inner, 0), index + 1)
    x = np.maximum(x, 0).reshape(2, -1)
    x = np.maximum(x @ kernels[5] + biases[5], 0)
    logits, values = agent(frames)
    np.testing.assert_allclose(logits, x @ kernels[6] + biases[6], rtol=1e-4, atol=1e-5)
    expected = (x @ kernels[7] + biases[7])[:, 0]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


def test_shrinking_averages_pixels():
    small = draw_frames(3, 8)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    agent = make_agent(shrink=2)
    half = make_agent(frame_shape=(8, 8, 3))
    half.set_weights(agent.get_weights())
    for ours, theirs in zip(agent(large), half(small), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_mean_pooling_makes_weights_independent_of_frames():
    sizes = {
        make_agent(mean_pooling=True, frame_shape=(side, side, 3)).count_params()
        for side in (16, 32)
    }
    assert len(sizes) == 1
    assert make_agent(mean_pooling=True)(draw_frames(2))[0].shape == (2, 3)


def test_actions_follow_the_policy():
    agent = make_agent()
    agent.policy.bias.assign(np.log([0.2, 0.3, 0.5]))
    agent.policy.kernel.assign(np.zeros(agent.policy.kernel.shape))
    frames = draw_frames(1).repeat(500, axis=0)
    rngs = [np.random.default_rng(seed) for seed in range(500)]
    actions = agent.act(frames, np.zeros(500, bool), rngs)
    # Within four standard deviations.
    shares = np.bincount(actions, minlength=3) / 500
    np.testing.assert_allclose(shares, [0.2, 0.3, 0.5], atol=0.09)


def test_actions_of_a_level_depend_on_its_own_generator():
    agent, frames = make_agent(), draw_frames(4)
    is_first = np.zeros(4, bool)
    together = agent.act(frames, is_first, [np.random.default_rng(i) for i in range(4)])
    alone = [
        agent.act(frames[i : i + 1], is_first[:1], [np.random.default_rng(i)])[0]
        for i in range(4)
    ]
    assert together.tolist() == alone


def test_preset_restores_agent(tmp_path):
    agent = make_agent(paint_velocity=True, mean_pooling=True)
    randomize(agent)
    agent.save_to_preset(tmp_path / "agent", "An agent.", action_names=NAMES)
    loaded = load_preset(tmp_path / "agent", Agent)
    assert_equal_weights(loaded, agent)
    assert loaded.arguments() == agent.arguments()
    assert (loaded.game, loaded.action_names) == ("coinrun", NAMES)
    assert loaded.paint_velocity is True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"game": 3}, "`game` must be a text; received 3."),
        (
            {"action_names": []},
            "`action_names` must be a list of texts, one for each action; received [].",
        ),
        ({"paint_velocity": 1}, "`paint_velocity` must be true or false; received 1."),
        ({"channels": []}, "`channels` must be a list; received []."),
        (
            {"channels": (0,)},
            "`channels` must be a whole number from 1 to 2147483647; received 0.",
        ),
        (
            {"shrink": 3},
            "`shrink` must divide the sides of a frame, 16 and 16; received 3.",
        ),
        (
            {"mean_pooling": "yes"},
            "`mean_pooling` must be true or false; received 'yes'.",
        ),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    assert error_message(make_agent, **changes) == message
