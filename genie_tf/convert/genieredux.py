"""GenieRedux's checkpoints (Kazemi et al. 2024), as models of Genie TF."""

from collections.abc import Mapping

import numpy as np

from genie_tf.convert.tensors import Tensors, assign, pack_heads
from genie_tf.layers import STTransformer
from genie_tf.models import (
    Genie,
    GuidedGenie,
    LatentActionModel,
    ReduxDynamics,
    VideoTokenizer,
)
from genie_tf.originals import (
    GENIEREDUX_ACTIONS,
    GENIEREDUX_CODES,
    GENIEREDUX_ORDERS,
    GENIEREDUX_SAMPLING,
    GENIEREDUX_TOKENIZER,
    GENIEREDUX_TRANSFORMER,
)
from genie_tf.presets.model import PresetModel


def convert_genieredux(
    arrays: Mapping[str, np.ndarray],
    *,
    frame_shape: tuple[int, int, int] = (64, 64, 3),
    frames: int = 16,
    tokenizer: VideoTokenizer | None = None,
) -> PresetModel:
    """Return the tokenizer, GenieRedux or GenieRedux-G in a checkpoint.

    All sizes are read from the tensors, except those that no tensor has.

    Args:
        arrays: see `read_checkpoint`.
        frame_shape: (height, width, channels) of a frame.
        frames: frames per clip in training, which becomes the window of attention.
        tokenizer: the tokenizer of a world, converted before: GenieRedux stores it in
            another checkpoint.

    Raises:
        ValueError: if the checkpoint is not from GenieRedux, tensors are missing or left
            over, or a world comes without a tokenizer.
    """
    saved = any(name.startswith("model/") for name in arrays)
    tensors = Tensors(arrays, "model/" if saved else "")
    if "dynamics/maskgit.token_emb.weight" in tensors:
        if tokenizer is None:
            raise ValueError(
                "This checkpoint holds a world without its tokenizer: convert it together "
                "with the checkpoint of the tokenizer it was trained with."
            )
        dynamics = _dynamics(tensors.below("dynamics/maskgit."), tokenizer)
        model = GuidedGenie(tokenizer, dynamics)
        if "latent_action_model/to_action_emb.1.weight" in tensors:
            below = tensors.below("latent_action_model/")
            action_model = _latent_action_model(below, frame_shape, frames)
            # The world's actions are codes, projected as in the latent action model.
            _load_dense(dynamics.action_embedding, below.below("vq.project_out."))
            model = Genie(tokenizer, action_model, dynamics)
    elif "vq.project_in.weight" in tensors:
        model = _tokenizer(tensors, frame_shape, frames)
    else:
        raise ValueError(
            "This is no checkpoint of GenieRedux: expected tensors such as "
            "'model/vq.project_in.weight' or 'model/dynamics/maskgit.token_emb.weight'; "
            f"it has {', '.join(sorted(arrays)[:3]) or 'none'}."
        )
    tensors.check_all_used()
    return model


def _tokenizer(tensors: Tensors, frame_shape, frames: int) -> VideoTokenizer:
    _, num_codes, code_dim = tensors.shape("vq._codebook.embed", 3)
    patch_size = _patch_size(tensors, frame_shape)
    tokenizer = VideoTokenizer(
        frame_shape=frame_shape,
        patch_size=patch_size,
        num_codes=num_codes,
        code_dim=code_dim,
        **_transformers(tensors, frame_shape, patch_size, frames),
        quantizer=GENIEREDUX_CODES,
        **GENIEREDUX_TOKENIZER,
    )
    _load_patches(tokenizer.patch_embedding, tokenizer.to_pixels, tensors, patch_size)
    _load_common(tokenizer, tensors)
    _load_dense(tokenizer.code_embedding, tensors.below("vq.project_out."))
    return tokenizer


def _latent_action_model(
    tensors: Tensors, frame_shape, frames: int
) -> LatentActionModel:
    _, num_actions, action_dim = tensors.shape("vq._codebook.embed", 3)
    patch_size = _patch_size(tensors, frame_shape)
    model = LatentActionModel(
        frame_shape=frame_shape,
        patch_size=patch_size,
        num_actions=num_actions,
        action_dim=action_dim,
        **_transformers(tensors, frame_shape, patch_size, frames),
        quantizer=GENIEREDUX_CODES,
        **GENIEREDUX_ACTIONS,
    )
    # Encoder and decoder share the embedding of patches.
    for embedding in (model.encoder_embedding, model.decoder_embedding):
        _load_patches(embedding, model.to_pixels, tensors, patch_size)
    _load_common(model, tensors)
    _load_dense(model.to_action, tensors.below("to_action_emb.1."))
    _load_norm(model.action_norm, tensors.below("to_action_emb.2."))
    _load_dense(model.action_embedding, tensors.below("vq.project_out."))
    return model


