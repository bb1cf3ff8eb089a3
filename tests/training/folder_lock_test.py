"""One program at a time locks a folder, however the previous one ended."""

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
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Program that locks the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout.readline() == b"locked\n"
        yield program
        program.stdin.close()


def test_second_program_is_rejected_with_the_holder(tmp_path, holder):
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


def test_kill_releases_the_lock(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert os.listdir(tmp_path) == [".lock"]
    with locked(tmp_path):
        assert f"process {os.getpid()} of " in (tmp_path / ".lock").read_text()


def test_lock_file_is_deleted(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path):
            raise KeyError
        assert not os.listdir(tmp_path)
