"""The JAX engine equals TensorFlow's with every layout of weights and batches.

Keras has one backend per process, and JAX accepts virtual devices only before it starts,
so this file is also a program, which trains on JAX.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from genie_tf.testing.tiny_models import (
    TRANSFORMER,
    tiny_batch,
    tiny_delta_tokenizer,
    tiny_genie,
    tiny_latent_action_model,
    tiny_tokenizer,
)
from genie_tf.training.checkpoints import Checkpoints
from genie_tf.training.optimizers import WarmupDecay, make_optimizer

NO_BLOCKS = {**TRANSFORMER, "num_blocks": 0}  # Quick to compile.
TWO_BLOCKS = {**TRANSFORMER, "num_blocks": 2, "remat": True}  # On JAX, one loop.
MODELS = {
    "tokenizer": partial(tiny_tokenizer, encoder=TWO_BLOCKS, decoder=NO_BLOCKS),
    # Its codebook is reinitialized within the steps of a test.
    "latent_action_model": partial(
        tiny_latent_action_model,
        decoder=NO_BLOCKS,
        quantizer={"quantize_after": 4},
    ),
    "genie": tiny_genie,
    # It codes frame after frame, in a loop without gradients.
    "changes": tiny_delta_tokenizer,
}
# Mesh, stage, and parts per batch, which is also the number of steps per call.
RUNS = [
    ("data:8", "tokenizer", 1),
    ("fsdp:8", "tokenizer", 1),
    ("data:4,model:2", "tokenizer", 1),
    ("data:2,fsdp:2,model:2", "latent_action_model", 1),
    ("data:8", "changes", 1),
    ("data:2,fsdp:2,model:2", "genie", 2),
]
NUM_STEPS = 10


def make_engine(engine_class, stage: str, devices=None, accumulate=1):
    return engine_class(
        MODELS[stage],
        lambda model: make_optimizer(model, WarmupDecay(1e-3, NUM_STEPS, 2), ema=0.9),
        0.5,
        devices,
        accumulate,
    )


def train(engine, calls: int = NUM_STEPS) -> dict[str, list[float]]:
    """Return the metrics of each step, and of an evaluation at the end."""
    batches = [tiny_batch(step, batch=16) for step in range(NUM_STEPS)]
    per_call = NUM_STEPS // calls
    records = [
        engine.train_steps(batches[i : i + per_call])
        for i in range(0, NUM_STEPS, per_call)
    ]
    scores = engine.eval_step(tiny_batch(NUM_STEPS, batch=16))
    return {
        name: [float(x) for record in records for x in np.array(record[name])]
        + [float(scores[x]) for x in {name} & scores.keys()]
        for name in records[0]
    }


def local_share(variables) -> float:
    """Return the share of the transformers' bytes that is on the first device."""
    values = [variable.value for variable in variables if "block" in variable.path]
    on_first = sum(value.addressable_shards[0].data.nbytes for value in values)
    return on_first / sum(value.nbytes for value in values)


