"""Jasmine's checkpoints (Mahajan et al. 2025), as models of Genie TF."""

from collections.abc import Mapping

import numpy as np

from genie_tf.convert.flax_layers import (
    Transformers,
    convert_actions,
    convert_tokenizer,
    load_actions,
    load_attention,
    load_dense,
    load_norm,
    load_table,
)
from genie_tf.convert.tensors import Tensors, assign
from genie_tf.layers import STTransformer
from genie_tf.models import (
    Genie,
    GuidedGenie,
    LatentActionModel,
    MaskGitDynamics,
)
from genie_tf.originals import (
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
    sizes = frame_shape, frames, _TRANSFORMERS
    if "dynamics/mask_token" in tensors:
        model = _world(tensors, frame_shape, frames, action_model)
    elif "action_in" in tensors:
        model = convert_actions(tensors, *sizes, JASMINE_ACTION_CODES)
    elif "vq/codebook" in tensors:
        model = convert_tokenizer(tensors, *sizes, JASMINE_CODES)
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
    sizes = frame_shape, frames, _TRANSFORMERS
    tokenizer = convert_tokenizer(tensors.below("tokenizer/"), *sizes, JASMINE_CODES)
    guided = "action_embed/embedding" in tensors
    if guided:
        num_actions, _ = tensors.shape("action_embed/embedding", 2)
    else:
        below = tensors.below("lam/")
        if "decoder/output_dense/kernel" in below:
            action_model = convert_actions(below, *sizes, JASMINE_ACTION_CODES)
        elif isinstance(action_model, LatentActionModel):
            load_actions(action_model, below, _TRANSFORMERS)
        else:
            raise ValueError(
                "This checkpoint of a world lacks the decoder of its latent action model: "
                "convert it together with the checkpoint of that model (--action_model)."
            )
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


_TRANSFORMERS = Transformers("input_dense/", _transformer_arguments, _load_transformer)
