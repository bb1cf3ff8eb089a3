"""A discrete bottleneck without a learned codebook: finite scalar quantization."""

import math
import reprlib
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from genie_tf.layers.arguments import check_whole


@keras.saving.register_keras_serializable("genie_tf")
class FiniteScalarQuantizer(keras.layers.Layer):
    """Rounds each number of a latent to one of a few levels (Mentzer et al. 2023).

    The levels lie evenly between -1 and 1; each combination of them is a code. Gradients
    pass the rounding straight through. To be exchanged for a `VectorQuantizer`: it has the same
    methods and outputs, but nothing to learn. Everything runs in float32.

    Args:
        num_codes: product of the levels.
        code_dim: how many levels there are.
        levels: for each number of a latent, how many values it may take, at least 2.

    Call arguments:
        latents: (..., code_dim).

    Returns:
        A dict: `quantized`, in [-1, 1], of the latents' shape, with straight-through
        gradient; `indices`, int32 (...); `loss`, zero.

    Raises:
        ValueError: if the levels do not fit the other numbers.
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
                f"`levels` must be code_dim={code_dim} numbers from 2 on whose product is "
                f"num_codes={num_codes}; received {reprlib.repr(levels)}."
            )
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.levels = levels
        self.built = True

    def call(self, latents):
        # A little wider than the outermost levels, which tanh would not quite reach.
        bounded = ops.tanh(latents) * self._largest * (1 + 1e-3)
        # With an even number of levels, 0 lies between two.
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
        """All codes, float32 (num_codes, code_dim)."""
        return self.lookup(np.arange(self.num_codes))

    def lookup(self, indices):
        """Codes of the given indices: int (...) -> float32 (..., code_dim)."""
        indices = ops.cast(indices, "int32")[..., None]
        digits = indices // self._place_values % np.array(self.levels, "int32")
        return ops.cast(digits, "float32") / self._largest - 1

    @property
    def _largest(self):
        """Of levels a distance of 1 apart, centered on 0, the largest, (code_dim,)."""
        return (np.array(self.levels, "float32") - 1) / 2

    @property
    def _place_values(self):
        return np.cumprod([1, *self.levels[:-1]]).astype("int32")

    def codebook_stats(self, outputs):
        """Of the outputs of a call, those that `update` takes."""
        return {"indices": outputs["indices"]}

    def update(self, indices):
        """Do nothing: there is no codebook."""

    def get_config(self):
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "code_dim": self.code_dim,
            "levels": self.levels,
        }
