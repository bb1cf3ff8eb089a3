"""Random numbers that are a function of a key: equal on all backends, and of each video
alone.

A key is uint32 (batch,), one for each video, or for whatever else draws. `keras.random`
draws for a whole batch, so that what one video gets would depend on the others, and differs
between backends.
"""

import math

import numpy as np
from keras import ops


def fold(key, number):
    """Another key for each number.

    Args:
        key: uint32 (batch,).
        number: integers, scalar or (batch,).

    Returns:
        uint32 (batch,).
    """
    number = ops.cast(number, "uint32") + np.uint32(0x9E3779B9)
    return _mix(ops.bitwise_xor(key, _mix(number)))


def uniform(key, *shape: int):
    """Uniform draws in (0, 1), float32 (batch, *shape)."""
    counters = _mix(ops.cast(ops.arange(math.prod(shape)), "uint32"))
    bits = _mix(ops.bitwise_xor(counters, key[:, None]))
    # 23 bits and a half: a float32 holds these, and is never 0 or 1.
    draws = (ops.cast(ops.right_shift(bits, np.uint32(9)), "float32") + 0.5) / 2**23
    return ops.reshape(draws, (-1, *shape))


def gumbel(key, *shape: int):
    """Draw from Gumbel(0, 1), float32 (batch, *shape)."""
    return -ops.log(-ops.log(uniform(key, *shape)))


def _mix(x):
    """A hash of 32 bits: lowbias32 of C. Wellons."""
    x = _xor_shifted(x, 16) * np.uint32(0x7FEB352D)
    x = _xor_shifted(x, 15) * np.uint32(0x846CA68B)
    return _xor_shifted(x, 16)


def _xor_shifted(x, by: int):
    return ops.bitwise_xor(x, ops.right_shift(x, np.uint32(by)))
