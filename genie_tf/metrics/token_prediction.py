"""Quality of predicted tokens, per clip."""

import keras
from keras import ops


def masked_token_scores(tokens, logits, mask, top=(1, 2, 5, 16)) -> dict:
    """Return cross-entropy and accuracy over masked tokens.

    Can be compiled.

    Args:
        tokens: int32 (batch, time, patches), the true tokens.
        logits: float32 (batch, time, patches, num_codes).
        mask: bool (batch, time, patches).
        top: values of k, to count how often the true token is among the k likeliest;
            the true token ranks last among equally likely ones.

    Returns:
        A dict of float32 (batch,), means over the masked tokens of each clip:
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
