"""Attention over time in a window of one frame."""

import keras

from genie_tf.layers.arguments import check_whole


@keras.saving.register_keras_serializable("genie_tf")
class ValueProjection(keras.layers.Layer):
    """Attention of each patch to itself: the output is its own value, projected.

    Equal to `CausalTemporalAttention` with a window of 1, without the queries and keys
    that decide nothing. It has no cache.

    Args:
        num_heads: number of heads.
        head_dim: width of a head.

    Call arguments:
        tokens: (batch, time, patches, dim).

    Returns:
        The same shape.
    """

    def __init__(self, num_heads: int, head_dim: int, **kwargs):
        super().__init__(**kwargs)
        check_whole(num_heads=num_heads, head_dim=head_dim)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.to_value = keras.layers.Dense(
            num_heads * head_dim,
            use_bias=False,
            dtype=self.dtype_policy,
            name="to_value",
        )

    def build(self, input_shape):
        self.to_value.build(input_shape)
        self.to_output = keras.layers.Dense(
            input_shape[-1], dtype=self.dtype_policy, name="to_output"
        )
        self.to_output.build((*input_shape[:-1], self.num_heads * self.head_dim))

    def call(self, tokens):
        return self.to_output(self.to_value(tokens))

    def empty_cache(self, batch: int, num_patches: int):
        return ()

    def step(self, tokens, cache, position):
        return self(tokens), ()

    def write(self, cache, entry, position):
        return ()

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
        }
