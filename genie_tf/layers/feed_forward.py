"""Layers that treat each token alone: feed-forward, and the entry of a transformer."""

import keras
from keras import ops

from genie_tf.layers.arguments import check_number, check_whole
from genie_tf.layers.transformer_options import transformer_options


@keras.saving.register_keras_serializable("genie_tf")
class FeedForward(keras.layers.Layer):
    """Layer norm, then one or two dense layers, without the residual connection.

    Args:
        mlp_dim: hidden width; ignored by a "single" matrix.
        options: see `TransformerOptions`; used are `feed_forward` and `norm_epsilon`.

    Call arguments:
        tokens: (..., dim).

    Returns:
        The same shape.
    """

    def __init__(self, mlp_dim: int, options: dict | None = None, **kwargs):
        super().__init__(**kwargs)
        check_whole(mlp_dim=mlp_dim)
        self.mlp_dim = mlp_dim
        self.options = transformer_options(options)
        self.mlp_norm = keras.layers.LayerNormalization(
            epsilon=self.options.norm_epsilon, dtype=self.dtype_policy
        )

    def build(self, input_shape):
        dim, kind = input_shape[-1], self.options.feed_forward
        widths = {"gelu": self.mlp_dim, "single": dim, "geglu": 2 * self.mlp_dim}
        dense = {"use_bias": kind != "geglu", "dtype": self.dtype_policy}
        self.mlp_norm.build(input_shape)
        self.mlp_in = keras.layers.Dense(widths[kind], name="mlp_in", **dense)
        self.mlp_in.build(input_shape)
        if kind != "single":
            self.mlp_out = keras.layers.Dense(dim, name="mlp_out", **dense)
            self.mlp_out.build((*input_shape[:-1], self.mlp_dim))

    def call(self, tokens):
        hidden = self.mlp_in(self.mlp_norm(tokens))
        if self.options.feed_forward == "geglu":
            hidden, gate = ops.split(hidden, 2, axis=-1)
            return self.mlp_out(ops.gelu(gate, approximate=False) * hidden)
        hidden = ops.gelu(hidden, approximate=True)
        return hidden if self.options.feed_forward == "single" else self.mlp_out(hidden)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "mlp_dim": self.mlp_dim,
            "options": self.options.changed() or None,
        }


@keras.saving.register_keras_serializable("genie_tf")
class NormDenseNorm(keras.layers.Layer):
    """Layer norm, a dense layer and layer norm (Jafar, GenieRedux).

    Args:
        dim: width of the output.
        norm_epsilon: the small number in each layer norm.

    Call arguments:
        tokens: (..., any width).

    Returns:
        (..., dim).
    """

    def __init__(self, dim: int, norm_epsilon: float = 1e-3, **kwargs):
        super().__init__(**kwargs)
        check_whole(dim=dim)
        check_number(norm_epsilon=norm_epsilon)
        self.dim = dim
        self.norm_epsilon = norm_epsilon
        policy = {"dtype": self.dtype_policy}
        norm = {"epsilon": norm_epsilon, **policy}
        self.norm_in = keras.layers.LayerNormalization(**norm)
        self.dense = keras.layers.Dense(dim, name="dense", **policy)
        self.norm_out = keras.layers.LayerNormalization(**norm)

    def build(self, input_shape):
        self.norm_in.build(input_shape)
        self.dense.build(input_shape)
        self.norm_out.build((*input_shape[:-1], self.dim))

    def call(self, tokens):
        return self.norm_out(self.dense(self.norm_in(tokens)))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.dim)

    def get_config(self):
        return {
            **super().get_config(),
            "dim": self.dim,
            "norm_epsilon": self.norm_epsilon,
        }
