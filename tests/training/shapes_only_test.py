"""A step traced without weights is the program of the engine that has them.

Keras has one backend per process, so this file is also a program, which runs on JAX.
"""

import json
import os
import subprocess
import sys
from unittest import mock

import pytest

from genie_tf.experiments.cli.config_files import load_config

BLOCKS = {"dim": 32, "num_blocks": 2, "num_heads": 2, "mlp_dim": 64}
MESH = "data:2,fsdp:2,model:2"


def make_config():
    config = load_config("coinrun_tokenizer:plain_tiny")
    config.update(batch_size=16, accumulate=2, steps_per_call=2, remat=True)
    config.optimizer.ema = 0.9
    config.model.update(frame_shape=(16, 16, 3), num_codes=24)
    for name in ("encoder", "decoder"):
        config.model[name].update(BLOCKS)
    return config


def compare_on_jax() -> None:
    """Print whether the programs are equal, and the counted and planned FLOPs."""
    import numpy as np

    from genie_tf.presets.without_weights import without_weights
    from genie_tf.training.build import build_model, make_engine
    from genie_tf.training.plan import step_costs
    from genie_tf.training.shapes_only import count_flops, trace_train_steps

    config = make_config()
    engine = make_engine(config, virtual_devices=8, mesh=MESH)
    lowered = []

    def lower_only(values, batches, train=engine._train):
        lowered.append(train.lower(values, batches))
        return values, {}

    clips = np.zeros((16, 4, 16, 16, 3), "uint8"), np.zeros((16, 3), "int32")
    batch = dict(zip(("video", "action"), clips, strict=True))
    with mock.patch.object(engine, "_train", lower_only):
        engine.train_steps([batch, batch])
    model = without_weights(lambda: build_model(config))
    traced = trace_train_steps(model, config, engine.sharding)
    planned = sum(cost.flops for cost in step_costs(model, 4).values())
    result = {
        "equal": traced.lower().as_text() == lowered[0].as_text(),
        "counted": count_flops(traced.jaxpr) / config.steps_per_call,
        "planned": config.batch_size * planned,
    }
    print(json.dumps(result))


@pytest.fixture(scope="module")
def compared():
    ended = subprocess.run(
        [sys.executable, __file__],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_program_without_weights_is_that_of_engine(compared):
    assert compared["equal"]


def test_counted_flops_match_plan(compared):
    assert compared["counted"] == pytest.approx(compared["planned"], rel=0.02)


if __name__ == "__main__":
    compare_on_jax()
