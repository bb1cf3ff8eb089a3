"""How often a model calls its layers, which is what training costs."""

from collections.abc import Iterable
from typing import NamedTuple

import keras


class LayerCall(NamedTuple):
    """A layer that is called for one clip.

    Attributes:
        layer: a `Dense`, `Embedding`, `STTransformer` or quantizer.
        frames: of the clip.
        patches: tokens of a frame; of a layer without frames, rows are frames * patches.
        input_gradient: whether the input has a gradient.
        squared_error: whether the output is compared with a target.
        is_classifier: whether the output are logits; an `Embedding` is then multiplied
            with codes, and its last row is no class.
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
    """Return a call of each layer, for each patch of each frame."""
    return [LayerCall(layer, frames, patches) for layer in layers]
