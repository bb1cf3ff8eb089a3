"""What a config's training will need on many devices, found out without any of them.

genie-train --plan --config=platformers_genie:10.1b \
    --config.tokenizer=platformers_tokenizer:paper \
    --devices=256 --device_memory_gb=32 --device_tflops=275

docs/scaling.md explains the numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple

import keras
from ml_collections import ConfigDict

from genie_tf.experiments.config_files import load_config
from genie_tf.models import Tokenizer
from genie_tf.presets.folder import read_config
from genie_tf.presets.registry import make_model
from genie_tf.presets.without_weights import without_weights
from genie_tf.training.build import build_model, build_world
from genie_tf.training.plan import (
    muon_flops,
    step_costs,
    step_memory,
    transformers_of,
)

# Tensor parallelism exchanges activations in every block: it stays within a machine.
_DEVICES_OF_A_MACHINE = 8


def plan(
    config: ConfigDict,
    devices: int,
    device_memory_gb: float,
    device_tflops: float,
    utilisation: float = 0.4,
    model_parallel: int | None = None,
) -> str:
    """Parameters, FLOPs, days, and memory under three layouts, as a text.

    Args:
        config: as in `experiments/configs`. The `tokenizer` of a Genie is the folder of
            a trained one, or NAME:SIZE of the config of one to be trained.
        devices: how many there are.
        device_memory_gb: memory of each, in 10^9 bytes.
        device_tflops: 10^12 FLOPs that each can do in a second.
        utilisation: share of these that the training reaches.
        model_parallel: devices that tensor parallelism divides a layer among; by default
            as many as can be, up to 8.

    Raises:
        ValueError: if these numbers and the config do not fit each other.
    """
    for name, number in (
        ("devices", devices),
        ("device_memory_gb", device_memory_gb),
        ("device_tflops", device_tflops),
        ("utilisation", utilisation),
    ):
        if not number > 0:
            raise ValueError(f"--{name} must be more than 0; is {number}.")
    if utilisation > 1:
        raise ValueError(f"--utilisation must be 1 or less; is {utilisation}.")
    if config.batch_size % (devices * config.accumulate):
        raise ValueError(
            f"config.batch_size must divide evenly among --devices={devices} and "
            f"config.accumulate={config.accumulate} parts each; is {config.batch_size}."
        )
    model = without_weights(lambda: _make_model(config))
    shards = _model_parallel(model, devices, model_parallel)
    work, flops = _work(model, config, devices)
    seconds = flops * config.steps / (devices * device_tflops * 1e12 * utilisation)
    return f"""\
{config.stage}: {config.steps:,} steps of {config.batch_size} clips of \
{config.clip_length} frames, {config.precision}, remat={config.remat}, \
accumulate={config.accumulate}, {config.optimizer.name}

{work}

{seconds / 86400:,.1f} days on {devices} devices at {utilisation:.0%} of \
{device_tflops:g} TFLOP/s

GB a device holds, of {device_memory_gb:g}:

{_layouts(model, config, devices, shards, device_memory_gb)}"""


def _make_model(config: ConfigDict) -> keras.Model:
    keras.config.set_dtype_policy(config.precision)
    if config.stage != "genie":
        return build_model(config)
    try:
        if ":" in config.tokenizer:
            tokenizer = build_model(load_config(config.tokenizer))
        else:
            parts = read_config(config.tokenizer)["parts"]
            tokenizer = make_model(parts["tokenizer"], Tokenizer)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "--config.tokenizer must be the folder of a trained tokenizer, or "
            f"NAME:SIZE of one to be trained; is {config.tokenizer!r}."
        ) from error
    return build_world(config, tokenizer)


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
