"""Detection of processes forked after TensorFlow or JAX started.

A fork copies no threads, so waiting for those of TensorFlow or JAX would hang forever.
"""

import contextlib
import contextvars
import os
import sys
from collections.abc import Iterator

_can_run = True
_runs_nothing = contextvars.ContextVar("runs_nothing", default=False)


def check_can_run() -> None:
    """Check that models can run in this process.

    Raises:
        RuntimeError: if the process was forked after TensorFlow or JAX started.
    """
    if not (_can_run or _runs_nothing.get()):
        raise RuntimeError(
            "Models cannot run in this process, which was forked after TensorFlow or "
            'JAX started: start processes with context="spawn" '
            '(gymnasium.make_vec(..., vector_kwargs={"context": "spawn"}), '
            'multiprocessing.get_context("spawn")), or play many worlds in one process '
            'with genie_tf.envs.GenieVectorEnv (vectorization_mode="vector_entry_point").'
        )


@contextlib.contextmanager
def runs_nothing() -> Iterator[None]:
    """Allow creating models in any process, for code that only reads their shapes."""
    token = _runs_nothing.set(True)
    try:
        yield
    finally:
        _runs_nothing.reset(token)


def _after_fork() -> None:
    global _can_run
    # Neither library has a public way to ask whether it has started.
    tensorflow = sys.modules.get("tensorflow.python.eager.context")
    jax = sys.modules.get("jax._src.xla_bridge")
    started = getattr(getattr(tensorflow, "_context", None), "_initialized", False)
    if started or getattr(jax, "_backends", None):
        _can_run = False


os.register_at_fork(after_in_child=_after_fork)
