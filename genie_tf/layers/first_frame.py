"""Layer that treats the first frame of a video unlike all others."""

import keras
from keras import ops

from genie_tf.layers.arguments import check_flag, check_whole
from genie_tf.layers.feed_forward import NormDenseNorm


@keras.saving.register_keras_serializable("genie_tf")
class OwnFirstFrame(keras.layers.Layer):
    """Two dense layers: one for the first frame, the other for all later ones.

    GenieRedux embeds and decodes frames with it.

    Args:
        dim: width of the output.
        norms: put each dense layer between two layer norms, see `NormDenseNorm`.
        norm_epsilon: see `NormDenseNorm`.

    Call arguments:
        tokens: (batch, time, patches, any width).
        position: int (batch,), position of the first of these frames; 0 by default.

    Returns:
        (batch, time, patches, dim).
    """

    def __init__(
        self, dim: int, norms: bool = False, norm_epsilon: float = 1e-3, **kwargs
    ):
        super().__init__(**kwargs)
        check_whole(dim=dim)
        check_flag(norms=norms)
        self.dim = dim
        self.norms = norms
        self.norm_epsilon = norm_epsilon

        def make(name):
            policy = {"dtype": self.dtype_policy, "name": name}
            if norms:
                return NormDenseNorm(dim, norm_epsilon, **policy)
            return keras.layers.Dense(dim, **policy)

        self.first, self.later = make("first"), make("later")

    def build(self, tokens_shape, position_shape=None):
        self.first.build(tokens_shape)
        self.later.build(tokens_shape)

    def call(self, tokens, position=None):
        t = ops.shape(tokens)[1]
        frames = ops.arange(t)[None] + (0 if position is None else position[:, None])
        is_first = (frames == 0)[:, :, None, None]
        return ops.where(is_first, self.first(tokens), self.later(tokens))

    def compute_output_shape(self, tokens_shape, position_shape=None):
        return (*tokens_shape[:-1], self.dim)

    def get_config(self):
        return {
            **super().get_config(),
            "dim": self.dim,
            "norms": self.norms,
            "norm_epsilon": self.norm_epsilon,
        }


def embedding_for(transformer, own_first_frame: bool = False):
    """Return the layer that maps patches or codes to the input of an `STTransformer`."""
    policy = {"dtype": transformer.dtype_policy}
    if own_first_frame:
        epsilon = transformer.options.norm_epsilon
        return OwnFirstFrame(
            transformer.dim, norms=True, norm_epsilon=epsilon, **policy
        )
    if transformer.entry:
        return keras.layers.Identity(**policy)
    return keras.layers.Dense(transformer.dim, **policy)
