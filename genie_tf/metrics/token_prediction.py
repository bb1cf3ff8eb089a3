"""How well a model knows the tokens it cannot see, clip by clip."""

import keras
from keras import ops


def masked_token_scores(tokens, logits, mask, top=(1, 2, 5, 16)) -> dict:
    """Cross-entropy and accuracy where tokens were masked, and nowhere else.

    Runs inside a compiled program.

    Args:
        tokens: int32 (batch, time, patches), the true tokens.
        logits: float32 (batch, time, patches, num_codes).
        mask: bool (batch, time, patches).
        top: for which k to count how often the true token is one of the k likeliest;
            of tokens equally likely, it is the last.

    Returns:
        A dict of float32 (batch,), each clip's mean over its masked tokens:
        `cross_entropy` in nats, and the shares `top1`, `top2`, ... in [0, 1].
    """
    weight = ops.cast(mask, "float32")
    weight /= ops.maximum(ops.sum(weight, axis=(1, 2), keepdims=True), 1)
    true = ops.take_along_axis(logits, tokens[..., None], axis=-1)
    rank = ops.sum(ops.cast(logits >= true, "int32"), axis=-1)
    values = {
        "cross_entropy": keras.losses.sparse_categorical_crossentropy(
            tokens, logits, True
        ),
        **{f"top{k}": ops.cast(rank <= k, "float32") for k in top},
    }
    return {
        name: ops.sum(value * weight, axis=(1, 2)) for name, value in values.items()
    }
