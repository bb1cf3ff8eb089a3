"""Position embeddings: learned in space, rotary in time."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("genie_tf")
class SpatialPositionEmbedding(keras.layers.Layer):
    """Learned vector per patch position, added in every frame.

    Call arguments:
        tokens: (batch, time, patches, dim).

    Returns:
        The same shape.
    """

    def build(self, input_shape):
        self.embedding = self.add_weight(
            shape=input_shape[-2:], initializer="truncated_normal", name="embedding"
        )

    def call(self, tokens):
        return tokens + ops.cast(self.embedding, tokens.dtype)


def rotary_embedding(vectors, positions, max_wavelength: float = 10_000.0):
    """Rotate pairs of features by angles proportional to position (RoFormer).

    The dot product of a rotated query and a rotated key depends only on the difference
    of their positions, so finished frames can be cached and a window can slide.

    Args:
        vectors: (..., length, heads, head_dim), head_dim even.
        positions: (length,) or (..., length) integers.
        max_wavelength: wavelength of the slowest rotation, in positions.

    Returns:
        The same shape and dtype. Computes in float32.
    """
    half = vectors.shape[-1] // 2
    exponents = ops.arange(half, dtype="float32") / half
    angles = ops.cast(positions, "float32")[..., None] / max_wavelength**exponents
    cos, sin = (x[..., None, :] for x in (ops.cos(angles), ops.sin(angles)))
    first, second = ops.split(ops.cast(vectors, "float32"), 2, axis=-1)
    rotated = ops.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )
    return ops.cast(rotated, vectors.dtype)
