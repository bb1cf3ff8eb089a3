"""How a program runs: flags, one-sentence errors, readable output."""

import contextlib
import gc
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import app, flags, logging

from genie_tf import program_cache
from genie_tf.errors import DataError
from genie_tf.experiments.cli.checks import UserError
from genie_tf.experiments.cli.flags import check_numbers
from genie_tf.experiments.interrupts import run_interruptible

# TensorFlow prints these at every TF_CPP_MIN_LOG_LEVEL: about missing GPUs, and that a
# compiled program loaded from `program_cache` is not text.
_NOISE = (
    r"before absl::InitializeLog|cudart_stub\.cc|cuda_platform\.cc"
    r"|Error parsing text-format tensorflow\.XlaSerializedCacheEntry"
)
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")


def run(
    main: Callable[[], None],
    define_flags: Callable[[], None],
    required: Sequence[str] = (),
) -> None:
    """Parse flags and call `main`.

    Invalid input ends with one sentence and exit code 2, SIGINT with one line and exit
    code 130. If the reader of the output has left, such as head, the exit code is 141.

    Args:
        main: function that runs the program and reads absl's flags.
        define_flags: function that defines the flags. Not at import time: two imported
            programs may share a flag name.
        required: names of required flags.
    """
    prepare()

    def parse(argv):
        try:
            define_flags()  # Reads --flagfile if it defines a config.
            _describe_to_absl(main)
            rest = flags.FLAGS(argv)
            check_numbers()
        except (KeyError, AttributeError) as error:
            name = re.findall(r"[.\w]+", str(error))[-1]
            _fail(f"the config has no setting '{name}'")
        except (flags.Error, ValueError, TypeError) as error:
            _fail(str(error))
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        missing = [f"--{name}" for name in required if flags.FLAGS[name].value is None]
        if missing:
            _fail(f"expected {' and '.join(missing)}; see --help")
        return rest

    def guarded(argv):
        if len(argv) > 1:
            _fail(f"expected only flags; received {' '.join(argv[1:])}")
        _hide_noise()
        try:
            main()
        except (UserError, DataError, FloatingPointError) as error:
            _fail(str(error))
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            _fail(f"not enough memory: {(str(error).splitlines() or [''])[0]}")

    def start():
        with _checked_output():
            app.run(guarded, flags_parser=parse)

    run_interruptible(start)


def prepare() -> None:
    """Configure the process; call this before Keras is imported."""
    program_cache.use()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # On a CPU, XLA frees large buffers after each step. This allocator keeps them, so
    # the system does not clear the same pages again. Its default limit is 64 GiB.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(memory // 2**20))
    # Importing TensorFlow creates a million objects. Collecting garbage less often
    # saves half a second.
    gc.set_threshold(50_000)


class _Output(io.FileIO):
    """Standard output, whose errors are distinct from those of other files."""

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise _OutputError from error


class _OutputError(Exception):
    pass


@contextlib.contextmanager
def _checked_output() -> Iterator[None]:
    """End the program cleanly if its output cannot be written."""
    descriptor = sys.stdout.fileno()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, "w", closefd=False)),
        encoding=sys.stdout.encoding,
        errors="backslashreplace",  # File names can have any encoding.
        line_buffering=sys.stdout.isatty(),
    )
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except _OutputError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)  # Python retries at exit.
        if isinstance(error.__cause__, BrokenPipeError):
            sys.exit(128 + signal.SIGPIPE)
        _fail(f"cannot write to standard output: {error.__cause__}")


def _is_out_of_memory(error: Exception) -> bool:
    # By name, so as not to import TensorFlow. XLA's errors differ only in their text.
    names = {kind.__name__ for kind in type(error).__mro__}
    known = names & {"MemoryError", "ResourceExhaustedError"}
    return bool(known) or str(error).startswith("RESOURCE_EXHAUSTED")


def _hide_noise() -> None:
    """Filter what TensorFlow writes to stderr on a machine without a GPU.

    Python's own stderr is unchanged, such as a terminal.
    """
    if any(map(os.path.exists, _GPU_DEVICES)) or not shutil.which("grep"):
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    command = ["grep", "--line-buffered", "-Ev", _NOISE]
    grep = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stderr)
    with grep.stdin:
        os.dup2(grep.stdin.fileno(), 2)
    sys.stderr = os.fdopen(stderr, "w", buffering=1, errors="backslashreplace")


def _describe_to_absl(main: Callable) -> None:
    """Make --help describe the program, even if a console script is the main module."""
    sys.modules["__main__"].__doc__ = main.__globals__["__doc__"]
    for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _fail(message: str) -> None:
    name = os.path.basename(sys.argv[0])
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
