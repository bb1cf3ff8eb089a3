"""Finite scalar quantization: a discrete bottleneck without a learned codebook."""

import math
import reprlib
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from genie_tf.layers.arguments import check_whole


@keras.saving.register_keras_serializable("genie_tf")
class FiniteScalarQuantizer(keras.layers.Layer):
    """Rounding of each latent dimension to a few levels (Mentzer et al. 2023).

    Levels are evenly spaced in [-1, 1]; each combination is a code. Gradients are
    straight-through. A drop-in replacement for `VectorQuantizer` with nothing to learn.
    Computes in float32.

    Args:
        num_codes: product of the levels.
        code_dim: number of latent dimensions.
        levels: number of values in each latent dimension, at least 2.

    Call arguments:
        latents: (..., code_dim).

    Returns:
        A dict: `quantized`, in [-1, 1], of the latents' shape, with straight-through
        gradient; `indices`, int32 (...); `loss`, zero.

    Raises:
        ValueError: if `levels` does not match `num_codes` and `code_dim`.

    Example:

    ```python
    quantizer = FiniteScalarQuantizer(num_codes=15, code_dim=2, levels=(3, 5))
    outputs = quantizer(keras.random.normal((4, 2)))
    outputs["indices"]  # int32 (4,), in [0, 15)
    ```
    """

    def __init__(self, num_codes: int, code_dim: int, levels: Sequence[int], **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        check_whole(num_codes=num_codes, code_dim=code_dim)
        levels = tuple(levels)
        for level in levels:
            check_whole(levels=level)
        if (
            min(levels, default=0) < 2
            or math.prod(levels) != num_codes
            or len(levels) != code_dim
        ):
            raise ValueError(
                f"`levels` must be code_dim={code_dim} numbers, each 2 or more, whose "
                f"product is num_codes={num_codes}; received {reprlib.repr(levels)}."
            )
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.levels = levels
        self.built = True

    def call(self, latents, key=None):
        # `key` is for the dropout of a `VectorQuantizer`, which this layer has not.
        # Slightly wider than the outermost levels, which tanh would not quite reach.
        bounded = ops.tanh(latents) * self._largest * (1 + 1e-3)
        # With an even number of levels, 0 is halfway between two of them.
        offset = self._largest % 1
        rounded = ops.round(bounded - offset) + offset
        digits = ops.cast(ops.round(rounded + self._largest), "int32")
        codes = bounded + ops.stop_gradient(rounded - bounded)
        return {
            "quantized": codes / self._largest,
            "indices": ops.sum(digits * self._place_values, axis=-1),
            "loss": ops.zeros(()),
        }

    def codes(self):
        """Return all codes, float32 (num_codes, code_dim)."""
        return self.lookup(np.arange(self.num_codes))

    def lookup(self, indices):
        """Return the codes at integer indices (...), float32 (..., code_dim)."""
        indices = ops.cast(indices, "int32")[..., None]
        digits = indices // self._place_values % np.array(self.levels, "int32")
        return ops.cast(digits, "float32") / self._largest - 1

    @property
    def _largest(self):
        """Largest level, for levels spaced by 1 and centered on 0, (code_dim,)."""
        return (np.array(self.levels, "float32") - 1) / 2

    @property
    def _place_values(self):
        return np.cumprod([1, *self.levels[:-1]]).astype("int32")

    def codebook_stats(self, outputs):
        """Return the arguments of `update` from the outputs of a call."""
        return {"indices": outputs["indices"]}

    def update(self, indices):
        """Do nothing: no codebook is learned."""

    def get_config(self):
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "code_dim": self.code_dim,
            "levels": self.levels,
        }
