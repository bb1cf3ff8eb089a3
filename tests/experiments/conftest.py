"""Runs the apps as a user does, without importing TensorFlow anew for each run.

This file is also a program: it imports what the apps need, and then runs each app that
it is told to in a fork of itself.
"""

import dataclasses
import importlib
import json
import os
import re
import resource
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tensorflow as tf

PRELOADED = (
    "genie_tf.datasets.clips",
    "genie_tf.datasets.rlds_episodes",
    "genie_tf.evaluation",
    "genie_tf.media",
    "genie_tf.presets",
    "genie_tf.training.engine",
    "genie_tf.training.training_loop",
    "matplotlib.figure",
)
# TensorFlow's own lines, about which no program can do anything.
NOISE = re.compile(r"[IWEF]\d{4} |\d{4}-\d\d-\d\d |WARNING: All log messages before")


@dataclasses.dataclass
class Run:
    """How an app ended, and what it printed."""

    code: int
    out: str
    errors: list[str]


@pytest.fixture(scope="session")
def server():
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture(scope="session")
def run_app(server, tmp_path_factory):
    """A function that runs an app with arguments, in a folder.

    `largest_file`, in bytes, is all that a file can grow to; `terminate_at` names a file
    at whose first byte the app receives SIGTERM; `home` is the home folder.
    """
    printed = tmp_path_factory.mktemp("printed")

    def run(app: str, *arguments, folder: Path, **circumstances) -> Run:
        job = {
            "app": app,
            "arguments": [os.fspath(argument) for argument in arguments],
            "folder": os.fspath(folder),
            "printed": os.fspath(printed),
            **circumstances,
        }
        print(json.dumps(job), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        lines = (printed / "stderr").read_text().splitlines()
        errors = [line for line in lines if not NOISE.match(line)]
        return Run(code, (printed / "stdout").read_text(), errors)

    return run


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A TFDS folder that holds coinrun/tiny, episodes of 20 steps."""
    from genie_tf.datasets.coinrun import coinrun_dataset_builder

    folder = tmp_path_factory.mktemp("datasets")
    config = coinrun_dataset_builder.CoinRunConfig(
        name="tiny",
        description="A few levels, for tests.",
        levels={"train": [1, 2, 3], "validation": [10_000], "test": [20_000, 20_001]},
        steps_per_level=20,
    )
    builder = coinrun_dataset_builder.Builder(config=config, data_dir=folder)
    builder.download_and_prepare()
    return folder


def serve() -> None:
    """Run the apps that standard input names, and print how each ended."""
    for module in PRELOADED:
        importlib.import_module(module)
    # Compiling would take most of the time; other tests do it.
    function = tf.function
    tf.function = lambda *args, jit_compile=None, **kwargs: function(*args, **kwargs)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(
    app: str,
    arguments: list[str],
    folder: str,
    printed: str,
    largest_file: int = resource.RLIM_INFINITY,
    terminate_at: str = "",
    home: str = "",
) -> None:
    """Make this process `python -m genie_tf.experiments.APP ARGUMENTS`."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(os.path.join(printed, name), "wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    if home:
        os.environ["HOME"] = home
    if largest_file != resource.RLIM_INFINITY:
        os.environ.pop("TF_XLA_FLAGS", None)  # The compiled programs of all tests.
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if terminate_at:
        threading.Thread(target=terminate, args=[terminate_at], daemon=True).start()
    sys.argv = [app, *arguments]
    runpy.run_module(f"genie_tf.experiments.{app}", run_name="__main__", alter_sys=True)


def terminate(at: str) -> None:
    """Send SIGTERM to this process once there is something in a file."""
    while not os.path.exists(at) or not os.path.getsize(at):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve()
