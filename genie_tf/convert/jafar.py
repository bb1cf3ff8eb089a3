"""Jafar's checkpoints (Willi et al. 2024), as models of Genie TF."""

from collections.abc import Mapping

import numpy as np

from genie_tf.convert.flax_layers import (
    Transformers,
    convert_actions,
    convert_tokenizer,
    load_attention,
    load_dense,
    load_norm,
    load_table,
)
from genie_tf.convert.tensors import Tensors
from genie_tf.layers import STTransformer
from genie_tf.models import (
    Genie,
    MaskGitDynamics,
)
from genie_tf.originals import (
    JAFAR_ACTION_CODES,
    JAFAR_CODES,
    JAFAR_DYNAMICS,
    JAFAR_TRANSFORMER,
)
from genie_tf.presets.model import PresetModel

# Where the parameters of a train state, or of a saved dict of parameters, begin.
_ROOTS = ("model/params/params/", "params/params/", "params/", "")


def convert_jafar(
    arrays: Mapping[str, np.ndarray],
    *,
    frame_shape: tuple[int, int, int] = (64, 64, 3),
    frames: int = 16,
) -> PresetModel:
    """Return the tokenizer, latent action model or Genie in a checkpoint of Jafar.

    All sizes are read from the tensors, except those that no tensor has.

    Args:
        arrays: see `read_checkpoint`.
        frame_shape: (height, width, channels) of a frame.
        frames: frames per clip in training, which becomes the window of attention.

    Raises:
        ValueError: if the checkpoint is not from Jafar, or tensors are missing or left
            over.
    """
    sizes = frame_shape, frames, _TRANSFORMERS
    for root in _ROOTS:
        tensors = Tensors(arrays, root)
        if "dynamics/patch_embed/embedding" in tensors:
            model = _genie(tensors, frame_shape, frames)
        elif "action_in" in tensors:
            model = convert_actions(tensors, *sizes, JAFAR_ACTION_CODES)
        elif "vq/codebook" in tensors:
            model = convert_tokenizer(tensors, *sizes, JAFAR_CODES)
        else:
            continue
        tensors.check_all_used()
        return model
    raise ValueError(
        "This is no checkpoint of Jafar: expected tensors such as "
        f"'{_ROOTS[0]}vq/codebook' or '{_ROOTS[0]}dynamics/patch_embed/embedding'; it has "
        f"{', '.join(sorted(arrays)[:3]) or 'none'}."
    )


def _genie(tensors: Tensors, frame_shape, frames: int) -> Genie:
    sizes = frame_shape, frames, _TRANSFORMERS
    tokenizer = convert_tokenizer(tensors.below("tokenizer/"), *sizes, JAFAR_CODES)
    latent_action_model = convert_actions(
        tensors.below("lam/"), *sizes, JAFAR_ACTION_CODES
    )
    tensors = tensors.below("dynamics/")
    transformer = tensors.below("dynamics/")
    arguments = {
        "transformer": _transformer_arguments(transformer, frames),
        "sampling": {"num_steps": 25, "temperature": 0.0},
        **JAFAR_DYNAMICS,
    }
    dynamics = MaskGitDynamics.for_world(
        tokenizer, latent_action_model.action_dim, arguments
    )
    load_table(dynamics.table, tensors)
    load_dense(dynamics.action_embedding, tensors.below("action_up/"))
    _load_transformer(dynamics.transformer, dynamics.to_logits, transformer)
    return Genie(tokenizer, latent_action_model, dynamics)


def _transformer_arguments(tensors: Tensors, frames: int) -> dict:
    query = "STBlock_{}/MultiHeadAttention_0/query/kernel"
    dim, heads, head_dim = tensors.shape(query.format(0), 3)
    return {
        "dim": dim,
        "num_blocks": tensors.count(query),
        "num_heads": heads,
        "head_dim": head_dim,
        "mlp_dim": dim,
        "window": frames,
        "options": JAFAR_TRANSFORMER,
    }


def _load_transformer(transformer: STTransformer, head, tensors: Tensors) -> None:
    """Load a transformer, and the dense layer after it, which is Jafar's part of it."""
    load_norm(transformer.entry.norm_in, tensors.below("LayerNorm_0/"))
    load_dense(transformer.entry.dense, tensors.below("Dense_0/"))
    load_norm(transformer.entry.norm_out, tensors.below("LayerNorm_1/"))
    load_dense(head, tensors.below("Dense_1/"))
    for index, block in enumerate(transformer.blocks):
        own = tensors.below(f"STBlock_{index}/")
        load_norm(block.space_norm, own.below("LayerNorm_0/"))
        load_attention(block.space, own.below("MultiHeadAttention_0/"))
        load_norm(block.time_norm, own.below("LayerNorm_1/"))
        load_attention(block.time, own.below("MultiHeadAttention_1/"))
        load_norm(block.feed_forwards[0].mlp_norm, own.below("LayerNorm_2/"))
        load_dense(block.feed_forwards[0].mlp_in, own.below("Dense_0/"))


_TRANSFORMERS = Transformers("Dense_0/", _transformer_arguments, _load_transformer)
