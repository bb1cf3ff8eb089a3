"""Ctrl-C at any time: one line, exit code 130, and no partial files."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

# A program that calls `run_interruptible`. It prints when the test may interrupt it.
PROGRAM = """
import sys, time
from genie_tf.experiments.interrupts import run_interruptible
sys.argv[0] = "bin/genie-test"
def work():
{work}
run_interruptible(work)
{after}
"""
SLEEP = "print('now', flush=True); time.sleep(60)"
# Waits for itself outside the interpreter, so that no Python handler runs.
DEADLOCK = (
    "import ctypes",
    "lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)",
    "lock(mutex)",
    "print('now', flush=True)",
    "lock(mutex)",
)
MODULE = """
import runpy, sys
from genie_tf.experiments.interrupts import run_interruptible
sys.argv = {argv}
def start():
    print('now', flush=True)
    runpy.run_module("genie_tf.experiments." + sys.argv[0], run_name="__main__")
run_interruptible(start)
"""


def start(program: list[str], folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        program,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_interrupted(process: subprocess.Popen, name: str) -> None:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    lines = errors.splitlines()
    # Progress bars can be above it.
    assert lines.pop() == f"{name}: interrupted"
    assert all("%|" in line or not line for line in lines), errors


def work(*lines: str, after: str = "") -> list[str]:
    body = "\n".join(f"    {line}" for line in lines)
    return [sys.executable, "-c", PROGRAM.format(work=body, after=after)]


@pytest.mark.parametrize(
    "program",
    [
        work(SLEEP),
        # Libraries print, catch the exception, or raise another.
        work(
            "try:",
            f"    {SLEEP}",
            "except BaseException:",
            "    print('cannot continue', file=sys.stderr)",
            "    raise RuntimeError",
        ),
        work("try:", f"    {SLEEP}", "except BaseException:", "    pass"),
        work("try:", f"    {SLEEP}", "finally:", "    time.sleep(60)"),
        # A thread that keeps running, for which the interpreter would wait at exit.
        work(
            "import threading",
            "threading.Thread(target=time.sleep, args=[60]).start()",
            SLEEP,
        ),
        work(*DEADLOCK),
        work("pass", after=SLEEP),
    ],
    ids=[
        "plain",
        "raises",
        "catches",
        "never ends",
        "thread",
        "deadlock",
        "at its end",
    ],
)
def test_interrupted_program_prints_one_line(program, tmp_path):
    with start(program, tmp_path) as process:
        assert process.stdout.readline() == "now\n"
        check_interrupted(process, "genie-test")


@pytest.mark.parametrize("seconds", [0, 0.2, 1, 3])
@pytest.mark.parametrize(
    "argv",
    [
        [
            "generate",
            "--preset=genie_coinrun",
            "--prompt=frame.png",
            f"--actions={','.join(50 * '1')}",
            "--output=out/video.gif",
        ],
        ["arrays", "--dataset=coinrun/random_hard", "--output=arrays"],
    ],
    ids=lambda argv: argv[0],
)
def test_programs_can_be_interrupted_anytime(argv, seconds, tmp_path):
    """Interrupt parsing, imports, building, compiling, sampling and writing."""
    Image.new("RGB", (64, 64)).save(tmp_path / "frame.png")
    with start([sys.executable, "-c", MODULE.format(argv=argv)], tmp_path) as process:
        assert process.stdout.readline() == "now\n"
        time.sleep(seconds)
        check_interrupted(process, argv[0])
    # The next run removes what takes longer to delete.
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"frame.png"}


def test_partial_files_are_removed(tmp_path):
    program = work(
        "from genie_tf.files import replacing",
        "with replacing('file.txt') as path:",
        "    path.write_text('half')",
        f"    {SLEEP}",
    )
    with start(program, tmp_path) as process:
        assert process.stdout.readline() == "now\n"
        check_interrupted(process, "genie-test")
    assert not list(tmp_path.iterdir())


def test_closed_streams_stay_closed(tmp_path):
    """No file gets the descriptor of a closed stream, and with it printed text."""
    program = work(
        "import os, sys",
        "with open('mine', 'w'):",
        "    sys.stdout = open(os.dup(1), 'w')  # Collects the old one.",
        "    with open('yours', 'w'):",
        "        print('text', flush=True)",
        "        os.write(1, b'text')",
        "        os.write(2, b'text')",
    )
    command = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *program]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == {"mine": 0, "yours": 0}


@pytest.mark.parametrize("moment", [SLEEP, "import slow"])
def test_temporary_files_are_removed(moment, tmp_path):
    (tmp_path / "slow.py").write_text(f"import time\n{SLEEP}")
    program = work(
        "import atexit, os, sys",
        "open('temporary', 'w').close()",
        "atexit.register(os.remove, 'temporary')",
        "sys.path.append('.')",
        moment,
    )
    with start(program, tmp_path) as process:
        assert process.stdout.readline() == "now\n"
        check_interrupted(process, "genie-test")
    assert not (tmp_path / "temporary").exists()


def test_ignored_sigint_stays_ignored(tmp_path):
    """Nohup and background jobs in scripts ignore SIGINT."""
    program = work("print('now', flush=True)", "input()")
    process = subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    with process:
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate("\n", timeout=30) == ("", "")
    assert process.returncode == 0
