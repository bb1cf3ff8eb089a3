"""Detection of processes in which models cannot run."""

import subprocess
import sys

import pytest

STARTED = {
    "nothing": "",
    "tensorflow": "import tensorflow as tf; tf.constant(1)",
    "jax": "import jax; jax.numpy.zeros(1)",
}


@pytest.mark.parametrize("started", STARTED)
def test_forked_process_detects_libraries_started_before(started):
    program = f"""
import multiprocessing
from genie_tf.forks import check_can_run, runs_nothing
{STARTED[started]}
check_can_run()

def run():
    with runs_nothing():
        check_can_run()
    try:
        check_can_run()
    except RuntimeError as error:
        print(error)
    else:
        print("It can.")

process = multiprocessing.get_context("fork").Process(target=run)
process.start()
process.join()
"""
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    (line,) = process.stdout.splitlines()
    if started == "nothing":
        assert line == "It can."
    else:
        assert line.startswith("Models cannot run in this process, which was forked ")
        assert 'context="spawn"' in line and "GenieVectorEnv" in line
