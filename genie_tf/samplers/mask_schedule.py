"""Mask schedule: the number of masked tokens after each MaskGIT step."""

import math

from keras import ops


def cosine_schedule(progress):
    """Return the share of tokens left masked (MaskGIT, section 3.3).

    Args:
        progress: share of steps done, in (0, 1].

    Returns:
        cos(pi progress / 2), from 1 down to 0.
    """
    return ops.cos(math.pi / 2 * progress)


def num_left_masked(step, num_steps, num_at_start: int, num_now):
    """Return the number of tokens to mask again after a decoding step.

    At least one, so that each step has tokens to sample, and less than now, so that
    each step decides a token. The result of the last step is not used.

    Args:
        step: 0 for the first step.
        num_steps: total number of steps.
        num_at_start: number of tokens masked before the first step.
        num_now: number of tokens masked now, int32 of any shape.

    Returns:
        int32, of the shape of `num_now`.
    """
    progress = (ops.cast(step, "float32") + 1) / ops.cast(num_steps, "float32")
    scheduled = ops.cast(ops.floor(num_at_start * cosine_schedule(progress)), "int32")
    return ops.maximum(1, ops.minimum(num_now - 1, scheduled))
