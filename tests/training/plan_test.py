"""Planned FLOPs and bytes match models, and XLA's analysis of compiled steps.

Keras has one backend per process, and JAX accepts virtual devices only before it starts,
so this file is also a program, which compiles on JAX.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import keras
import numpy as np
import pytest

from genie_tf.models import Genie, LatentActionModel, MaskGitDynamics, VideoTokenizer
from genie_tf.originals import JAFAR_TRANSFORMER
from genie_tf.testing.tiny_models import tiny_genie, tiny_tokenizer
from genie_tf.training.optimizers import WarmupDecay, make_optimizer
from genie_tf.training.plan import (
    count_parameters,
    muon_flops,
    step_costs,
    step_memory,
    without_weights,
)

FRAMES = {"frame_shape": (32, 32, 3), "patch_size": 4}
NUM_CODES, NUM_PATCHES, CLIP_LENGTH, NUM_DEVICES = 256, 64, 4, 4


def num_parameters(model):
    return sum(np.array(weight).size for weight in model.weights)


def blocks(**changes) -> dict:
    return {"dim": 256, "num_blocks": 1, "num_heads": 4, **changes}


def make_tokenizer(encoder=None, decoder=None, **both) -> VideoTokenizer:
    encoder, decoder = (blocks(**(own or {}), **both) for own in (encoder, decoder))
    return VideoTokenizer(
        **FRAMES, num_codes=NUM_CODES, code_dim=32, encoder=encoder, decoder=decoder
    )


def make_latent_action_model(switches=None, **changes) -> LatentActionModel:
    both = {"encoder": blocks(**changes), "decoder": blocks(**changes)}
    return LatentActionModel(
        **FRAMES, num_actions=6, action_dim=32, **both, **(switches or {})
    )


def make_dynamics(switches=None, **changes) -> MaskGitDynamics:
    transformer = blocks(qk_norm=True, **changes)
    return MaskGitDynamics(NUM_CODES, NUM_PATCHES, 32, transformer, **(switches or {}))


def make_genie(**changes) -> Genie:
    return Genie(
        make_tokenizer(), make_latent_action_model(**changes), make_dynamics(**changes)
    )


def make_published_genie() -> Genie:
    codes = {"metric": "euclidean", "centered": False, "idle_limit": None}
    frames = {"sees_change": False, "predicts": "frame", "quantizer": codes}
    tokens = {"sees_previous": False, "predicts": "token"}
    return Genie(
        make_tokenizer(),
        make_latent_action_model(frames, remat=True),
        make_dynamics(tokens, remat=True),
    )


class Program(NamedTuple):
    """Training step to plan and compile."""

    make_model: Callable[..., keras.Model]
    mesh: Mapping[str, int] = {"data": NUM_DEVICES}
    batch: int = 16
    optimizer: str = "adamw"
    ema: float = 0.0
    accumulate: int = 1


windows = partial(
    make_tokenizer, encoder={"qk_norm": True}, decoder={"window": 1, "mlp_dim": 512}
)
reaches = partial(
    make_tokenizer,
    encoder={"attention": "space"},
    decoder={"attention": "space_time", "head_dim": 32},
)
PROGRAMS = {
    "tokenizer": Program(windows),
    "tokenizer, remat": Program(partial(windows, remat=True)),
    "other attentions": Program(reaches),
    "tokenizer of Jafar": Program(partial(make_tokenizer, options=JAFAR_TRANSFORMER)),
    "latent action model": Program(make_latent_action_model),
    "latent action model, remat": Program(
        partial(make_latent_action_model, remat=True)
    ),
    "genie": Program(make_genie),
    "genie, remat": Program(partial(make_genie, remat=True)),
    "genie as published, remat": Program(make_published_genie),
    "one clip per device, Muon": Program(
        make_tokenizer, batch=4, optimizer="muon", ema=0.9
    ),
    "in parts": Program(make_tokenizer, accumulate=4),
    "ZeRO-3": Program(make_tokenizer, {"fsdp": 4}),
    "tensor parallel": Program(make_tokenizer, {"data": 2, "model": 2}),
}


def compile_on_jax() -> None:
    """Print XLA's analysis of each program: FLOPs and bytes per device."""
    from genie_tf.training.jax_engine import JaxEngine
    from genie_tf.training.sharding import make_sharding

    make_sharding(virtual_devices=NUM_DEVICES)
    for name, program in PROGRAMS.items():
        make = partial(
            make_optimizer,
            schedule=WarmupDecay(1e-3, steps=10, warmup_steps=2),
            name=program.optimizer,
            ema=program.ema,
        )
        mesh = ",".join(f"{axis}:{size}" for axis, size in program.mesh.items())
        engine = JaxEngine(
            program.make_model, make, 1.0, make_sharding(mesh), program.accumulate
        )
        batch = {
            "video": np.zeros(
                (program.batch, CLIP_LENGTH, *FRAMES["frame_shape"]), "uint8"
            ),
            "mask": np.ones((program.batch, CLIP_LENGTH, NUM_PATCHES), bool),
        }
        step, compiled = engine._train, []

        def compile_only(values, batches, step=step, compiled=compiled):
            compiled.append(step.lower(values, batches).compile())
            return values, {}

        engine._train = compile_only
        engine.train_steps([batch])
        memory = compiled[0].memory_analysis()
        analysis = {
            "flops": compiled[0].cost_analysis()["flops"],
            "state": memory.argument_size_in_bytes,
            "peak": memory.argument_size_in_bytes + memory.temp_size_in_bytes,
        }
        print(json.dumps({name: analysis}))


