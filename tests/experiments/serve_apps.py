"""Import what the programs need, and run each requested one in a fork."""

import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import resource
import runpy
import signal
import sys
import threading
import time

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


def serve() -> None:
    """Run the programs named on standard input, and print their exit codes."""
    for module in PRELOADED:
        importlib.import_module(module)
    gc.freeze()  # Otherwise collection in a fork would copy the memory of all objects.
    for line in sys.stdin:
        job = json.loads(line)
        # Its exit skips freeing all TensorFlow objects, which takes two seconds.
        app = multiprocessing.get_context("fork").Process(target=become, kwargs=job)
        app.start()
        app.join()
        with open(os.path.join(job["printed"], "stderr")) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        print(app.exitcode, flush=True)


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
    # Tracing and compiling would take most of the time; other tests cover them.
    tf.config.run_functions_eagerly(app != "export")
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(os.path.join(printed, name), "wb") as file:
            os.dup2(file.fileno(), number)
            # Held until the program and its stderr filter have closed the file.
            fcntl.flock(number, fcntl.LOCK_EX)
    os.chdir(folder)
    if home:
        os.environ["HOME"] = home
    if largest_file != resource.RLIM_INFINITY:
        os.environ.pop("TF_XLA_FLAGS", None)  # Do not write to the shared cache.
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if terminate_at:
        threading.Thread(target=terminate, args=[terminate_at], daemon=True).start()
    sys.argv = [app, *arguments]
    runpy.run_module(f"genie_tf.experiments.{app}", run_name="__main__", alter_sys=True)


def terminate(at: str) -> None:
    """Send SIGTERM to this process once a file is not empty."""
    while not os.path.exists(at) or not os.path.getsize(at):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve()
