"""Random numbers as a function of a key, equal on all backends.

A key is uint32 (batch,), one per video or other example. The numbers of `keras.random`
depend on the rest of the batch and on the backend.
"""

import math

import numpy as np
from keras import ops


def fold(key, number):
    """Derive a new key for each number.

    Args:
        key: uint32 (batch,).
        number: integers, scalar or (batch,).

    Returns:
        uint32 (batch,).
    """
    number = ops.cast(number, "uint32") + np.uint32(0x9E3779B9)
    return _mix(ops.bitwise_xor(key, _mix(number)))


def uniform(key, *shape: int):
    """Draw uniform numbers in (0, 1), float32 (batch, *shape)."""
    counters = _mix(ops.cast(ops.arange(math.prod(shape)), "uint32"))
    bits = _mix(ops.bitwise_xor(counters, key[:, None]))
    # 23 bits plus one half: exact in float32, and never 0 or 1.
    draws = (ops.cast(ops.right_shift(bits, np.uint32(9)), "float32") + 0.5) / 2**23
    return ops.reshape(draws, (-1, *shape))


def gumbel(key, *shape: int):
    """Draw from Gumbel(0, 1), float32 (batch, *shape)."""
    return -ops.log(-ops.log(uniform(key, *shape)))


def draw_categorical(logits, key, temperature):
    """Draw from softmax(logits / temperature), the likeliest at 0: (b, n, k) to int32
    (b, n)."""
    noise = gumbel(key, *logits.shape[1:])
    # Gumbel-max: the noise is finite, so a temperature of 0 removes it.
    return ops.cast(ops.argmax(logits + temperature * noise, axis=-1), "int32")


def _mix(x):
    """Hash 32 bits with lowbias32, by C. Wellons."""
    x = _xor_shifted(x, 16) * np.uint32(0x7FEB352D)
    x = _xor_shifted(x, 15) * np.uint32(0x846CA68B)
    return _xor_shifted(x, 16)


def _xor_shifted(x, by: int):
    return ops.bitwise_xor(x, ops.right_shift(x, np.uint32(by)))
