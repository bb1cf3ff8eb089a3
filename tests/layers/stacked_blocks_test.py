"""Blocks in a loop compute the same as blocks one after the other."""

import keras
import numpy as np
import pytest

from genie_tf.layers import STTransformer
from genie_tf.layers.stacked_blocks import blocks_in_loop


@pytest.mark.parametrize("num_blocks", [0, 1, 3])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_loop_equals_sequence(num_blocks, policy):
    transformer = STTransformer(16, num_blocks, 2, window=4, dtype=policy)
    tokens = keras.random.normal((2, 3, 4, 16))
    transformer.build(tokens.shape)
    expected = transformer(tokens)
    with blocks_in_loop():
        actual = transformer(tokens)
    tolerance = 1e-5 if policy == "float32" else 0.05
    np.testing.assert_allclose(
        np.array(actual.numpy(), "float32"),
        np.array(expected.numpy(), "float32"),
        atol=tolerance,
    )
    assert actual.dtype == expected.dtype
