"""What is set for all tests, before TensorFlow is imported, and inherited by programs."""

import atexit
import os
import shutil
import signal
import tempfile

# Tests interrupt programs, which would not hear it where the tests run in the background.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_CACHE = "tf_xla_persistent_cache_directory"

# XLA compiles each program once for the whole session, whichever test needs it.
if _CACHE not in os.environ.get(
    "TF_XLA_FLAGS", ""
):  # And not a worker of this session.
    _folder = tempfile.mkdtemp(prefix="genie_tf_tests_")
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    os.environ["TF_XLA_FLAGS"] = f"--{_CACHE}={_folder}"
