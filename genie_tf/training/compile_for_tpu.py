"""Compiles a training step for a slice of TPUs, without having one, and reports on it."""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import keras
from ml_collections import ConfigDict

from genie_tf.presets.without_weights import without_weights
from genie_tf.training.hlo import Collective, find_collectives
from genie_tf.training.plan import muon_flops, step_costs, step_memory
from genie_tf.training.plan_report import aligned
from genie_tf.training.shapes_only import count_flops, trace_train_steps
from genie_tf.training.sharding import Sharding, parse_mesh
from genie_tf.training.tpu_slice import Chip, TpuSlice


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of a training step, for each chip.

    Args:
        flops: FLOPs of a step; at least an even share of all matrix products.
        arguments: bytes of weights, moments and batches.
        peak: bytes of everything.
        traffic: bytes between memory and chip.
        collectives: exchanges with other chips.
        refusal: the compiler's reason if the step does not fit; then the bytes are unknown.
    """

    flops: float
    arguments: float = math.nan
    peak: float = math.nan
    traffic: float = math.nan
    collectives: Sequence[Collective] = ()
    refusal: str = ""

    def seconds(self, chip: Chip) -> dict[str, float]:
        """Return the shortest time of a step that each limit of the chip allows.

        A ring of chips uses two links of each.
        """
        sent = sum(x.calls * x.sent for x in self.collectives)
        return {
            "compute": self.flops / chip.flops,
            "memory": self.traffic / chip.bandwidth,
            "interconnect": sent / (2 * chip.link),
        }


def compile_for_tpu(
    make_model: Callable[[], keras.Model],
    config: ConfigDict,
    tpus: TpuSlice,
    mesh: str = "",
) -> str:
    """Return a report of a training step, compiled for a slice of TPUs.

    Args:
        make_model: see `without_weights`.
        config: see `experiments/configs`.
        tpus: the slice.
        mesh: see `make_sharding`, with the chips of the slice as devices.

    Raises:
        ValueError: if libtpu has no such slice, or config and mesh do not fit it.
    """
    sizes = parse_mesh(mesh)
    devices = tpus.devices()
    sharding = Sharding(sizes, devices)
    model = without_weights(make_model)
    start = time.perf_counter()
    traced = trace_train_steps(model, config, sharding)
    compiled = analyze(traced, len(devices), config.steps_per_call)
    seconds = time.perf_counter() - start
    axes = ",".join(
        f"{axis}:{size}" for axis, size in sharding.size.items() if size > 1
    )
    hosts = len({device.process_index for device in devices})
    return f"""\
{config.stage} for {tpus.name}: {len(devices)} chips, mesh {axes or "data:1"}, \
{config.batch_size} clips of {config.clip_length} frames, {config.precision}, \
remat={config.remat}, accumulate={config.accumulate}, {config.optimizer.name}
Compiled in {seconds:,.0f} s by {_versions()}.

