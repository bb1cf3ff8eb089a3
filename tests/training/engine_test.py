"""The engine: XLA is used, and two replicas compute what one does.

TensorFlow can be given two virtual CPUs only before it starts, so this file is also a
program, which trains on two.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from genie_tf.testing.tiny_models import (
    TinyAutoencoder,
    tiny_batch,
    tiny_genie,
    tiny_tokenizer,
)
from genie_tf.training.checkpoints import restore_checkpoint, save_checkpoint
from genie_tf.training.engine import TensorFlowEngine
from genie_tf.training.optimizers import WarmupDecay, make_optimizer

MODELS = {
    "autoencoder": TinyAutoencoder,
    "tokenizer": tiny_tokenizer,
    "genie": tiny_genie,
}
STAGES = ("tokenizer", "genie")
NUM_STEPS = 10


def make_engine(stage: str, strategy=None) -> TensorFlowEngine:
    return TensorFlowEngine(
        MODELS[stage],
        lambda model: make_optimizer(model, WarmupDecay(1e-3, NUM_STEPS, 2)),
        clip_norm=0.5,
        strategy=strategy,
    )


def train(engine: TensorFlowEngine) -> dict[str, list[float]]:
    """Metrics of each step, and of an evaluation at the end."""
    records = [engine.train_step(tiny_batch(step)) for step in range(NUM_STEPS)]
    records.append(engine.eval_step(tiny_batch(NUM_STEPS)))
    return {
        name: [float(record[name]) for record in records if name in record]
        for name in records[0]
    }


def train_on_two_replicas(folder: Path) -> None:
    """Leaves metrics and a checkpoint of each stage in a folder."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for stage in STAGES:
        engine = make_engine(stage, strategy)
        if stage == "genie":  # XLA has compiled the tokenizer; twice would take long.
            engine._gradients = tf.function(engine._replica_gradients)
        metrics = {"replicas": engine.num_replicas, **train(engine)}
        (folder / f"{stage}.json").write_text(json.dumps(metrics))
        save_checkpoint(folder / stage, NUM_STEPS, engine.model, engine.optimizer)


@pytest.fixture(scope="module")
def two_replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    run = subprocess.run(
        [sys.executable, __file__, folder], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_two_replicas_compute_what_one_does(stage, two_replicas):
    one, two = make_engine(stage), make_engine(stage)
    # XLA is slow to compile, and needed on one side alone.
    one._train, one._eval = map(tf.function, (one._train_replicas, one._eval_replicas))
    start = [np.array(v) for v in one.model.trainable_variables]
    expected = train(one)
    found = json.loads((two_replicas / f"{stage}.json").read_text())
    assert found.pop("replicas") == 2
    assert found.keys() == expected.keys()
    for name in expected:
        # Perplexity and the like are means over replicas, of what each has seen.
        if not name.endswith(("codes_used", "perplexity")):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3)

    # The checkpoint of two replicas is one like any other.
    restore_checkpoint(two_replicas / stage, NUM_STEPS, two.model, two.optimizer)
    moved = 0.0
    for mine, theirs, old in zip(
        one.model.trainable_variables, two.model.trainable_variables, start, strict=True
    ):
        # Single steps are 1e-3 long.
        np.testing.assert_allclose(mine, theirs, atol=1e-4, err_msg=mine.path)
        moved = max(moved, np.abs(np.array(mine) - old).max())
    assert moved > 5e-3
    for mine, theirs in zip(
        one.model.non_trainable_variables, two.model.non_trainable_variables
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-5, err_msg=mine.path)


def test_codes_are_seeded_by_the_first_step():
    engine = make_engine("autoencoder")
    before = np.array(engine.model.quantizer.codebook)
    batch = tiny_batch(0)
    latents = np.array(engine.model(batch["video"])["latents"]).reshape(-1, 8)
    engine.train_step(batch)
    after = np.array(engine.model.quantizer.codebook)
    from_data = [np.abs(latents - code).max(-1).min() < 1e-5 for code in after]
    assert np.sum(from_data) == 24 - np.sum(np.abs(after - before).max(-1) < 2e-3)
    assert np.sum(from_data) > 12


def test_one_replica_runs_one_xla_program():
    engine = make_engine("autoencoder")
    batch = {name: tf.constant(x) for name, x in tiny_batch(0).items()}
    for function in (engine._train, engine._eval):
        program = function.experimental_get_compiler_ir(batch)(stage="optimized_hlo")
        assert program.startswith("HloModule") and "fusion" in program


def test_metrics_include_the_norm_of_all_gradients():
    engine = make_engine("autoencoder")
    batch = tiny_batch(0)
    with tf.GradientTape() as tape:
        loss = engine.model.losses_and_metrics(batch)[0]["loss"]
    gradients = tape.gradient(loss, engine.model.trainable_variables)
    norm = np.sqrt(sum(np.sum(np.array(g) ** 2) for g in gradients))
    metrics = engine.train_step(batch)
    assert float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-4)
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-5)


def test_a_batch_has_to_split_evenly(monkeypatch):
    engine = make_engine("autoencoder")
    monkeypatch.setattr(engine, "num_replicas", 3)
    with pytest.raises(ValueError) as error:
        engine.train_step(tiny_batch(0))
    assert str(error.value) == (
        "The global batch must split evenly over 3 replicas; received 4 clips."
    )


if __name__ == "__main__":
    train_on_two_replicas(Path(sys.argv[1]))
