"""Jasmine's checkpoints (Mahajan et al. 2025), as models of Genie TF."""

from collections.abc import Mapping

import numpy as np

from genie_tf.convert.flax_layers import (
    load_attention,
    load_dense,
    load_norm,
    load_table,
    patch_size,
)
from genie_tf.convert.tensors import Tensors, assign
from genie_tf.layers import STTransformer
from genie_tf.models import (
    Genie,
    GuidedGenie,
    LatentActionModel,
    MaskGitDynamics,
    VideoTokenizer,
)
from genie_tf.originals import (
    JAFAR_ACTIONS,
    JASMINE_ACTION_CODES,
    JASMINE_CODES,
    JASMINE_DYNAMICS,
    JASMINE_TRANSFORMER,
)
from genie_tf.presets.model import PresetModel


def convert_jasmine(
    arrays: Mapping[str, np.ndarray],
    *,
    frame_shape: tuple[int, int, int] = (64, 64, 3),
    frames: int = 16,
    action_model: LatentActionModel | None = None,
) -> PresetModel:
    """Return the tokenizer, latent action model or world in a checkpoint of Jasmine.

    A world has a MaskGIT; Jasmine's causal and diffusion dynamics are other models. All
    sizes are read from the tensors, except those that no tensor has.

    Args:
        arrays: see `read_checkpoint`.
        frame_shape: (height, width, channels) of a frame.
        frames: frames per clip in training, which becomes the window of attention.
        action_model: the latent action model of a world, converted before, if it was
            trained first: Jasmine then leaves its decoder out of the world's checkpoint.

    Raises:
        ValueError: if the checkpoint is not from Jasmine, tensors are missing or left
            over, or the latent action model has no decoder.
    """
    tensors = Tensors(_parameters(arrays), "model/")
    if "dynamics/mask_token" in tensors:
        model = _world(tensors, frame_shape, frames, action_model)
    elif "action_in" in tensors:
        model = _latent_action_model(tensors, frame_shape, frames)
    elif "vq/codebook" in tensors:
        model = _tokenizer(tensors, frame_shape, frames)
    else:
        raise ValueError(
            "This is no checkpoint of a tokenizer, latent action model or MaskGIT of "
            "Jasmine: expected tensors such as 'model/vq/codebook' or "
            "'model/dynamics/mask_token'; it has "
            f"{', '.join(sorted(arrays)[:3]) or 'none'}."
        )
    tensors.check_all_used()
    return model


