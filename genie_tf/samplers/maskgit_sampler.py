"""MaskGIT's decoding of one frame, exactly as in the original (section 3.2 there).

Axes: b batch, n patches, k codes.
"""

import keras
from keras import ops

from genie_tf.samplers.mask_schedule import num_left_masked


class FoldedSeed(keras.random.SeedGenerator):
    """A seed computed inside a compiled program, in the form `keras.random` takes.

    Args:
        seed: scalar integer tensor.
        fold: scalar integer tensor; equal pairs give equal numbers.
    """

    def __init__(self, seed, fold):  # holds no state, so makes none
        self._pair = ops.stack([ops.cast(seed, "uint32"), ops.cast(fold, "uint32")])

    def next(self, ordered: bool = True):
        return self._pair


def gumbel_noise(shape, seed):
    """Draws from Gumbel(0, 1), float32."""
    uniform = keras.random.uniform(shape, 1e-7, 1.0, dtype="float32", seed=seed)
    return -ops.log(-ops.log(uniform))


def maskgit_step(
    logits, tokens, masked, step, num_steps, seed, temperature, choice_temperature
):
    """One step of decoding: samples all masked tokens, masks the unsure ones again.

    Args:
        logits: float32 (b, n, k).
        tokens: int32 (b, n), known where not masked.
        masked: bool (b, n).
        step: scalar integer, 0 for the first step.
        num_steps: scalar integer.
        seed: scalar integer, a new one for each step.
        temperature: of the tokens' distribution; 0 takes the likeliest token.
        choice_temperature: scale of the noise on confidences, which falls to 0 with
            the last step.

    Returns:
        The step's answer, int32 (b, n), all positions filled; and which positions to
        mask again, bool (b, n).
    """
    b, n, k = ops.shape(logits)
    # Gumbel-max: the argmax is a draw from softmax(logits / temperature).
    noise = gumbel_noise((b, n, k), FoldedSeed(seed, 0))
    sampled = ops.argmax(logits + temperature * noise, axis=-1)
    answer = ops.where(masked, sampled, tokens)

    log_probability = ops.take_along_axis(
        ops.log_softmax(logits, axis=-1), answer[..., None], axis=-1
    )[..., 0]
    progress = (ops.cast(step, "float32") + 1) / ops.cast(num_steps, "float32")
    confidence = log_probability + choice_temperature * (1 - progress) * gumbel_noise(
        (b, n), FoldedSeed(seed, 1)
    )
    confidence = ops.where(masked, confidence, float("inf"))
    rank = ops.argsort(ops.argsort(confidence, axis=-1), axis=-1)
    num_now = ops.sum(ops.cast(masked, "int32"), axis=-1, keepdims=True)
    again = rank < num_left_masked(step, num_steps, n, num_now)
    return answer, again


def sample_frame(
    logits_of,
    batch: int,
    num_patches: int,
    seed,
    num_steps=8,
    temperature=1.0,
    choice_temperature=4.5,
):
    """Fills in one frame's tokens in `num_steps` steps.

    Args:
        logits_of: function of tokens, int32 (b, n), and masked, bool (b, n), to
            logits, float32 (b, n, k).
        batch: number of frames, one per session.
        num_patches: tokens of a frame.
        seed: scalar integer; equal seeds give equal frames.
        num_steps: number of decoding steps; may be a tensor.
        temperature: of the tokens' distribution.
        choice_temperature: scale of the noise on confidences.

    Returns:
        int32 (b, n).
    """
    seed = ops.cast(seed, "int32")

    def body(step, state):
        tokens, masked = state
        return maskgit_step(
            logits_of(tokens, masked),
            tokens,
            masked,
            step,
            num_steps,
            seed * 1_000 + step,
            temperature,
            choice_temperature,
        )

    tokens = ops.zeros((batch, num_patches), dtype="int32")
    masked = ops.ones((batch, num_patches), dtype="bool")
    tokens, _ = ops.fori_loop(0, num_steps, body, (tokens, masked))
    return tokens
