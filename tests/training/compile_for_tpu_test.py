"""Reports say what the compiler and the plan say, and what to change."""

import importlib.util
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genie_tf.experiments.cli.config_files import load_config
from genie_tf.presets.without_weights import without_weights
from genie_tf.training.build import build_model
from genie_tf.training.compile_for_tpu import (
    Compiled,
    _refusal,
    analyze,
    report,
    what_to_change,
)
from genie_tf.training.hlo import Collective
from genie_tf.training.plan import step_memory
from genie_tf.training.tpu_slice import CHIPS, TpuSlice

needs_libtpu = pytest.mark.skipif(
    not importlib.util.find_spec("libtpu"), reason="needs libtpu"
)
CHIP = CHIPS["v5e"]


def make_sharding(**size):
    size = {"data": 1, "fsdp": 1, "model": 1, **size}
    return SimpleNamespace(size=size, num_batch_shares=size["data"] * size["fsdp"])


@pytest.fixture(scope="module")
def config():
    return load_config("coinrun_tokenizer:plain_tiny")


@pytest.fixture(scope="module")
def model(config):
    return without_weights(lambda: build_model(config))


def test_shortest_step_follows_from_peaks():
    exchanges = [Collective("all-reduce", 1e9, 5), Collective("all-gather", 5e9, 1)]
    compiled = Compiled(197e12, 0, 0, 2 * 819e9, exchanges)
    assert compiled.seconds(CHIP) == {
        "compute": 1,
        "memory": 2,
        # Two links of 50 GB per second.
        "interconnect": 0.1,
    }


def test_report_has_compiler_beside_plan(config, model):
    plan = step_memory(model, config.clip_length, config.batch_size, {"data": 8})
    compiled = Compiled(1e12, 1.25e9, 3.5e9, 4e9, [Collective("all-gather", 2e9, 3)])
    text = report(compiled, model, config, make_sharding(data=8), CHIP, hosts=2)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    state = (plan.weights + plan.moments) / 1e9
    assert f"weights and moments GB 1.25 {state:.3g}" in lines
    assert f"peak GB 3.50 {plan.peak / 1e9:.3g}" in lines
    assert "all-gather 3 6.00" in lines
    assert (
        "Shortest step: compute 0.00508 s, memory 0.00488 s, interconnect 0.06 s. It is "
        "bound by interconnect, so 550 steps take at least 0.00 days."
    ) in lines
    # 8 clips of 4 frames in 0.06 s.
    assert "At that speed, each of 2 hosts reads 267 frames per second." in lines
    assert lines[-1] == "Fits: 3.50 GB of the 16.91 GB of a chip."


def test_report_says_what_to_change_if_step_does_not_fit(config, model):
    compiled = Compiled(1e12, refusal="the compiler needs 20.00 GB.")
    text = report(compiled, model, config, make_sharding(), CHIP)
    assert text.splitlines()[-1] == (
        "Does not fit into the 16.91 GB of a chip: the compiler needs 20.00 GB. "
        "Recompute activations: --config.remat."
    )
    assert "nan" not in text


@pytest.mark.parametrize(
    ("changes", "size", "advice"),
    [
        ({}, {}, "Recompute activations: --config.remat."),
        (
            {"remat": True, "batch_size": 24, "accumulate": 2},
            {"data": 4},
            "Process a batch in more parts: --config.accumulate=6.",
        ),
        (
            {"remat": True},
            {"data": 8},
            "Divide weights and moments: --mesh=fsdp:8.",
        ),
        (
            {"remat": True},
            {"fsdp": 8},
            "Choose a slice with more chips, or chips with more memory.",
        ),
    ],
)
def test_advice_is_the_cheapest_change_that_is_left(changes, size, advice):
    config = load_config("coinrun_tokenizer:plain_tiny")
    config.update(changes)
    assert what_to_change(config, make_sharding(**size)) == advice


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in "
            "memory space hbm. Used 31.25G of 15.75G hbm. Exceeded by 15.50G.\n\nTotal",
            "the compiler needs 33.55 GB.",
        ),
        (
            "RESOURCE_EXHAUSTED: Allocation (size=33) would exceed memory (size=17)\n",
            "the compiler says Allocation (size=33) would exceed memory (size=17).",
        ),
    ],
)
def test_refusal_is_one_sentence(message, sentence):
    assert _refusal(message) == sentence


@needs_libtpu
def test_compiler_counts_what_loop_repeats():
    mesh = Mesh(np.array(TpuSlice("v5e:2x2").devices()), ("fsdp",))

    def shape(*sizes, axes):
        place = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(sizes, "float32", sharding=place)

    def multiply(x, kernels):
        return jax.lax.scan(lambda x, kernel: (x @ kernel, None), x, kernels)[0]

    x = shape(512, 256, axes=["fsdp"])
    kernels = shape(6, 256, 256, axes=[None, "fsdp"])
    compiled = analyze(jax.jit(multiply).trace(x, kernels), 4, 1)
    assert compiled.flops == pytest.approx(6 * 2 * 512 * 256 * 256 / 4, rel=0.1)
    assert compiled.arguments == 4 * (512 * 256 + 6 * 256 * 256) / 4
    assert compiled.peak >= compiled.arguments
    # Each chip sends its quarter of all kernels, maybe in bfloat16, to three others.
    sent = sum(x.calls * x.sent for x in compiled.collectives)
    whole = 6 * 256 * 256 * 3 / 4
    assert 2 * whole <= sent <= 4 * whole


@needs_libtpu
def test_compiler_refuses_what_does_not_fit():
    (device,) = TpuSlice("v5e:1x1").devices()
    place = jax.sharding.SingleDeviceSharding(device)
    large = jax.ShapeDtypeStruct((1 << 17, 1 << 17), "float32", sharding=place)
    compiled = analyze(jax.jit(lambda x: x[::-1] + x).trace(large), 1, 1)
    assert compiled.refusal.startswith("the compiler ")