def _dynamics(tensors: Tensors, tokenizer: VideoTokenizer) -> ReduxDynamics:
    rows, width = tensors.shape("token_emb.weight", 2)
    num_codes, dim = tensors.shape("to_logits.weight", 2)
    length, _ = tensors.shape("pos_emb.weight", 2)
    if num_codes != tokenizer.num_codes or rows != num_codes + 1:
        raise ValueError(
            f"The world's checkpoint has {num_codes} codes; its tokenizer has "
            f"{tokenizer.num_codes}: choose the tokenizer that it was trained with."
        )
    n = tokenizer.num_patches
    max_frames = length // n
    if not max_frames:
        raise ValueError(
            f"The world's checkpoint has {length} positions; its tokenizer has {n} tokens "
            "per frame: choose the tokenizer that it was trained with."
        )
    guided = dim > width
    stack = tensors.below("transformer.")
    bias = tensors.below("continuous_pos_bias.")
    dynamics = ReduxDynamics(
        num_codes=num_codes,
        num_patches=n,
        action_dim=dim - width if guided else tokenizer.code_dim,
        transformer=_transformer_arguments(
            stack, bias, tokenizer.grid, max_frames, GENIEREDUX_ORDERS["encoder"]
        ),
        max_frames=max_frames,
        conditioning="concat" if guided else "add",
        sampling=GENIEREDUX_SAMPLING,
    )
    tensors.load(dynamics.table.embeddings, "token_emb.weight")
    tensors.load(
        dynamics.frame_position,
        "pos_emb.weight",
        lambda x: x[: max_frames * n].reshape(max_frames, n, -1),
    )
    _load_transformer(dynamics.transformer, stack, bias)
    _load_dense(dynamics.to_logits, tensors.below("to_logits."))
    return dynamics


