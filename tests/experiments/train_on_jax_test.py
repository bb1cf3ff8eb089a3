"""End-to-end runs of genie-train with KERAS_BACKEND=jax."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOKENIZER = "train tokenizer"
LOG = "tokenizer/metrics.jsonl"


# Runs the program, and fails if it imported TensorFlow.
WITHOUT_TENSORFLOW = """
import runpy, sys
try:
    runpy.run_module("genie_tf.experiments.train", run_name="__main__", alter_sys=True)
finally:
    assert "tensorflow" not in sys.modules
"""


def train_on_jax(folder: Path, flags: dict) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            *(sys.executable, "-c", WITHOUT_TENSORFLOW),
            *(f"--{name}={value}" for name, value in flags.items()),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )


def test_tensorflow_resumes_run_started_on_jax(tmp_path, runs, run):
    ended = run("arrays", tmp_path, {})
    assert ended.code == 0, ended.errors
    changes = {"config.dataset": "arrays", "config.evaluate_every": 2}
    devices = {"virtual_devices": 2, "mesh": "fsdp:2"}
    flags = {**runs[TOKENIZER], **changes, **devices, "config.steps": 2}
    ended = train_on_jax(tmp_path, flags)
    assert ended.returncode == 0, ended.stderr
    ended = run(TOKENIZER, tmp_path, changes)
    assert ended.code == 0, ended.errors
    steps = [json.loads(line)["step"] for line in (tmp_path / LOG).open()]
    assert steps == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mesh": "data"}, "A mesh must be like data:4,model:2; received 'data'."),
        (
            {"strategy": "mirrored"},
            "--strategy and --tpu are for TensorFlow; with KERAS_BACKEND=jax, "
            "training runs on all devices of this machine, arranged by --mesh.",
        ),
        pytest.param(
            {"compile_for": "v5e:2x2"},
            "--compile_for needs the compiler for TPUs: pip install genie_tf[tpu]",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("libtpu") is not None, reason="has libtpu"
            ),
        ),
    ],
)
def test_invalid_jax_devices_are_rejected(tmp_path, runs, changes, sentence):
    ended = train_on_jax(tmp_path, {**runs[TOKENIZER], **changes})
    assert ended.returncode == 2
    assert ended.stderr == f"train.py: {sentence}\n"
    assert os.listdir(tmp_path) == []
