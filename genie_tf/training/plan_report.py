"""What training will need on many devices, as text."""

import math
from collections.abc import Sequence
from dataclasses import astuple

import keras
from ml_collections import ConfigDict

from genie_tf.training.plan import (
    muon_flops,
    step_costs,
    step_memory,
    transformers_of,
)

# Tensor parallelism exchanges activations in every block: it stays within a machine.
_DEVICES_OF_A_MACHINE = 8


def plan_report(
    model: keras.Model,
    config: ConfigDict,
    devices: int,
    device_memory_gb: float,
    device_tflops: float,
    utilization: float = 0.4,
    model_parallel: int | None = None,
) -> str:
    """Return parameters, FLOPs, days, and memory under three layouts.

    Args:
        model: what the config trains; it needs no weights.
        config: as in `experiments/configs`.
        devices: how many there are.
        device_memory_gb: memory of each, in 10^9 bytes.
        device_tflops: peak of each, in 10^12 FLOPs per second.
        utilization: share of the peak that training reaches, in (0, 1].
        model_parallel: devices among which tensor parallelism divides a layer; by
            default as many as possible, up to 8.

    Raises:
        ValueError: if these numbers and the config do not fit each other.
    """
    for name, number in (
        ("devices", devices),
        ("device_memory_gb", device_memory_gb),
        ("device_tflops", device_tflops),
        ("utilization", utilization),
    ):
        if not number > 0:
            raise ValueError(f"--{name} must be more than 0; is {number}.")
    if utilization > 1:
        raise ValueError(f"--utilization must be 1 or less; is {utilization}.")
    if config.batch_size % (devices * config.accumulate):
        raise ValueError(
            f"config.batch_size must divide evenly among --devices={devices} and "
            f"config.accumulate={config.accumulate} parts each; is {config.batch_size}."
        )
    shards = _model_parallel(model, devices, model_parallel)
    work, flops = _work(model, config, devices)
    seconds = flops * config.steps / (devices * device_tflops * 1e12 * utilization)
    return f"""\
{config.stage}: {config.steps:,} steps of {config.batch_size} clips of \
{config.clip_length} frames, {config.precision}, remat={config.remat}, \
accumulate={config.accumulate}, {config.optimizer.name}

{work}

{seconds / 86400:,.1f} days on {devices} devices at {utilization:.0%} of \
{device_tflops:g} TFLOP/s

GB a device holds, of {device_memory_gb:g}:

{_layouts(model, config, devices, shards, device_memory_gb)}"""


def _model_parallel(model: keras.Model, devices: int, wanted: int | None) -> int:
    """Devices that can divide every transformer among them: as many as wanted."""
    layers = transformers_of(model)
    divisor = math.gcd(devices, *(n for x in layers for n in (x.num_heads, x.mlp_dim)))
    if wanted is None:
        choices = range(1, _DEVICES_OF_A_MACHINE + 1)
        return max(n for n in choices if divisor % n == 0)
    if wanted < 1 or divisor % wanted:
        raise ValueError(
            f"--model_parallel must divide --devices={devices} and all heads and hidden "
            f"widths, which {divisor} does; is {wanted}."
        )
    return wanted


def _work(model: keras.Model, config: ConfigDict, devices: int) -> tuple[str, float]:
    """A table of the parts, and the FLOPs of a step."""
    rows = [("part", "", "parameters", "FLOPs a step")]
    costs = step_costs(model, config.clip_length)
    total = 0.0
    for name, part in model.parts().items():
        flops = config.batch_size * costs[name].flops
        state = "trained" if part.trainable else "frozen"
        rows.append((name, state, _millions(part), f"{flops:.2e}"))
        total += flops
    if config.optimizer.name == "muon":
        flops = devices * muon_flops(model)  # Each does all of it.
        rows.append(("Muon", "on each device", "", f"{flops:.2e}"))
        total += flops
    rows.append(("total", "", _millions(model), f"{total:.2e}"))
    return _aligned(rows), total


def _layouts(
    model: keras.Model, config: ConfigDict, devices: int, shards: int, memory_gb: float
) -> str:
    """A table of what a device holds."""
    held = ("weights", "moments", "gradients", "activations", "gathered", "peak")
    rows = [("layout", "mesh", *held, "")]
    for layout, mesh in (
        ("data parallel", {"data": devices}),
        ("ZeRO-3", {"fsdp": devices}),
        ("tensor parallel", {"data": devices // shards, "model": shards}),
    ):
        memory = step_memory(
            model,
            config.clip_length,
            config.batch_size,
            mesh,
            config.optimizer.name,
            config.optimizer.ema,
            config.accumulate,
        )
        axes = ",".join(f"{axis}:{size}" for axis, size in mesh.items())
        held = (f"{number / 1e9:,.1f}" for number in astuple(memory))
        verdict = "fits" if memory.peak <= memory_gb * 1e9 else "too much"
        rows.append((layout, axes, *held, verdict))
    return _aligned(rows)


def _millions(model: keras.Model) -> str:
    return f"{model.count_params() / 1e6:,.1f}M"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns: two of texts, from the left, then numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
