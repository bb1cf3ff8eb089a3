"""Programs report errors before they import Keras, which takes seconds."""

import subprocess
import sys

import pytest

RUN = """
import sys
from genie_tf.experiments import {program}
sys.argv[0] = "genie-{program}"
try:
    {program}.run()
finally:
    assert not {{"keras", "tensorflow", "jax"}} & sys.modules.keys()
"""
GENERATE = {
    "preset": "genie_coinrun",
    "prompt": "prompt.png",
    "actions": "1,1",
    "output": "frames.gif",
}


def run_invalid(program: str, settings: dict, folder) -> str:
    flags = [f"--{name}={value}" for name, value in settings.items()]
    ended = subprocess.run(
        [sys.executable, "-c", RUN.format(program=program), *flags],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert ended.returncode == 2, ended.stderr
    return ended.stderr


@pytest.mark.parametrize(
    ("program", "settings"),
    [
        ("generate", GENERATE),
        ("play", {}),
        ("export", {"output": "model"}),
        ("evaluate", {"dataset": "coinrun/random_hard", "output": "report"}),
        ("tokenize_dataset", {"dataset": "coinrun/random_hard", "output": "tokens"}),
    ],
)
def test_unknown_preset_is_reported_without_importing_keras(
    program, settings, tmp_path
):
    errors = run_invalid(program, {**settings, "preset": "nope"}, tmp_path)
    assert "There is no preset nope: expected a folder, or the name of one" in errors


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompt": "nope.png"}, "nope.png"),
        ({"actions": "1,8"}, "--actions must be numbers from 0 to 7"),
        ({"output": "frames.txt"}, "frames.txt"),
    ],
)
def test_invalid_generate_input_is_reported_without_importing_keras(
    wrong, message, tmp_path
):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "prompt.png")
    assert message in run_invalid("generate", GENERATE | wrong, tmp_path)


def test_keras_is_imported_without_unused_libraries():
    code = """
import sys
from genie_tf.experiments import cli
cli.import_keras()
assert "keras" in sys.modules
assert not {"matplotlib", "sklearn"} & sys.modules.keys()
import matplotlib
"""
    subprocess.run([sys.executable, "-c", code], check=True)
