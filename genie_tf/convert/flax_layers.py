"""Loading of layers of Flax, for the converters of Jafar and Jasmine."""

import numpy as np

from genie_tf.convert.tensors import Tensors, assign, pack_heads


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


def patch_size(entry: Tensors, channels: int) -> int:
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
