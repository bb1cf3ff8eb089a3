"""How many tokens stay masked after each step of MaskGIT's decoding."""

import math

from keras import ops


def cosine_schedule(progress):
    """Share of tokens left masked after a share of the steps (MaskGIT, section 3.3).

    Args:
        progress: share of the steps taken, in (0, 1].

    Returns:
        cos(pi progress / 2), from 1 down to 0.
    """
    return ops.cos(math.pi / 2 * progress)


def num_left_masked(step, num_steps, num_at_start: int, num_now):
    """How many tokens to mask again after a step of decoding.

    At least one, so that every step has work, and at least one fewer than now, so
    that every step settles a token. The last step's samples are the answer whatever
    this says.

    Args:
        step: 0 for the first step.
        num_steps: steps in all.
        num_at_start: tokens masked before the first step.
        num_now: int32 tokens masked now, of any shape.

    Returns:
        int32, of the shape of `num_now`.
    """
    progress = (ops.cast(step, "float32") + 1) / ops.cast(num_steps, "float32")
    scheduled = ops.cast(ops.floor(num_at_start * cosine_schedule(progress)), "int32")
    return ops.maximum(1, ops.minimum(num_now - 1, scheduled))