def train_on_jax(folder: Path) -> None:
    """Resume from TensorFlow's checkpoints, and write metrics and checkpoints."""
    from genie_tf.training.jax_engine import JaxEngine
    from genie_tf.training.sharding import Sharding, make_sharding

    make_sharding(virtual_devices=8)
    for mesh, stage, parts in RUNS:
        engine = make_engine(JaxEngine, stage, make_sharding(mesh), parts)
        Checkpoints(folder / stage).restore(engine.model, engine.optimizer)
        metrics = train(engine, calls=NUM_STEPS // parts)
        shares = [local_share(x) for x in (engine.model.weights, engine._variables[2])]
        place = folder / mesh / stage
        checkpoints = Checkpoints(place)
        checkpoints.save(NUM_STEPS, engine.model, engine.optimizer)
        checkpoints.wait()
        (place / "metrics.json").write_text(json.dumps([metrics, shares]))
    errors = {}
    for mesh in ({"data": 3}, {"rows": 8}, {"data": 8, "model": 0}):
        with pytest.raises(ValueError) as error:
            Sharding(mesh)
        errors[str(mesh)] = str(error.value)
    with pytest.raises(ValueError) as error:
        make_sharding("model:8").variable_axes("st_block/mlp_in/kernel", (16, 20))
    errors["width"] = str(error.value)
    with pytest.raises(ValueError) as error:
        engine.train_steps([tiny_batch(0, batch=4)])
    errors["batch"] = str(error.value)
    (folder / "errors.json").write_text(json.dumps(errors))
    assert "tensorflow" not in sys.modules


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of JAX's results, and TensorFlow's engine and metrics of each stage."""
    from genie_tf.training.engine import TensorFlowEngine

    folder = tmp_path_factory.mktemp("jax")
    engines = {stage: make_engine(TensorFlowEngine, stage) for stage in MODELS}
    for stage, engine in engines.items():
        # Programs are slow to compile, and one side of the comparison suffices.
        engine._gradients = engine._replica_gradients
        engine._train, engine._eval = engine._train_batches, engine._eval_replicas
        checkpoints = Checkpoints(folder / stage)
        checkpoints.save(0, engine.model, engine.optimizer)
        checkpoints.wait()
    # Optimizing programs takes longer than running them.
    flags = (
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    )
    ended = subprocess.run(
        [sys.executable, __file__, folder],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags},
    )
    assert ended.returncode == 0, ended.stderr
    # XLA prints this when it must gather a badly sharded tensor.
    assert "rematerialization" not in ended.stderr
    return folder, {stage: (engine, train(engine)) for stage, engine in engines.items()}


@pytest.mark.parametrize(("mesh", "stage"), [run[:2] for run in RUNS])
def test_every_layout_equals_tensorflow_on_one_device(mesh, stage, trained):
    from genie_tf.training.engine import TensorFlowEngine

    folder, engines = trained
    engine, expected = engines[stage]
    metrics, _ = json.loads((folder / mesh / stage / "metrics.json").read_text())
    assert metrics.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(
            metrics[name], expected[name], rtol=1e-3, err_msg=name
        )
    other = make_engine(TensorFlowEngine, stage)
    Checkpoints(folder / mesh / stage).restore(other.model, other.optimizer)
    for mine, theirs in zip(
        [*engine.model.weights, *engine.optimizer.variables],
        [*other.model.weights, *other.optimizer.variables],
        strict=True,
    ):
        # A step has length 1e-3; Adam divides by small numbers.
        np.testing.assert_allclose(mine, theirs, atol=1e-4, err_msg=mine.path)


def test_zero_3_divides_weights_and_moments(trained):
    def shares(mesh):
        text = (trained[0] / mesh / "tokenizer" / "metrics.json").read_text()
        return json.loads(text)[1]

    assert shares("data:8") == [1, 1]
    assert shares("fsdp:8") == [1 / 8, 1 / 8]
    # Norms and the biases of summed outputs are not divided.
    for share in shares("data:4,model:2"):
        assert 1 / 2 < share < 0.55


def test_errors_are_one_sentence(trained):
    assert json.loads((trained[0] / "errors.json").read_text()) == {
        "{'data': 3}": "The mesh data:3 must have exactly the 8 devices available; it "
        "has 3.",
        "{'rows': 8}": "A mesh has the axes data, fsdp, model; received rows.",
        "{'data': 8, 'model': 0}": "The mesh data:8,model:0 must have exactly the 8 "
        "devices available; it has 0.",
        "width": "The mesh axis model:8 must divide heads and feed-forwards; "
        "st_block/mlp_in/kernel has 20 columns or rows.",
        "batch": "A batch must split evenly over data x fsdp = 4 shares of the mesh and "
        "2 parts each; received 4 clips.",
    }


if __name__ == "__main__":
    train_on_jax(Path(sys.argv[1]))
