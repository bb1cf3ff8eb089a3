"""AdamW and learning-rate schedules, as the papers use them."""

import math

import keras
from keras import ops


class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly, stays constant, and falls over the last steps.

    One rule for the three schedules of the field: constant after warm-up
    (`decay_steps=0`), cosine (`decay_steps` all that follow the warm-up, shape
    "cosine") and warm-up-stable-decay (`decay_steps` the last part, shape "linear").

    Args:
        peak: the highest rate.
        steps: steps of the whole training.
        warmup_steps: steps of the rise from 0.
        decay_steps: steps of the fall, the last ones.
        final: the rate at the end of the fall.
        shape: "linear" or "cosine", the form of the fall.
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        warmup_steps: int,
        decay_steps: int = 0,
        final: float = 0.0,
        shape: str = "linear",
    ):
        if shape not in ("linear", "cosine"):
            raise ValueError(
                f'`shape` must be "linear" or "cosine"; received shape="{shape}".'
            )
        self.peak = peak
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps
        self.final = final
        self.shape = shape

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rise = ops.minimum(1.0, (step + 1) / max(self.warmup_steps, 1))
        left = ops.clip((self.steps - step) / max(self.decay_steps, 1), 0.0, 1.0)
        if self.decay_steps == 0:
            left = ops.ones_like(left)
        elif self.shape == "cosine":
            left = (1 - ops.cos(math.pi * left)) / 2
        return rise * (self.final + (self.peak - self.final) * left)

    def get_config(self):
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
            "final": self.final,
            "shape": self.shape,
        }


def adamw(
    model: keras.Model,
    schedule: WarmupDecay,
    beta_1: float = 0.9,
    beta_2: float = 0.9,
    weight_decay: float = 1e-4,
) -> keras.optimizers.AdamW:
    """AdamW for what is trainable of a model, built.

    Kernels alone are decayed; biases, norms, embeddings and codebooks are not. Frozen
    parts have no moments.

    Args:
        model: a built model.
        schedule: of the learning rate.
        beta_1, beta_2: decay of the moments; both 0.9 in Genie.
        weight_decay: decay of kernels per unit of learning rate.
    """
    optimizer = keras.optimizers.AdamW(
        schedule, beta_1=beta_1, beta_2=beta_2, weight_decay=weight_decay
    )
    variables = model.trainable_variables
    optimizer.exclude_from_weight_decay(
        [variable for variable in variables if variable.name != "kernel"]
    )
    optimizer.build(variables)
    return optimizer


def clip_by_global_norm(gradients, limit: float | None):
    """Scales all gradients together so that their norm is `limit` at most.

    Args:
        gradients: list of tensors.
        limit: largest norm; None for no limit.

    Returns:
        The list, scaled; and the norm before.
    """
    norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
    if limit is None:
        return gradients, norm
    scale = ops.minimum(1.0, limit / ops.maximum(norm, 1e-12))
    return [gradient * scale for gradient in gradients], norm
