"""Layer calls of a model, from which the cost of training is computed."""

from collections.abc import Iterable
from typing import NamedTuple

import keras


class LayerCall(NamedTuple):
    """Call of a layer for one clip.

    Attributes:
        layer: a `Dense`, `Embedding`, `STTransformer` or quantizer.
        frames: number of frames.
        patches: tokens per frame; a layer without frames gets frames * patches rows.
        input_gradient: whether the input has a gradient.
        squared_error: whether the output is compared with a target.
        is_classifier: whether the outputs are logits; an `Embedding` is then multiplied
            with codes, and its last row is not a class.
    """

    layer: keras.layers.Layer
    frames: int
    patches: int
    input_gradient: bool = True
    squared_error: bool = False
    is_classifier: bool = False


def calls_for_each_patch(
    layers: Iterable[keras.layers.Layer], frames: int, patches: int
) -> list[LayerCall]:
    """Return one call per layer, for each patch of each frame."""
    return [LayerCall(layer, frames, patches) for layer in layers]
