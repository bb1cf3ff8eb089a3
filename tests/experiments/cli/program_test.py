"""Common behavior of programs: Keras settings, output, help, positional arguments."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


def run_generate(folder: Path, **circumstances) -> subprocess.CompletedProcess:
    """Run genie-generate in its own process."""
    Image.new("RGB", (16, 16)).save(folder / "a.png")
    flags = {"preset": "genie_coinrun", "prompt": "a.png"}
    flags |= {"actions": "0", "output": "a.gif"}
    program = "from genie_tf.experiments.launch import generate; generate()"
    command = [sys.executable, "-c", program, *(f"--{k}={v}" for k, v in flags.items())]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, **circumstances
    )


@pytest.mark.parametrize(
    ("variables", "settings", "sentence"),
    [
        (
            {"KERAS_BACKEND": "torch"},
            "{}",
            "the backend of Keras must be tensorflow or jax; the environment variable "
            "KERAS_BACKEND says 'torch'",
        ),
        (
            {},
            '{"backend": "numpy"}',
            "the backend of Keras must be tensorflow or jax; keras.json says 'numpy'",
        ),
        (
            {},
            '{"image_data_format": "channels_first"}',
            "the image_data_format of Keras must be channels_last; keras.json says "
            "'channels_first'",
        ),
        (
            {},
            '{"epsilon": "small"}',
            "the epsilon of Keras in keras.json must be a number such as 1e-7",
        ),
        (
            {},
            "{",
            "keras.json must contain Keras settings as JSON; fix or delete it: Expecting "
            "property name .*",
        ),
        (
            {},
            "3",
            "keras.json must contain Keras settings as JSON; fix or delete it: .*",
        ),
    ],
)
def test_unsupported_keras_settings_are_rejected(
    tmp_path, variables, settings, sentence
):
    (tmp_path / "keras.json").write_text(settings)
    environment = {**os.environ, "KERAS_HOME": "", **variables}
    ended = run_generate(tmp_path, env=environment)
    assert ended.returncode == 2, ended.stderr
    assert re.fullmatch(f"-c: {sentence}\n", ended.stderr), ended.stderr


def test_missing_gpu_is_not_reported(tmp_path, trained):
    """Nothing else is printed to stderr either."""
    command = ["-m", "genie_tf.experiments.export", "--output=exported"]
    command += [f"--preset={trained}/tokenizer/model"]
    ended = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_closed_pipe_ends_program(tmp_path):
    command = ["-m", "genie_tf.experiments.train", "--help"]
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_full_standard_output_is_reported(tmp_path):
    command = ["-m", "genie_tf.experiments.plan"]
    command += ["--config=coinrun_tokenizer:tiny"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, *command], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode == 2
    assert ended.stderr == (
        "plan.py: cannot write to standard output: [Errno 28] No space left on device\n"
    )


@pytest.mark.parametrize(
    ("app", "example"),
    [
        ("train", "genie-train --config=coinrun_tokenizer:tiny"),
        ("evaluate", "genie-evaluate --preset=runs/genie/model --dataset="),
        ("generate", "genie-generate --preset=runs/genie/model --prompt=frame.png"),
        ("export", "genie-export --preset=runs/genie/model --output="),
        ("play", "genie-play --preset=runs/genie/model"),
        ("demo", "genie-demo --output=runs/demo"),
    ],
)
def test_help_shows_example_and_flags(run_app, tmp_path, app, example):
    ended = run_app(app, "--help", folder=tmp_path)
    assert ended.errors == []
    assert example in ended.out
    flags = {"train": "workdir", "demo": "data_dir"}
    assert f"--{flags.get(app, 'preset')}: " in ended.out


@pytest.mark.parametrize(
    "app", ["arrays", "train", "evaluate", "generate", "export", "play", "demo"]
)
def test_positional_arguments_are_rejected(run_app, runs, tmp_path, app):
    needed = {name.split()[0]: flags for name, flags in runs.items()}.get(app, {})
    arguments = [f"--{flag}={value}" for flag, value in needed.items()]
    ended = run_app(app, *arguments, "more", "words", folder=tmp_path)
    ended.check_refused(app, "expected only flags; received more words")
    assert os.listdir(tmp_path) == []