def _transformers(tensors: Tensors, frame_shape, patch_size: int, frames: int) -> dict:
    """Return the arguments of encoder and decoder."""
    grid = tuple(side // patch_size for side in frame_shape[:2])
    bias = tensors.below("spatial_rel_pos_bias.")
    return {
        name: _transformer_arguments(
            tensors.below(f"{name}."), bias, grid, frames, order
        )
        for name, order in GENIEREDUX_ORDERS.items()
    }


def _transformer_arguments(
    tensors: Tensors, bias: Tensors, grid, frames: int, order: str
) -> dict:
    name = "layers.{}.0.spatial_attention."
    width, dim = tensors.shape(name.format(0) + "to_q.weight", 2)
    (head_dim,) = tensors.shape(name.format(0) + "q_scale", 1)
    _, mlp_dim = tensors.shape("layers.0.0.spatial_ff.4.weight", 2)
    bias_dim, _ = bias.shape("net.0.0.weight", 2)
    return {
        "dim": dim,
        "num_blocks": tensors.count(name + "q_scale"),
        "num_heads": width // head_dim,
        "head_dim": head_dim,
        "mlp_dim": mlp_dim,
        "qk_norm": "unit",
        "window": frames,
        "options": {
            **GENIEREDUX_TRANSFORMER,
            "grid": list(grid),
            "space_bias_dim": bias_dim,
            "order": order,
        },
    }


def _patch_size(tensors: Tensors, frame_shape) -> int:
    (pixels,) = tensors.shape("to_patch_emb.1.weight", 1)
    side = round((pixels / frame_shape[-1]) ** 0.5)
    if side**2 * frame_shape[-1] != pixels or any(x % side for x in frame_shape[:2]):
        raise ValueError(
            f"The checkpoint's patches have {pixels} numbers, which do not divide frames "
            f"of {'x'.join(map(str, frame_shape))} into squares."
        )
    return side


def _load_patches(embedding, to_pixels, tensors: Tensors, patch_size: int) -> None:
    """Load the layers next to pixels, whose channels come first in GenieRedux."""

    def pixels_last(x):
        x = x.reshape(-1, patch_size, patch_size, *x.shape[1:])
        return np.moveaxis(x, 0, 2).reshape(-1, *x.shape[3:])

    for frame, name in (("first", "_first_frame"), ("later", "")):
        layer, below = getattr(embedding, frame), tensors.below(f"to_patch_emb{name}.")
        below.load(layer.norm_in.gamma, "1.weight", pixels_last)
        below.load(layer.norm_in.beta, "1.bias", pixels_last)
        below.load(layer.dense.kernel, "2.weight", lambda x: pixels_last(x.T))
        below.load(layer.dense.bias, "2.bias")
        _load_norm(layer.norm_out, below.below("3."))
        layer, below = getattr(to_pixels, frame), tensors.below(f"to_pixels{name}.0.")
        below.load(layer.kernel, "weight", lambda x: pixels_last(x).T)
        below.load(layer.bias, "bias", pixels_last)


def _load_common(model, tensors: Tensors) -> None:
    """Load the transformers and the quantizer of a tokenizer or latent action model."""
    bias = tensors.below("spatial_rel_pos_bias.")
    _load_transformer(model.encoder, tensors.below("encoder."), bias)
    _load_transformer(model.decoder, tensors.below("decoder."), bias)
    _load_dense(model.to_latents, tensors.below("vq.project_in."))
    tensors.load(model.quantizer.codebook, "vq._codebook.embed", lambda x: x[0])
    for unused in ("initted", "cluster_size", "embed_avg"):
        tensors.take(f"vq._codebook.{unused}")


def _load_transformer(
    transformer: STTransformer, tensors: Tensors, bias: Tensors
) -> None:
    network = transformer.space_bias
    _load_dense(network.first, bias.below("net.0.0."))
    _load_dense(network.second, bias.below("net.1.0."))
    _load_dense(network.to_bias, bias.below("net.2."))
    tensors.load(transformer.norm.gamma, "norm_out.gamma")
    tensors.load(transformer.norm.beta, "norm_out.beta")
    for index, block in enumerate(transformer.blocks):
        own = tensors.below(f"layers.{index}.0.")
        parts = [
            ("spatial", block.space_norm, block.space, block.space_peg),
            ("temporal", block.time_norm, block.time, block.time_peg),
        ]
        if transformer.options.order == "tfsf":
            parts.reverse()
        for (name, norm, attention, peg), feed_forward in zip(
            parts, block.feed_forwards, strict=True
        ):
            _load_peg(peg, own.below(f"{name}_peg.dsconv."))
            _load_attention(norm, attention, own.below(f"{name}_attention."))
            below = own.below(f"{name}_ff.")
            _load_norm(feed_forward.mlp_norm, below.below("0."))
            below.load(feed_forward.mlp_in.kernel, "1.weight", np.transpose)
            below.load(feed_forward.mlp_out.kernel, "4.weight", np.transpose)


def _load_peg(peg, tensors: Tensors) -> None:
    tensors.load(peg.kernel, "weight", lambda x: x.transpose(2, 3, 4, 0, 1))
    tensors.load(peg.bias, "bias")


def _load_attention(norm, attention, tensors: Tensors) -> None:
    heads, width = attention.num_heads, attention.head_dim
    tensors.load(norm.gamma, "norm.gamma")
    tensors.load(norm.beta, "norm.beta")
    for unused in ("context_norm.gamma", "context_norm.beta"):
        tensors.take(unused)  # It is for cross attention, which no block has.
    tensors.load(attention.to_query.kernel, "to_q.weight", np.transpose)
    key_value = tensors.take("to_kv.weight").T
    if key_value.shape[-1] == 2 * heads * width:
        key, value = np.split(key_value.reshape(-1, 2 * heads, width), 2, axis=1)
        key_value = pack_heads(key, value)
    assign(attention.to_key_value.kernel, key_value, "to_kv.weight")
    tensors.load(attention.query_norm.scale, "q_scale")
    tensors.load(attention.key_norm.scale, "k_scale")
    tensors.load(attention.to_output.kernel, "to_out.weight", np.transpose)


def _load_dense(dense, tensors: Tensors) -> None:
    tensors.load(dense.kernel, "weight", np.transpose)
    tensors.load(dense.bias, "bias")


def _load_norm(norm, tensors: Tensors) -> None:
    tensors.load(norm.gamma, "weight")
    tensors.load(norm.beta, "bias")
