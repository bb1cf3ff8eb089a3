"""The TensorFlow engine uses XLA, and its results do not depend on how a batch is split.

TensorFlow accepts virtual CPUs and other workers only before it starts, so this file is
also a program, which trains on them.
"""

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from genie_tf.testing.tiny_models import (
    TinyAutoencoder,
    tiny_batch,
    tiny_genie,
    tiny_latent_action_model,
    tiny_tokenizer,
)
from genie_tf.training.checkpoints import Checkpoints
from genie_tf.training.engine import TensorFlowEngine
from genie_tf.training.optimizers import (
    WarmupDecay,
    averaged_weights,
    make_optimizer,
)
from genie_tf.training.strategies import make_strategy


def autoencoder():
    keras.utils.set_random_seed(0)
    return TinyAutoencoder()


MODELS = {
    "autoencoder": autoencoder,
    "tokenizer": tiny_tokenizer,
    # Its codebook is reinitialized within the steps of a test.
    "latent_action_model": partial(
        tiny_latent_action_model, quantizer={"quantize_after": 4}
    ),
    "genie": tiny_genie,
}
STAGES = ("tokenizer", "latent_action_model", "genie")
NUM_STEPS = 10


def make_engine(stage: str, strategy=None, accumulate=1, **optimizer):
    return TensorFlowEngine(
        MODELS[stage],
        lambda model: make_optimizer(
            model, WarmupDecay(1e-3, NUM_STEPS, 2), **optimizer
        ),
        clip_norm=0.5,
        strategy=strategy,
        accumulate=accumulate,
    )


def disable_xla(engine):
    """Turn XLA off: it is slow to compile, and one side of a comparison suffices."""
    functions = engine._replica_gradients, engine._train_batches, engine._eval_replicas
    engine._gradients, engine._train, engine._eval = (
        tf.function(function, autograph=False) for function in functions
    )
    return engine


def worker_share(engine, step):
    """Return a worker's share of the batch of a step."""
    return {
        name: np.split(array, engine.num_workers)[engine.worker]
        for name, array in tiny_batch(step).items()
    }


def train(engine: TensorFlowEngine, calls: int = NUM_STEPS) -> dict[str, list[float]]:
    """Return the metrics of each step, and of an evaluation at the end."""
    batches = [worker_share(engine, step) for step in range(NUM_STEPS)]
    per_call = NUM_STEPS // calls
    records = [
        engine.train_steps(batches[i : i + per_call])
        for i in range(0, NUM_STEPS, per_call)
    ]
    scores = engine.eval_step(worker_share(engine, NUM_STEPS))
    return {
        name: [float(x) for record in records for x in np.array(record[name])]
        + [float(scores[x]) for x in {name} & scores.keys()]
        for name in records[0]
    }


def train_on_several(folder: Path, strategy: str, replicas: int, stages) -> None:
    """Write metrics and a checkpoint of each stage to a folder."""
    strategy = make_strategy(strategy, virtual_devices=replicas)
    for stage in stages:
        engine = make_engine(stage, strategy)
        if stage != "tokenizer" or replicas != 2:
            disable_xla(engine)
        metrics = {"replicas": engine.num_replicas, **train(engine)}
        if engine.worker == 0:
            (folder / f"{stage}.json").write_text(json.dumps(metrics))
            checkpoints = Checkpoints(folder / stage)
            checkpoints.save(NUM_STEPS, engine.model, engine.optimizer)
            checkpoints.wait()


def start(folder: Path, strategy: str, replicas: int, *stages, **environment):
    return subprocess.Popen(
        [sys.executable, __file__, folder, strategy, str(replicas), *stages],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


def finish(program):
    output, _ = program.communicate()
    assert program.returncode == 0, output


@pytest.fixture(scope="module")
def two_replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_replicas")
    finish(start(folder, "mirrored", 2, *STAGES))
    return folder


@pytest.fixture(scope="module")
def four_replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four_replicas")
    finish(start(folder, "mirrored", 4, "tokenizer"))
    return folder


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_workers")
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{x.getsockname()[1]}" for x in (first, second)]
    programs = [
        start(
            folder,
            "multi_worker",
            1,
            "tokenizer",
            TF_CONFIG=json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": index},
                }
            ),
        )
        for index in range(2)
    ]
    for program in programs:
        finish(program)
    return folder


@pytest.fixture(scope="module")
def one_replica():
    """Trained engine, metrics and initial weights of each stage."""
    trained = {}
    for stage in STAGES:
        engine = disable_xla(make_engine(stage))
        before = [np.array(v) for v in engine.model.trainable_variables]
        trained[stage] = engine, train(engine), before
    return trained


