"""Jafar's checkpoints (Willi et al. 2024), as models of Genie TF."""

from collections.abc import Mapping

import numpy as np

from genie_tf.convert.flax_layers import (
    load_attention,
    load_dense,
    load_norm,
    load_table,
    patch_size,
)
from genie_tf.convert.tensors import Tensors
from genie_tf.layers import STTransformer
from genie_tf.models import (
    Genie,
    LatentActionModel,
    MaskGitDynamics,
    VideoTokenizer,
)
from genie_tf.originals import (
    JAFAR_ACTION_CODES,
    JAFAR_ACTIONS,
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
    for root in _ROOTS:
        tensors = Tensors(arrays, root)
        if "dynamics/patch_embed/embedding" in tensors:
            model = _genie(tensors, frame_shape, frames)
        elif "action_in" in tensors:
            model = _latent_action_model(tensors, frame_shape, frames)
        elif "vq/codebook" in tensors:
            model = _tokenizer(tensors, frame_shape, frames)
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
    tokenizer = _tokenizer(tensors.below("tokenizer/"), frame_shape, frames)
    latent_action_model = _latent_action_model(
        tensors.below("lam/"), frame_shape, frames
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


def _tokenizer(tensors: Tensors, frame_shape, frames: int) -> VideoTokenizer:
    num_codes, code_dim = tensors.shape("vq/codebook", 2)
    encoder, decoder = tensors.below("encoder/"), tensors.below("decoder/")
    tokenizer = VideoTokenizer(
        frame_shape=frame_shape,
        patch_size=patch_size(encoder.below("Dense_0/"), frame_shape[-1]),
        num_codes=num_codes,
        code_dim=code_dim,
        encoder=_transformer_arguments(encoder, frames),
        decoder=_transformer_arguments(decoder, frames),
        quantizer=JAFAR_CODES,
    )
    _load_transformer(tokenizer.encoder, tokenizer.to_latents, encoder)
    tensors.load(tokenizer.quantizer.codebook, "vq/codebook")
    _load_transformer(tokenizer.decoder, tokenizer.to_pixels, decoder)
    return tokenizer


def _latent_action_model(
    tensors: Tensors, frame_shape, frames: int
) -> LatentActionModel:
    num_actions, action_dim = tensors.shape("vq/codebook", 2)
    encoder, decoder = tensors.below("encoder/"), tensors.below("decoder/")
    model = LatentActionModel(
        frame_shape=frame_shape,
        patch_size=patch_size(encoder.below("Dense_0/"), frame_shape[-1]),
        num_actions=num_actions,
        action_dim=action_dim,
        encoder=_transformer_arguments(encoder, frames),
        decoder=_transformer_arguments(decoder, frames),
        quantizer=JAFAR_ACTION_CODES,
        **JAFAR_ACTIONS,
    )
    tensors.load(model.action_token, "action_in", lambda x: x[0, 0, 0])
    _load_transformer(model.encoder, model.to_latents, encoder)
    tensors.load(model.quantizer.codebook, "vq/codebook")
    load_dense(model.decoder_embedding, tensors.below("patch_up/"))
    load_dense(model.action_embedding, tensors.below("action_up/"))
    _load_transformer(model.decoder, model.to_pixels, decoder)
    return model


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
