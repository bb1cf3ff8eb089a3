"""Report of the time and memory that training needs on many devices."""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple

import keras
from ml_collections import ConfigDict

from genie_tf.presets.without_weights import without_weights
from genie_tf.training.plan import (
    find_transformers,
    muon_flops,
    step_costs,
    step_memory,
)

# Tensor parallelism exchanges activations in every block, so it stays in one machine.
_DEVICES_PER_MACHINE = 8


def plan_report(
    make_model: Callable[[], keras.Model],
    config: ConfigDict,
    devices: int,
    device_memory_gb: float,
    device_tflops: float,
    utilization: float = 0.4,
    model_parallel: int | None = None,
) -> str:
    """Return a text with parameters, FLOPs, days, and memory under three layouts.

    Args:
        make_model: returns the model that the config trains; see `without_weights`.
        config: see `experiments/configs`.
        devices: number of devices.
        device_memory_gb: memory per device, in 10^9 bytes.
        device_tflops: peak per device, in 10^12 FLOPs per second.
        utilization: fraction of the peak that training reaches, in (0, 1].
        model_parallel: number of devices among which tensor parallelism divides a layer;
            by default as many as possible, up to 8.

    Raises:
        ValueError: if a number is out of range or does not fit the config.
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
    model = without_weights(make_model)
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

GB per device, of {device_memory_gb:g}:

{_layouts(model, config, devices, shards, device_memory_gb)}"""


def _model_parallel(model: keras.Model, devices: int, wanted: int | None) -> int:
    """Return the number of devices that divide a layer, after checking `wanted`."""
    layers = find_transformers(model)
    divisor = math.gcd(devices, *(n for x in layers for n in (x.num_heads, x.mlp_dim)))
    if wanted is None:
        choices = range(1, _DEVICES_PER_MACHINE + 1)
        return max(n for n in choices if divisor % n == 0)
    if wanted < 1 or divisor % wanted:
        raise ValueError(
            f"--model_parallel must divide --devices={devices} and all heads and hidden "
            f"widths, so {divisor} is the largest choice; is {wanted}."
        )
    return wanted


def _work(model: keras.Model, config: ConfigDict, devices: int) -> tuple[str, float]:
    """Return a table of the parts, and the FLOPs per step."""
    rows = [("part", "", "parameters", "FLOPs per step")]
    costs = step_costs(model, config.clip_length)
    total = 0.0
    for name, part in model.parts().items():
        flops = config.batch_size * costs[name].flops
        state = "trained" if part.trainable else "frozen"
        rows.append((name, state, _millions(part), f"{flops:.2e}"))
        total += flops
    if config.optimizer.name == "muon":
        flops = devices * muon_flops(model)  # Every device does all of it.
        rows.append(("Muon", "on each device", "", f"{flops:.2e}"))
        total += flops
    rows.append(("total", "", _millions(model), f"{total:.2e}"))
    return aligned(rows), total


def _layouts(
    model: keras.Model, config: ConfigDict, devices: int, shards: int, memory_gb: float
) -> str:
    """Return a table of the memory per device."""
    columns = ("weights", "moments", "gradients", "activations", "gathered", "peak")
    rows = [("layout", "mesh", *columns, "")]
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
        sizes = (f"{number / 1e9:,.1f}" for number in astuple(memory))
        verdict = "fits" if memory.peak <= memory_gb * 1e9 else "too much"
        rows.append((layout, axes, *sizes, verdict))
    return aligned(rows)


def _millions(model: keras.Model) -> str:
    return f"{model.count_params() / 1e6:,.1f}M"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text: two left-aligned columns, the rest right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
