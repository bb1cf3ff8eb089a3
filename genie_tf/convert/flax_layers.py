"""Models of Jafar and Jasmine, which differ in their transformers; and layers of Flax."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from genie_tf.convert.tensors import Tensors, assign, pack_heads
from genie_tf.models import LatentActionModel, VideoTokenizer
from genie_tf.originals import JAFAR_ACTIONS


class Transformers(NamedTuple):
    """How an implementation stores a transformer.

    Attributes:
        entry: name of its first dense layer, ending with a slash.
        arguments: returns the arguments of our transformer, from its tensors and the
            frames per clip.
        load: loads our transformer and the dense layer after it, from its tensors.
    """

    entry: str
    arguments: Callable[[Tensors, int], dict]
    load: Callable[..., None]


def convert_tokenizer(
    tensors: Tensors,
    frame_shape: tuple[int, int, int],
    frames: int,
    transformers: Transformers,
    quantizer: dict,
) -> VideoTokenizer:
    """Return a tokenizer with its weights.

    Args:
        tensors: of the tokenizer.
        frame_shape, frames: see `convert_jafar`.
        transformers: how its transformers are stored.
        quantizer: arguments of the quantizer.
    """
    num_codes, code_dim = tensors.shape("vq/codebook", 2)
    encoder, decoder = tensors.below("encoder/"), tensors.below("decoder/")
    tokenizer = VideoTokenizer(
        frame_shape=frame_shape,
        patch_size=_patch_size(encoder.below(transformers.entry), frame_shape[-1]),
        num_codes=num_codes,
        code_dim=code_dim,
        encoder=transformers.arguments(encoder, frames),
        decoder=transformers.arguments(decoder, frames),
        quantizer=quantizer,
    )
    transformers.load(tokenizer.encoder, tokenizer.to_latents, encoder)
    tensors.load(tokenizer.quantizer.codebook, "vq/codebook")
    transformers.load(tokenizer.decoder, tokenizer.to_pixels, decoder)
    return tokenizer


def convert_actions(
    tensors: Tensors,
    frame_shape: tuple[int, int, int],
    frames: int,
    transformers: Transformers,
    quantizer: dict,
) -> LatentActionModel:
    """Return a latent action model with its weights; see `convert_tokenizer`."""
    num_actions, action_dim = tensors.shape("vq/codebook", 2)
    encoder, decoder = tensors.below("encoder/"), tensors.below("decoder/")
    model = LatentActionModel(
        frame_shape=frame_shape,
        patch_size=_patch_size(encoder.below(transformers.entry), frame_shape[-1]),
        num_actions=num_actions,
        action_dim=action_dim,
        encoder=transformers.arguments(encoder, frames),
        decoder=transformers.arguments(decoder, frames),
        quantizer=quantizer,
        **JAFAR_ACTIONS,
    )
    load_actions(model, tensors, transformers)
    transformers.load(model.decoder, model.to_pixels, decoder)
    return model


def load_actions(
    model: LatentActionModel, tensors: Tensors, transformers: Transformers
) -> None:
    """Load a latent action model, except its decoder."""
    tensors.load(model.action_token, "action_in", lambda x: x[0, 0, 0])
    transformers.load(model.encoder, model.to_latents, tensors.below("encoder/"))
    tensors.load(model.quantizer.codebook, "vq/codebook")
    load_dense(model.decoder_embedding, tensors.below("patch_up/"))
    load_dense(model.action_embedding, tensors.below("action_up/"))


def load_dense(dense, tensors: Tensors) -> None:
    tensors.load(dense.kernel, "kernel")
    tensors.load(dense.bias, "bias")


def load_norm(norm, tensors: Tensors) -> None:
    tensors.load(norm.gamma, "scale")
    tensors.load(norm.beta, "bias")


def load_attention(attention, tensors: Tensors) -> None:
    """Load a `MultiHeadAttention` of Flax."""
    for kind in ("kernel", "bias"):
        packed = pack_heads(
            *(tensors.take(f"{name}/{kind}") for name in ("query", "key", "value"))
        )
        assign(getattr(attention.to_qkv, kind), packed, f"query/{kind}")
    width = attention.num_heads * attention.head_dim
    output = attention.to_output
    tensors.load(output.kernel, "out/kernel", lambda x: x.reshape(width, -1))
    tensors.load(output.bias, "out/bias")


def load_table(embedding, tensors: Tensors) -> None:
    """Load the embedding of tokens, whose last row is the mask token."""
    rows = tensors.take("patch_embed/embedding")
    mask = tensors.take("mask_token").reshape(1, -1)
    table = np.concatenate([rows, mask])
    assign(embedding.embeddings, table, "patch_embed/embedding")


def _patch_size(entry: Tensors, channels: int) -> int:
    """Return the side of a patch from the dense layer that it enters.

    Raises:
        ValueError: if no square of pixels is as wide as that layer.
    """
    pixels, _ = entry.shape("kernel", 2)
    side = round((pixels / channels) ** 0.5)
    if side**2 * channels != pixels:
        raise ValueError(
            f"The checkpoint's patches have {pixels} numbers, which is no square of "
            f"pixels with {channels} channels."
        )
    return side
