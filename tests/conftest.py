"""Environment of all tests and their programs, set before TensorFlow is imported."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

# Tests interrupt programs, which would inherit an ignored SIGINT from a background shell.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files with the longest tests start first, so that no process waits for another.
_LONGEST = (
    "training/engine_test.py",
    "training/jax_engine_test.py",
    "training/plan_test.py",
    "contracts_test.py",
    "export_test.py",
    "evaluation/evaluator_test.py",
    "experiments/preview_test.py",
    "experiments/videos_test.py",
    "experiments/train_test.py",
    "experiments/evaluate_test.py",
    "envs_test.py",
    "models/keras_files_test.py",
)

_CACHE = "tf_xla_persistent_cache_directory"

# Each program is compiled once per session, and temporary files of libraries are deleted.
# Workers of the session inherit the variables.
if _CACHE not in os.environ.get("TF_XLA_FLAGS", ""):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    _folder = tempfile.mkdtemp(prefix="genie_tf_tests_")
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    os.environ["TF_XLA_FLAGS"] = f"--{_CACHE}={_folder}/programs"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{_folder}/programs"
    os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["TMPDIR"] = f"{_folder}/temporary"
    for _name in ("programs", "temporary"):
        os.mkdir(f"{_folder}/{_name}")
    tempfile.tempdir = None  # TMPDIR is read again.


def pytest_collection_modifyitems(items):
    """Put the tests of the longest files first."""
    places = {Path(__file__).parent / name: i for i, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
