import numpy as np
from keras import ops

from genie_tf.layers import CausalTemporalAttention
from genie_tf.layers.value_projection import ValueProjection
from genie_tf.testing.layer_test import run_layer_test

SHAPE = 2, 5, 3, 8
ARGUMENTS = {"num_heads": 2, "head_dim": 6}


def test_layer():
    run_layer_test(ValueProjection, ARGUMENTS, SHAPE)


def test_it_equals_attention_in_a_window_of_one_frame():
    tokens = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
    attention = CausalTemporalAttention(**ARGUMENTS, window=1)
    expected = attention(tokens)
    layer = ValueProjection(**ARGUMENTS)
    layer.build(SHAPE)
    by_head = ops.reshape(attention.to_qkv.kernel, (8, 2, 3, 6))
    layer.to_value.kernel.assign(ops.reshape(by_head[:, :, 2], (8, 12)))
    layer.to_output.set_weights(attention.to_output.get_weights())
    np.testing.assert_allclose(layer(tokens), expected, atol=1e-5)