def _parameters(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parameters by name, without the state of dropout."""
    return {
        name.removesuffix("/value"): array
        for name, array in arrays.items()
        if "/rngs/" not in name
    }


def _world(tensors: Tensors, frame_shape, frames: int, action_model):
    tokenizer = _tokenizer(tensors.below("tokenizer/"), frame_shape, frames)
    guided = "action_embed/embedding" in tensors
    if guided:
        num_actions, _ = tensors.shape("action_embed/embedding", 2)
    else:
        below = tensors.below("lam/")
        has_decoder = "decoder/output_dense/kernel" in below
        if not has_decoder and not isinstance(action_model, LatentActionModel):
            raise ValueError(
                "This checkpoint of a world lacks the decoder of its latent action model: "
                "convert it together with the checkpoint of that model (--action_model)."
            )
        action_model = _latent_action_model(below, frame_shape, frames, action_model)
        num_actions = action_model.action_dim
    below = tensors.below("dynamics/")
    transformer = below.below("transformer/")
    arguments = {
        "transformer": _transformer_arguments(transformer, frames),
        "sampling": {"num_steps": 25, "temperature": 0.0},
        **JASMINE_DYNAMICS,
    }
    dynamics = MaskGitDynamics.for_world(tokenizer, num_actions, arguments)
    load_table(dynamics.table, below)
    _load_transformer(dynamics.transformer, dynamics.to_logits, transformer)
    if not guided:
        load_dense(dynamics.action_embedding, below.below("action_up/"))
        return Genie(tokenizer, action_model, dynamics)
    # Our actions are one-hot vectors, so the rows of this product.
    embedded = tensors.take("action_embed/embedding") @ below.take("action_up/kernel")
    assign(dynamics.action_embedding.kernel, embedded, "action_embed/embedding")
    below.load(dynamics.action_embedding.bias, "action_up/bias")
    return GuidedGenie(tokenizer, dynamics)


def _tokenizer(tensors: Tensors, frame_shape, frames: int) -> VideoTokenizer:
    num_codes, code_dim = tensors.shape("vq/codebook", 2)
    encoder, decoder = tensors.below("encoder/"), tensors.below("decoder/")
    tokenizer = VideoTokenizer(
        frame_shape=frame_shape,
        patch_size=patch_size(encoder.below("input_dense/"), frame_shape[-1]),
        num_codes=num_codes,
        code_dim=code_dim,
        encoder=_transformer_arguments(encoder, frames),
        decoder=_transformer_arguments(decoder, frames),
        quantizer=JASMINE_CODES,
    )
    _load_transformer(tokenizer.encoder, tokenizer.to_latents, encoder)
    tensors.load(tokenizer.quantizer.codebook, "vq/codebook")
    _load_transformer(tokenizer.decoder, tokenizer.to_pixels, decoder)
    return tokenizer


def _latent_action_model(
    tensors: Tensors,
    frame_shape,
    frames: int,
    model: LatentActionModel | None = None,
) -> LatentActionModel:
    """Return the latent action model, with the decoder of `model` if it has none."""
    encoder, decoder = tensors.below("encoder/"), tensors.below("decoder/")
    if "output_dense/kernel" in decoder:
        num_actions, action_dim = tensors.shape("vq/codebook", 2)
        model = LatentActionModel(
            frame_shape=frame_shape,
            patch_size=patch_size(encoder.below("input_dense/"), frame_shape[-1]),
            num_actions=num_actions,
            action_dim=action_dim,
            encoder=_transformer_arguments(encoder, frames),
            decoder=_transformer_arguments(decoder, frames),
            quantizer=JASMINE_ACTION_CODES,
            **JAFAR_ACTIONS,
        )
        _load_transformer(model.decoder, model.to_pixels, decoder)
    tensors.load(model.action_token, "action_in", lambda x: x[0, 0, 0])
    _load_transformer(model.encoder, model.to_latents, encoder)
    tensors.load(model.quantizer.codebook, "vq/codebook")
    load_dense(model.decoder_embedding, tensors.below("patch_up/"))
    load_dense(model.action_embedding, tensors.below("action_up/"))
    return model


def _transformer_arguments(tensors: Tensors, frames: int) -> dict:
    query = "blocks/{}/spatial_attention/query/kernel"
    dim, heads, head_dim = tensors.shape(query.format(0), 3)
    _, mlp_dim = tensors.shape("blocks/0/ffn_dense1/kernel", 2)
    return {
        "dim": dim,
        "num_blocks": tensors.count(query),
        "num_heads": heads,
        "head_dim": head_dim,
        "mlp_dim": mlp_dim,
        "window": frames,
        "options": JASMINE_TRANSFORMER,
    }


def _load_transformer(transformer: STTransformer, head, tensors: Tensors) -> None:
    """Load a transformer, and the dense layer after it, which is Jasmine's part of it."""
    load_norm(transformer.entry.norm_in, tensors.below("input_norm1/"))
    load_dense(transformer.entry.dense, tensors.below("input_dense/"))
    load_norm(transformer.entry.norm_out, tensors.below("input_norm2/"))
    load_dense(head, tensors.below("output_dense/"))
    for index, block in enumerate(transformer.blocks):
        own = tensors.below(f"blocks/{index}/")
        load_norm(block.space_norm, own.below("spatial_norm/"))
        load_attention(block.space, own.below("spatial_attention/"))
        load_norm(block.time_norm, own.below("temporal_norm/"))
        load_attention(block.time, own.below("temporal_attention/"))
        (feed_forward,) = block.feed_forwards
        load_norm(feed_forward.mlp_norm, own.below("ffn_norm/"))
        load_dense(feed_forward.mlp_in, own.below("ffn_dense1/"))
        load_dense(feed_forward.mlp_out, own.below("ffn_dense2/"))
