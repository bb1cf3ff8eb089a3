"""One program at a time holds a folder, however the one before ended."""

import os
import re
import subprocess
import sys

import pytest

from genie_tf.training.folder_lock import locked

HOLD = """
import pathlib, sys
from genie_tf.training.folder_lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A program that holds the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout.readline() == b"held\n"
        yield program
        program.stdin.close()


def test_a_second_program_is_told_who_holds_the_folder(tmp_path, holder):
    expected = (
        f"Another program is training in {tmp_path} \\(process {holder.pid} of .*, "
        r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d .*\): wait until it ends, stop it, or "
        "choose another --workdir."
    )
    for _ in range(2):
        with pytest.raises(ValueError) as error, locked(tmp_path):
            pass
        assert re.fullmatch(expected, str(error.value))
    assert os.listdir(tmp_path) == [".lock"]


def test_a_kill_frees_the_folder(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert os.listdir(tmp_path) == [".lock"]
    with locked(tmp_path):
        assert f"process {os.getpid()} of " in (tmp_path / ".lock").read_text()


def test_nothing_is_left_behind(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path):
            raise KeyError
        assert not os.listdir(tmp_path)
