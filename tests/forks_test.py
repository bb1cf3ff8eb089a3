"""A process knows whether models can run in it."""

import subprocess
import sys

import pytest

STARTED = {
    "nothing": "",
    "tensorflow": "import tensorflow as tf; tf.constant(1)",
    "jax": "import jax; jax.numpy.zeros(1)",
}


@pytest.mark.parametrize("started", STARTED)
def test_a_forked_process_knows_what_ran_before(started):
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
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    told = ended.stdout.splitlines()
    assert len(told) == 1
    if started == "nothing":
        assert told == ["It can."]
    else:
        assert told[0].startswith(
            "Models cannot run in this process, which was forked "
        )
        assert 'context="spawn"' in told[0] and "GenieVectorEnv" in told[0]
