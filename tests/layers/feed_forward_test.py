import numpy as np
import pytest
from keras import ops
from scipy.special import erf

from genie_tf.layers import FeedForward, NormDenseNorm, OwnFirstFrame
from genie_tf.testing.layer_test import run_layer_test

TOKENS = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype("float32")


def norm(x, epsilon):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)


@pytest.mark.parametrize("kind", ["gelu", "single", "geglu"])
def test_feed_forward(kind):
    arguments = {"mlp_dim": 10, "options": {"feed_forward": kind}}
    run_layer_test(FeedForward, arguments, TOKENS.shape)


def test_gated_feed_forward_equals_its_definition():
    layer = FeedForward(10, {"feed_forward": "geglu", "norm_epsilon": 1e-5})
    outputs = layer(TOKENS)
    hidden = norm(TOKENS, 1e-5) @ layer.mlp_in.kernel.numpy()
    value, gate = hidden[..., :10], hidden[..., 10:]
    gate = gate * (1 + erf(gate / 2**0.5)) / 2
    expected = (gate * value) @ layer.mlp_out.kernel.numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert {v.name for v in layer.trainable_variables} == {"gamma", "beta", "kernel"}


def test_single_matrix_is_as_wide_as_its_input():
    layer = FeedForward(10, {"feed_forward": "single"})
    layer.build(TOKENS.shape)
    (kernel,) = [v for v in layer.trainable_variables if v.name == "kernel"]
    assert kernel.shape == (6, 6)


def test_norm_dense_norm():
    run_layer_test(NormDenseNorm, {"dim": 5, "norm_epsilon": 1e-6}, TOKENS.shape)
    layer = NormDenseNorm(5, 1e-6)
    outputs = layer(TOKENS)
    hidden = norm(TOKENS, 1e-6) @ layer.dense.kernel.numpy()
    np.testing.assert_allclose(outputs, norm(hidden, 1e-6), atol=1e-4)


@pytest.mark.parametrize("norms", [False, True])
def test_first_frame_has_its_own_weights(norms):
    run_layer_test(OwnFirstFrame, {"dim": 5, "norms": norms}, TOKENS.shape)
    layer = OwnFirstFrame(5, norms)
    outputs = ops.convert_to_numpy(layer(TOKENS))
    np.testing.assert_allclose(outputs[:, :1], layer.first(TOKENS[:, :1]), atol=1e-6)
    np.testing.assert_allclose(outputs[:, 1:], layer.later(TOKENS[:, 1:]), atol=1e-6)
    # One frame of each video at its own position.
    position = np.array([0, 2], "int32")
    step = ops.convert_to_numpy(layer(TOKENS[:, :1], position))
    np.testing.assert_allclose(step[0], layer.first(TOKENS[:1, :1])[0], atol=1e-6)
    np.testing.assert_allclose(step[1], layer.later(TOKENS[1:, :1])[0], atol=1e-6)
