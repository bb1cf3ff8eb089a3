"""MaskGIT's decoding of one frame, as in the original (section 3.2 there), and in orders
that do not ask how sure the network is.

Axes: b batch, n patches, k codes.
"""

from collections.abc import Callable, Mapping

import numpy as np
from keras import ops

from genie_tf.noise import fold, gumbel, uniform
from genie_tf.samplers.mask_schedule import num_left_masked
from genie_tf.sampling_settings import ORDERS

# What a frame's key is folded with, beside the numbers of steps.
_PLACES = 1_000_000
_CONFIDENCE = 2_000_000


def maskgit_step(logits, tokens, masked, step, key, places, sampling: Mapping):
    """One step of decoding: samples all masked tokens, masks the last ones again.

    Args:
        logits: float32 (b, n, k).
        tokens: int32 (b, n), known where not masked.
        masked: bool (b, n).
        step: scalar integer, 0 for the first step.
        key: uint32 (b,), of the frame.
        places: float32 (b, n), larger where a token is settled sooner, unless that goes
            by confidence.
        sampling: scalar tensors, see `settings_as_tensors`.

    Returns:
        The step's answer, int32 (b, n), all positions filled; and which positions to
        mask again, bool (b, n).
    """
    n = logits.shape[1]
    sampled = draw(logits, fold(key, step), sampling["temperature"], sampling["top_k"])
    answer = ops.where(masked, sampled, tokens)
    log_probability = ops.take_along_axis(
        ops.log_softmax(logits, axis=-1), answer[..., None], axis=-1
    )[..., 0]
    progress = (ops.cast(step, "float32") + 1) / ops.cast(
        sampling["num_steps"], "float32"
    )
    noise = gumbel(fold(key, step + _CONFIDENCE), n)
    noise = sampling["choice_temperature"] * (1 - progress) * noise
    by_confidence = sampling["order"] == ORDERS.index("confidence")
    sureness = ops.where(by_confidence, log_probability + noise, places)
    sureness = ops.where(masked, sureness, float("inf"))
    rank = ops.argsort(ops.argsort(sureness, axis=-1), axis=-1)
    num_now = ops.sum(ops.cast(masked, "int32"), axis=-1, keepdims=True)
    again = rank < num_left_masked(step, sampling["num_steps"], n, num_now)
    return answer, again


def draw(logits, key, temperature, top_k):
    """Draw a token at each position, int32 (b, n).

    Args:
        logits: float32 (b, n, k).
        key: uint32 (b,).
        temperature, top_k: scalar tensors, see `sampling_settings.py`.
    """
    n, k = logits.shape[1:]

    def of_the_likeliest():
        rank = ops.clip(top_k, 1, k) - 1
        least = ops.take(ops.flip(ops.sort(logits, axis=-1), axis=-1), rank, axis=-1)
        return ops.where(logits >= least[..., None], logits, -1e9)

    logits = ops.cond(top_k > 0, of_the_likeliest, lambda: logits)
    # Gumbel-max: the argmax is a draw from softmax(logits / temperature).
    noisy = ops.cond(
        temperature > 0,
        lambda: logits + temperature * gumbel(key, n, k),
        lambda: logits,
    )
    return ops.argmax(noisy, axis=-1)


def sample_frame(logits_of: Callable, grid: tuple[int, int], key, sampling: Mapping):
    """Fill in one frame's tokens, step by step.

    Args:
        logits_of: function of tokens, int32 (b, n), and masked, bool (b, n), to
            logits, float32 (b, n, k).
        grid: rows and columns of the patches, n in all.
        key: uint32 (b,); equal keys give equal frames.
        sampling: scalar tensors, see `settings_as_tensors`.

    Returns:
        int32 (b, n).
    """
    b, n = ops.shape(key)[0], grid[0] * grid[1]
    places = ops.where(
        sampling["order"] == ORDERS.index("halton"),
        -halton_order(*grid).astype("float32"),
        uniform(fold(key, _PLACES), n),
    )

    def body(step, state):
        tokens, masked = state
        logits = logits_of(tokens, masked)
        return maskgit_step(logits, tokens, masked, step, key, places, sampling)

    tokens = ops.zeros((b, n), dtype="int32")
    masked = ops.ones((b, n), dtype="bool")
    tokens, _ = ops.fori_loop(0, sampling["num_steps"], body, (tokens, masked))
    return tokens


def halton_order(rows: int, columns: int) -> np.ndarray:
    """When the Halton sequence of bases 2 and 3 first comes to each cell of a grid.

    Args:
        rows, columns: of the grid.

    Returns:
        A permutation of 0..rows * columns - 1, row-major: cells that follow each other
        lie far apart (Besnier et al. 2025).
    """
    order: dict[int, int] = {}
    index = 0
    while len(order) < rows * columns:
        index += 1
        cell = int(_halton(index, 2) * rows) * columns + int(
            _halton(index, 3) * columns
        )
        order.setdefault(cell, len(order))
    return np.array([order[cell] for cell in range(rows * columns)])


def _halton(index: int, base: int) -> float:
    """A number of Halton's sequence, in (0, 1): the digits of `index` mirrored."""
    value, weight = 0.0, 1.0
    while index:
        weight /= base
        index, digit = divmod(index, base)
        value += weight * digit
    return value