@pytest.fixture(scope="module")
def measured():
    """XLA's analysis of each program."""
    flags = (
        # Otherwise the CPU compiler recomputes blocks early and keeps their activations.
        "--xla_disable_hlo_passes=cse_barrier_expander "
        # These save time and change neither FLOPs nor buffers.
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    )
    ended = subprocess.run(
        [sys.executable, __file__],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags},
    )
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    return {name: analysis for line in lines for name, analysis in line.items()}


def planned(program: Program) -> dict:
    """Return the plan for the values that `compile_on_jax` measures."""
    model = without_weights(program.make_model)
    memory = step_memory(
        model,
        CLIP_LENGTH,
        program.batch,
        program.mesh,
        program.optimizer,
        program.ema,
        program.accumulate,
    )
    costs = step_costs(model, CLIP_LENGTH).values()
    flops = program.batch * sum(cost.flops for cost in costs)
    # Each device orthogonalizes all kernels, and XLA counts the body of a loop once.
    muon = muon_flops(model) if program.optimizer == "muon" else 0
    return {
        "flops": flops / NUM_DEVICES / program.accumulate + muon,
        "state": memory.weights + memory.moments,
        "peak": memory.peak,
    }


@pytest.mark.parametrize("name", PROGRAMS)
def test_planned_cost_matches_xla(name, measured):
    actual, expected = measured[name], planned(PROGRAMS[name])
    errors = {key: actual[key] / expected[key] - 1 for key in expected}
    print(f"\n{name:28}", *(f"{key} {error:+6.1%}" for key, error in errors.items()))
    # With tensor parallelism, all devices repeat the work outside the blocks.
    assert abs(errors["flops"]) < (0.1 if "model" in PROGRAMS[name].mesh else 0.05)
    assert abs(errors["state"]) < 0.03
    assert abs(errors["peak"]) < 0.15


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_planned_moments_match_optimizer(name, ema):
    model = tiny_tokenizer()
    optimizer = make_optimizer(model, WarmupDecay(1e-3, 10, 2), name, ema=ema)
    slots = [x for x in optimizer.variables if len(x.shape)]
    memory = step_memory(model, CLIP_LENGTH, 4, {}, name, ema)
    assert memory.moments == sum(np.array(slot).nbytes for slot in slots)


def test_count_parameters_matches_model():
    counts = count_parameters(tiny_tokenizer)
    assert counts == {"tokenizer": num_parameters(tiny_tokenizer())}


def test_count_parameters_separates_parts():
    counts = count_parameters(tiny_genie)
    assert list(counts) == ["tokenizer", "latent_action_model", "dynamics"]
    parts = tiny_genie().parts()
    assert counts == {name: num_parameters(part) for name, part in parts.items()}


def test_without_weights_never_allocates():
    def make_large():
        large = {"dim": 1 << 13, "num_blocks": 1, "num_heads": 8}
        return MaskGitDynamics(
            num_codes=8, num_patches=4, action_dim=8, transformer=large
        )

    def peak_bytes():
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = peak_bytes()
    model = without_weights(make_large)
    with keras.StatelessScope():
        pass
    assert peak_bytes() - before < 4 * model.count_params() / 10


if __name__ == "__main__":
    compile_on_jax()