def check_equal(metrics, expected, model, other):
    assert metrics.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(
            metrics[name], expected[name], rtol=1e-3, err_msg=name
        )
    for mine, theirs in zip(model.weights, other.weights, strict=True):
        # A step has length 1e-3; Adam divides by small numbers.
        np.testing.assert_allclose(mine, theirs, atol=1e-4, err_msg=mine.path)


@pytest.mark.parametrize(
    ("stage", "split", "replicas"),
    [
        *((stage, "two_replicas", 2) for stage in STAGES),
        # Tracing takes most of the time, so only one stage is tested.
        ("tokenizer", "four_replicas", 4),
        ("tokenizer", "two_workers", 2),
    ],
)
def test_replicas_equal_one_device(stage, split, replicas, one_replica, request):
    folder = request.getfixturevalue(split)
    engine, expected, before = one_replica[stage]
    metrics = json.loads((folder / f"{stage}.json").read_text())
    assert metrics.pop("replicas") == replicas
    # Checkpoints of several replicas can be restored on one.
    other = make_engine(stage)
    Checkpoints(folder / stage).restore(other.model, other.optimizer)
    check_equal(metrics, expected, engine.model, other.model)
    moved = [
        np.abs(np.array(v) - old).max()
        for v, old in zip(engine.model.trainable_variables, before, strict=True)
    ]
    assert max(moved) > 5e-3


def test_parts_and_steps_per_call_do_not_change_result(one_replica):
    engine, expected, _ = one_replica["tokenizer"]
    other = disable_xla(make_engine("tokenizer", accumulate=2))
    metrics = train(other, calls=2)
    check_equal(metrics, expected, engine.model, other.model)


def test_xla_compiles_parts_and_several_steps():
    engine = make_engine("autoencoder", accumulate=2)
    metrics = engine.train_steps([tiny_batch(0), tiny_batch(1)])
    other = disable_xla(make_engine("autoencoder"))
    for step in range(2):
        expected = other.train_steps([tiny_batch(step)])
        np.testing.assert_allclose(
            metrics["loss"][step], expected["loss"][0], rtol=1e-5
        )


def test_averaged_weights_are_exponential_average():
    engine = disable_xla(make_engine("autoencoder", ema=0.5))
    kernel = engine.model.encoder.kernel
    average = None
    for step in range(4):
        engine.train_steps([tiny_batch(step)])
        value = np.array(kernel)
        average = value if average is None else 0.5 * average + 0.5 * value
    with averaged_weights(engine.model, engine.optimizer):
        np.testing.assert_allclose(kernel, average, atol=1e-6)
    np.testing.assert_array_equal(kernel, value)
    assert np.abs(average - value).max() > 1e-4


def test_first_step_initializes_codes():
    engine = make_engine("autoencoder")
    before = np.array(engine.model.quantizer.codebook)
    batch = tiny_batch(0)
    latents = np.array(engine.model(batch["video"])["latents"]).reshape(-1, 8)
    engine.train_steps([batch])
    after = np.array(engine.model.quantizer.codebook)
    from_data = [np.abs(latents - code).max(-1).min() < 1e-5 for code in after]
    assert np.sum(from_data) == 24 - np.sum(np.abs(after - before).max(-1) < 2e-3)
    assert np.sum(from_data) > 12


def test_one_replica_is_one_xla_program():
    engine = make_engine("autoencoder")
    batch = {name: tf.constant(x) for name, x in tiny_batch(0).items()}
    batches = {name: x[None] for name, x in batch.items()}
    for function, argument in ((engine._train, batches), (engine._eval, batch)):
        program = function.experimental_get_compiler_ir(argument)(stage="optimized_hlo")
        assert program.startswith("HloModule") and "fusion" in program


def test_xla_can_lower_complete_genie_step():
    batches = {name: x[None] for name, x in tiny_batch(0).items()}
    train = make_engine("genie")._train
    program = train.experimental_get_compiler_ir(batches)(stage="hlo")
    assert program.startswith("HloModule")


def test_metrics_include_global_gradient_norm():
    engine = make_engine("autoencoder")
    batch = tiny_batch(0)
    with tf.GradientTape() as tape:
        loss = engine.model.losses_and_metrics(batch)[0]["loss"]
    gradients = tape.gradient(loss, engine.model.trainable_variables)
    norm = np.sqrt(sum(np.sum(np.array(g) ** 2) for g in gradients))
    metrics = engine.train_steps([batch])
    assert float(metrics["gradient_norm"][0]) == pytest.approx(norm, rel=1e-4)
    assert float(metrics["loss"][0]) == pytest.approx(float(loss), rel=1e-5)


def test_batch_must_split_evenly():
    with pytest.raises(ValueError) as error:
        make_engine("autoencoder", accumulate=3).train_steps([tiny_batch(0)])
    assert str(error.value) == (
        "A batch must split evenly over 1 replicas and 3 parts each; received 4 clips."
    )


if __name__ == "__main__":
    train_on_several(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
