"""Runs of other programs, as separate processes."""

import shlex
import subprocess
import sys
import time

from genie_tf.experiments.cli.checks import UserError


def run_module(module: str, *arguments) -> float:
    """Run a module as a command, print the command, and return the seconds it took.

    Raises:
        UserError: if the command fails; it has then printed the reason.
    """
    command = ["-m", module, *map(str, arguments)]
    print(f"$ python {shlex.join(command)}", flush=True)
    start = time.perf_counter()
    # In its own session, so that Ctrl-C reaches only this program; with Python's
    # stderr, because the filter of `cli` breaks progress bars.
    with subprocess.Popen(
        [sys.executable, *command], stderr=sys.stderr, start_new_session=True
    ) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.kill()
            raise
    if code:
        raise UserError(f"{module} failed with exit code {code}; see above")
    return time.perf_counter() - start
