"""AdamW, Muon and learning-rate schedules."""

import contextlib
import inspect
import math
import re
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("genie_tf")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate with linear warm-up, a constant phase, and decay at the end.

    It covers three common schedules: constant after warm-up (`decay_steps=0`), cosine
    (`decay_steps` is all steps after the warm-up, shape "cosine") and
    warm-up-stable-decay (`decay_steps` is the last part, shape "linear").

    Args:
        peak: highest rate.
        steps: steps of the full run.
        warmup_steps: steps of the warm-up.
        decay_steps: steps of the decay, at the end of the run.
        final: rate at the end of the decay.
        shape: "linear" or "cosine", the shape of the decay.
        warmup_from: start of the warm-up, as a fraction of the peak.
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        warmup_steps: int,
        decay_steps: int = 0,
        final: float = 0.0,
        shape: str = "linear",
        warmup_from: float = 0.0,
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
        self.warmup_from = warmup_from

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rise = ops.minimum(1.0, (step + 1) / max(self.warmup_steps, 1))
        rise = self.warmup_from + (1 - self.warmup_from) * rise
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
            "warmup_from": self.warmup_from,
        }


@keras.saving.register_keras_serializable("genie_tf")
class _ScaledMuon(keras.optimizers.Muon):
    """Muon of Keras 3.12, the last for Python 3.10, with the step sizes of later Keras."""

    def update_step(self, gradient, variable, learning_rate):
        # It reads the path of a variable, which TensorFlow variables lack.
        variable = self._trainable_variables[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate)

    def zeropower_via_newtonschulz5(self, x, steps):
        rows, columns = x.shape
        new_scale = 0.2 * max(rows, columns) ** 0.5
        old_scale = max(1, rows / columns) ** 0.5
        return super().zeropower_via_newtonschulz5(x, steps) * (new_scale / old_scale)


def _muon(schedule, *, weight_decay, **settings) -> keras.optimizers.Muon:
    """Return Muon with one `weight_decay` for all variables, on any Keras."""
    decay = {"weight_decay": weight_decay}
    if "rms_rate" not in inspect.signature(keras.optimizers.Muon).parameters:
        return _ScaledMuon(schedule, **decay, **settings)
    decay["adam_weight_decay"] = weight_decay
    return keras.optimizers.Muon(schedule, **decay, **settings)


def make_optimizer(
    model: keras.Model,
    schedule: WarmupDecay,
    name: str = "adamw",
    beta_1: float = 0.9,
    beta_2: float = 0.9,
    weight_decay: float = 1e-4,
    decay_all: bool = False,
    ema: float = 0.0,
    epsilon: float = 1e-7,
) -> keras.optimizers.Optimizer:
    """Return the built optimizer of a model's trainable variables.

    Frozen parts have no moments.

    Args:
        model: a built model.
        schedule: learning-rate schedule.
        name: "adamw", as in Genie; or "muon", which orthogonalizes the momentum of
            kernels (Jordan et al. 2024; steps scaled as Adam's, Liu et al. 2025) and
            leaves everything else to AdamW.
        beta_1, beta_2: decay of AdamW's moments; both 0.9 in Genie.
        weight_decay: decay of kernels per unit of learning rate.
        decay_all: also decay biases, norms, embeddings and codebooks.
        ema: decay per step of the weights' exponential moving average; 0 for none.
        epsilon: added to the root of AdamW's second moment.

    Raises:
        ValueError: if `name` is unknown or `ema` is not in [0, 1).

    Example:
        schedule = WarmupDecay(peak=3e-4, steps=1000, warmup_steps=100)
        optimizer = make_optimizer(model, schedule)
    """
    if not 0 <= ema < 1:
        raise ValueError(f"`ema` must be in [0, 1); received {ema}.")
    average = {"use_ema": ema > 0, "ema_momentum": ema}
    variables = model.trainable_variables
    others = [variable for variable in variables if variable.name != "kernel"]
    if name == "adamw":
        optimizer = keras.optimizers.AdamW(
            schedule,
            beta_1=beta_1,
            beta_2=beta_2,
            weight_decay=weight_decay,
            epsilon=epsilon,
            **average,
        )
    elif name == "muon":
        optimizer = _muon(
            schedule,
            adam_beta_1=beta_1,
            adam_beta_2=beta_2,
            adam_lr_ratio=1,
            ns_steps=5,
            weight_decay=weight_decay,
            exclude_layers=[f"^{re.escape(v.path)}$" for v in others],
            exclude_embeddings=False,
            **average,
        )
    else:
        raise ValueError(
            f'`name` of the optimizer must be "adamw" or "muon"; received "{name}".'
        )
    if not decay_all:
        optimizer.exclude_from_weight_decay(others)
    optimizer.build(variables)
    return optimizer


@contextlib.contextmanager
def averaged_weights(
    model: keras.Model, optimizer: keras.optimizers.Optimizer
) -> Iterator[None]:
    """Within the context, replace weights by their moving averages, if any."""
    if not optimizer.use_ema:
        yield
        return
    variables = model.trainable_variables
    own = [np.array(variable) for variable in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)


def clip_by_global_norm(gradients, limit: float | None):
    """Scale all gradients together so that their global norm is at most `limit`.

    Args:
        gradients: list of tensors.
        limit: largest norm; None for no limit.

    Returns:
        The scaled gradients, and their norm before scaling.
    """
    norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
    if limit is None:
        return gradients, norm
    scale = ops.minimum(1.0, limit / ops.maximum(norm, 1e-12))
    return [gradient * scale for gradient in gradients], norm
