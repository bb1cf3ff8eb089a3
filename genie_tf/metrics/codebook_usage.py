"""Codebook usage: codes used, perplexity and entropy."""

import math

import numpy as np
from keras import ops


def perplexity_from_counts(counts):
    """Return the perplexity of codes: the exponential of their entropy.

    Can be compiled in a training step.

    Args:
        counts: (..., num_codes), integer or float, not negative.

    Returns:
        float32 (...), in [1, num_codes]; 1 where all counts are 0.
    """
    counts = ops.cast(counts, "float32")
    total = ops.sum(counts, axis=-1, keepdims=True)
    share = counts / ops.maximum(total, 1e-30)
    # 0 log 0 = 0.
    nats = -ops.sum(share * ops.log(ops.where(share > 0, share, 1.0)), axis=-1)
    return ops.exp(nats)


def usage_from_counts(counts) -> dict:
    """Return the scores of `codebook_usage` for a batch.

    Can be compiled in a training step.

    Args:
        counts: (num_codes,), how often each code occurs.
    """
    num_codes = counts.shape[-1]
    codes_used = ops.sum(ops.cast(counts > 0, "float32"))
    perplexity = perplexity_from_counts(counts)
    return {
        "codes_used": codes_used,
        "usage": codes_used / num_codes,
        "perplexity": perplexity,
        "entropy": ops.log(perplexity) / math.log(max(num_codes, 2)),
    }


def codebook_usage(tokens, num_codes: int) -> dict:
    """Return how much of a codebook tokens use, and how evenly.

    Results grow with the number of tokens: report them with the number of clips.

    Args:
        tokens: integers of any shape, in [0, num_codes).
        num_codes: size of the codebook, at least 2.

    Returns:
        A dict: `codes_used`, int; `usage`, their share of the codebook, in (0, 1];
        `perplexity`, in [1, num_codes]; `entropy`, normalized by log(num_codes), in
        [0, 1].

    Raises:
        ValueError: if there are no tokens, or any is not an integer or out of range.
    """
    tokens = np.asarray(tokens)
    if num_codes < 2:
        raise ValueError(f"`num_codes` must be at least 2; received {num_codes}.")
    if not tokens.size or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(
            "`tokens` must be integers, at least one; received shape "
            f"{tokens.shape}, dtype {tokens.dtype}."
        )
    if tokens.min() < 0 or tokens.max() >= num_codes:
        raise ValueError(
            f"`tokens` must be in [0, num_codes={num_codes}); received values from "
            f"{tokens.min()} to {tokens.max()}."
        )
    counts = np.bincount(tokens.ravel(), minlength=num_codes)
    codes_used = int(np.count_nonzero(counts))
    perplexity = float(perplexity_from_counts(counts / tokens.size))
    return {
        "codes_used": codes_used,
        "usage": codes_used / num_codes,
        "perplexity": perplexity,
        "entropy": math.log(perplexity) / math.log(num_codes),
    }
