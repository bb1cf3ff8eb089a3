"""MaskGIT decoding of a frame (MaskGIT, section 3.2), also in confidence-free orders.

Axes: b batch, n patches, k codes.
"""

from collections.abc import Callable, Mapping

import numpy as np
from keras import ops

from genie_tf.noise import draw_categorical, fold, gumbel, uniform
from genie_tf.samplers.mask_schedule import num_left_masked
from genie_tf.sampling_settings import ORDERS

# Numbers to fold into the key of a frame. Steps use 0, 1, 2, ...
_PRIORITY = 1_000_000
_CONFIDENCE = 2_000_000


def maskgit_step(logits, tokens, masked, step, key, priority, sampling: Mapping):
    """Sample all masked tokens, and choose which of them to mask again.

    Args:
        logits: float32 (b, n, k).
        tokens: int32 (b, n), known where not masked.
        masked: bool (b, n).
        step: scalar integer, 0 for the first step.
        key: uint32 (b,), key of the frame.
        priority: float32 (b, n), larger for tokens to decide earlier; unused in
            confidence order.
        sampling: scalar tensors, see `settings_as_tensors`.

    Returns:
        Tokens, int32 (b, n), without masks; and the positions to mask again, bool
        (b, n).
    """
    n = logits.shape[1]
    sampled = draw(logits, fold(key, step), sampling["temperature"], sampling["top_k"])
    tokens = ops.where(masked, sampled, tokens)
    log_probability = ops.take_along_axis(
        ops.log_softmax(logits, axis=-1), tokens[..., None], axis=-1
    )[..., 0]
    progress = (ops.cast(step, "float32") + 1) / ops.cast(
        sampling["num_steps"], "float32"
    )
    noise = gumbel(fold(key, step + _CONFIDENCE), n)
    noise = sampling["choice_temperature"] * (1 - progress) * noise
    by_confidence = sampling["order"] == ORDERS.index("confidence")
    priority = ops.where(by_confidence, log_probability + noise, priority)
    priority = ops.where(masked, priority, float("inf"))
    rank = ops.argsort(ops.argsort(priority, axis=-1), axis=-1)
    num_now = ops.sum(ops.cast(masked, "int32"), axis=-1, keepdims=True)
    return tokens, rank < num_left_masked(step, sampling["num_steps"], n, num_now)


def draw(logits, key, temperature, top_k):
    """Draw a token at each position, int32 (b, n).

    Args:
        logits: float32 (b, n, k).
        key: uint32 (b,).
        temperature: scalar tensor, see `sampling_settings.py`.
        top_k: scalar tensor, see `sampling_settings.py`.
    """
    k = logits.shape[-1]

    def keep_likeliest():
        rank = ops.clip(top_k, 1, k) - 1
        least = ops.take(ops.flip(ops.sort(logits, axis=-1), axis=-1), rank, axis=-1)
        return ops.where(logits >= least[..., None], logits, -1e9)

    logits = ops.cond(top_k > 0, keep_likeliest, lambda: logits)
    return draw_categorical(logits, key, temperature)


def sample_frame(predict: Callable, grid: tuple[int, int], key, sampling: Mapping):
    """Sample the tokens of a frame, step by step.

    Args:
        predict: function that maps tokens, int32 (b, n), and masked, bool (b, n), to
            logits, float32 (b, n, k).
        grid: (rows, columns) of the n patches.
        key: uint32 (b,); equal keys give equal frames.
        sampling: scalar tensors, see `settings_as_tensors`.

    Returns:
        int32 (b, n).
    """
    b, n = ops.shape(key)[0], grid[0] * grid[1]
    priority = ops.where(
        sampling["order"] == ORDERS.index("halton"),
        -halton_order(*grid).astype("float32"),
        uniform(fold(key, _PRIORITY), n),
    )

    def body(step, state):
        tokens, masked = state
        logits = predict(tokens, masked)
        return maskgit_step(logits, tokens, masked, step, key, priority, sampling)

    tokens = ops.zeros((b, n), dtype="int32")
    masked = ops.ones((b, n), dtype="bool")
    tokens, _ = ops.fori_loop(0, sampling["num_steps"], body, (tokens, masked))
    return tokens


def halton_order(rows: int, columns: int) -> np.ndarray:
    """Return the order in which a Halton sequence visits the cells of a grid.

    The bases are 2 and 3. Consecutive cells are far apart (Besnier et al. 2025).

    Args:
        rows: number of rows of the grid.
        columns: number of columns of the grid.

    Returns:
        The rank of each cell, row-major: a permutation of 0..rows * columns - 1.
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
    """Return a number of the Halton sequence, in (0, 1): mirrored digits of `index`."""
    value, weight = 0.0, 1.0
    while index:
        weight /= base
        index, digit = divmod(index, base)
        value += weight * digit
    return value