{report(compiled, model, config, sharding, tpus.chip, hosts)}"""


def analyze(
    traced: jax.stages.Traced, num_devices: int, steps_per_call: int
) -> Compiled:
    """Return what the compiler says of a traced program, per step and device."""
    flops = count_flops(traced.jaxpr) / num_devices / steps_per_call
    try:
        program = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if not str(error).startswith("RESOURCE_EXHAUSTED"):
            raise
        return Compiled(flops, refusal=_refusal(str(error)))
    memory, cost = program.memory_analysis(), program.cost_analysis()
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    # XLA's analysis counts the body of a loop once, for FLOPs and bytes. On the other
    # hand, it knows what all chips repeat.
    repeats = max(1.0, flops / cost["flops"])
    return Compiled(
        repeats * cost["flops"],
        memory.argument_size_in_bytes,
        memory.argument_size_in_bytes + memory.temp_size_in_bytes + new,
        repeats * cost["bytes accessed"],
        [
            Collective(x.kind, x.sent, math.ceil(x.calls / steps_per_call))
            for x in find_collectives(program.as_text())
        ],
    )


def report(
    compiled: Compiled,
    model: keras.Model,
    config: ConfigDict,
    sharding: Sharding,
    chip: Chip,
    hosts: int = 1,
) -> str:
    """Return a text on memory, FLOPs, exchanges, shortest time, and what to change.

    Args:
        compiled: what the compiler says of the step.
        model: the model, which needs no weights.
        config: see `experiments/configs`.
        sharding: mesh of the chips.
        chip: their kind.
        hosts: number of machines with these chips.
    """
    plan = step_memory(
        model,
        config.clip_length,
        config.batch_size,
        sharding.size,
        config.optimizer.name,
        config.optimizer.ema,
        config.accumulate,
    )
    planned = plan_flops(model, config, math.prod(sharding.size.values()))
    rows = [
        ("per chip", "", "compiler", "plan"),
        (
            "weights and moments",
            "GB",
            _gb(compiled.arguments),
            _gb(plan.weights + plan.moments),
        ),
        ("peak", "GB", _gb(compiled.peak), _gb(plan.peak)),
        ("FLOPs of a step", "TFLOP", _tera(compiled.flops), _tera(planned)),
    ]
    parts = [aligned(rows), _exchanges(compiled.collectives)]
    if compiled.refusal:
        parts.append(
            f"Does not fit into the {_gb(chip.memory)} GB of a chip: {compiled.refusal} "
            f"{what_to_change(config, sharding)}"
        )
        return "\n\n".join(filter(None, parts))
    limits = compiled.seconds(chip)
    bound = max(limits, key=lambda name: limits[name])
    times = ", ".join(f"{name} {_seconds(value)}" for name, value in limits.items())
    frames = config.batch_size * config.clip_length / limits[bound]
    days = limits[bound] * config.steps / 86400
    parts += [
        f"Shortest step: {times}. It is bound by {bound}, so {config.steps:,} steps take "
        f"at least {days:,.2f} days.\n"
        f"At that speed, each of {hosts} hosts reads {frames / hosts:,.0f} frames per "
        "second.",
        f"Fits: {_gb(compiled.peak)} GB of the {_gb(chip.memory)} GB of a chip.",
    ]
    return "\n\n".join(filter(None, parts))


def plan_flops(model: keras.Model, config: ConfigDict, devices: int) -> float:
    """Return the planned FLOPs of a step on each device."""
    costs = step_costs(model, config.clip_length).values()
    flops = config.batch_size * sum(cost.flops for cost in costs) / devices
    return flops + (muon_flops(model) if config.optimizer.name == "muon" else 0)


def what_to_change(config: ConfigDict, sharding: Sharding) -> str:
    """Return a sentence on how a step needs less memory."""
    clips = config.batch_size // sharding.num_batch_shares // config.accumulate
    if not config.remat:
        return "Recompute activations: --config.remat."
    if clips > 1:
        parts = next(n for n in range(2, clips + 1) if clips % n == 0)
        return (
            "Process a batch in more parts: "
            f"--config.accumulate={parts * config.accumulate}."
        )
    devices = math.prod(sharding.size.values())
    if devices > 1 and sharding.size["fsdp"] < devices:
        return f"Divide weights and moments: --mesh=fsdp:{devices}."
    return "Choose a slice with more chips, or chips with more memory."


def _exchanges(collectives: Sequence[Collective]) -> str:
    """Return a table of the exchanges of a step, by kind."""
    kinds = sorted({x.kind for x in collectives})
    rows = [("exchange", "", "calls", "GB sent per chip")]
    for kind in kinds:
        own = [x for x in collectives if x.kind == kind]
        sent = sum(x.calls * x.sent for x in own)
        rows.append((kind, "", str(sum(x.calls for x in own)), _gb(sent)))
    return aligned(rows) if kinds else ""


def _refusal(text: str) -> str:
    """Return a sentence from the compiler's message on memory."""
    used = re.search(r"Used ([\d.]+)([MG]) of", text)
    if used:
        needed = float(used[1]) * {"M": 2**20, "G": 2**30}[used[2]]
        return f"the compiler needs {_gb(needed)} GB."
    return f"the compiler says {text.splitlines()[0].partition(': ')[2][:200]}."


def _versions() -> str:
    from importlib.metadata import version

    return f"jax {jax.__version__}, libtpu {version('libtpu')}"


def _gb(number: float) -> str:
    if math.isnan(number):
        return ""
    return f"{number / 1e9:,.2f}" if number >= 1e9 else f"{number / 1e9:.3g}"


def _tera(number: float) -> str:
    return f"{number / 1e12:,.3g}"


def _seconds(number: float) -> str:
    return f"{number:.3g} s"
