"""Ctrl-C that ends a program with one line and exit code 130.

Imports only the standard library, so that this works during all other imports.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

EXIT_CODE = 128 + signal.SIGINT
# Cleanup can wait for a thread, and TensorFlow can compile for minutes.
_SECONDS_TO_CLEAN_UP = 2


def run_interruptible(work: Callable[[], None]) -> None:
    """Call `work` so that SIGINT interrupts it.

    The first SIGINT prints a line and raises KeyboardInterrupt in `work`, which removes
    half-written files. The program ends when that is done, or after two seconds. It
    ends immediately if it was importing modules, and at a second SIGINT. What libraries
    print about the interruption is hidden.

    Args:
        work: the complete program.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        # A closed stream is replaced, or another file might get its number.
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, descriptor)
            if nowhere != descriptor:
                os.close(nowhere)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(descriptor, mode, closefd=False))
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        work()  # An outer call handles SIGINT, or it is ignored, as under nohup.
        return
    interrupted, working = threading.Event(), True
    # Reentrant, because a second SIGINT can come while the first is reported.
    lock = threading.RLock()
    unprinted = [f"{os.path.basename(sys.argv[0])}: interrupted\n"]

    def announce():
        with lock:  # Neither thread continues before the line is printed.
            if unprinted:
                _print_last_line(unprinted.pop())

    def interrupt(_, frame):
        announce()
        if interrupted.is_set() or not working:
            os._exit(EXIT_CODE)
        interrupted.set()
        if _is_importing(frame):
            _exit()
        raise KeyboardInterrupt

    def watch():
        while os.read(reader, 1)[0] != signal.SIGINT or not is_ours():
            pass
        announce()
        time.sleep(_SECONDS_TO_CLEAN_UP)
        os._exit(EXIT_CODE)

    def is_ours():  # A web server has handlers of its own while it runs.
        return signal.getsignal(signal.SIGINT) is interrupt

    # Python calls a handler when the main thread next runs Python code, but writes to
    # the wakeup file immediately.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGINT, interrupt)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        work()
    finally:
        working = False
        if interrupted.is_set():
            _exit()


def _exit() -> None:
    """End the program without waiting for its threads."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    atexit._run_exitfuncs()  # They remove temporary files.
    os._exit(EXIT_CODE)


def _print_last_line(line: str) -> None:
    """Print a line to stderr, below any progress bar, and silence stderr after it."""
    bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
    if os.isatty(2) or getattr(bars, "_instances", None):
        line = f"\n{line}"
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Closed.
        stderr = sys.stderr.fileno()
        os.write(stderr, line.encode(errors="replace"))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (stderr, 2):
            os.dup2(nowhere, descriptor)


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported: such code expects no interruption."""
    while frame and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None
