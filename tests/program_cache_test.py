"""Compiled programs persist between runs, and are used only if safe and undamaged."""

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from genie_tf import program_cache
from genie_tf.program_cache import ProgramCache

VARIABLES = (
    "TF_XLA_FLAGS",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES",
)
PROGRAM = """
from genie_tf.experiments import cli
def main():
    {}
cli.run(main, lambda: None)
"""
COMPILE = {
    "tensorflow": """
    import tensorflow as tf
    f = tf.function(lambda x: tf.sin(x) @ x, jit_compile=True)
    print(f(tf.eye(3) + 0.1).numpy().tobytes().hex())
""",
    "jax": """
    import jax
    f = jax.jit(lambda x: jax.numpy.sin(x) @ x)
    print(jax.numpy.asarray(f(jax.numpy.eye(3) + 0.1)).tobytes().hex())
""",
}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # Restored after the test.
        monkeypatch.delenv(name)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(program_cache, "_cache", None)


@pytest.fixture
def kept(tmp_path):
    folder = tmp_path / "kept" / "machine"
    folder.parent.mkdir()
    return folder


def contents(folder: Path) -> dict:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_kept_programs_are_available_to_other_processes(kept):
    first = ProgramCache(kept)
    assert contents(first.folder) == {}
    (first.folder / "a.pb").write_bytes(b"code")
    first.keep()
    first.keep()
    assert len(contents(kept)) == 1
    assert contents(ProgramCache(kept).folder) == {"a.pb": b"code"}


def test_damaged_programs_are_replaced(kept):
    first = ProgramCache(kept)
    for name in ("a.pb", "b.pb"):
        (first.folder / name).write_bytes(b"code")
    first.keep()
    damaged = next(path for path in kept.iterdir() if path.name.startswith("a.pb"))
    damaged.write_bytes(b"cod")
    second = ProgramCache(kept)
    assert contents(second.folder) == {"b.pb": b"code"}
    (second.folder / "a.pb").write_bytes(b"code")
    second.keep()
    assert contents(ProgramCache(kept).folder) == {"a.pb": b"code", "b.pb": b"code"}


def test_unfinished_program_is_left_alone(kept):
    kept.mkdir()
    (kept / ".a.pb.1.digest").write_bytes(b"co")
    assert contents(ProgramCache(kept).folder) == {}
    assert contents(kept) == {".a.pb.1.digest": b"co"}


def test_oldest_programs_are_deleted_above_limit(kept, monkeypatch):
    monkeypatch.setattr(program_cache, "_MAX_BYTES", 10)
    cache = ProgramCache(kept)
    for second, name in enumerate(("a.pb", "b.pb", "c.pb")):
        (cache.folder / name).write_bytes(b"code")
        cache.keep()
        for path in kept.glob(f"{name}.*"):
            os.utime(path, (second, second))
    cache.keep()
    assert contents(ProgramCache(kept).folder).keys() == {"b.pb", "c.pb"}


def test_only_folders_of_killed_processes_are_deleted(kept, tmp_path):
    used = ProgramCache(kept).folder
    killed, mine = (tmp_path / "temporary" / f"genie_tf_programs_{x}" for x in "12")
    killed.mkdir()
    mine.mkdir()
    lock = os.open(mine, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    ProgramCache(kept)
    os.close(lock)
    assert used.exists()
    assert mine.exists()
    assert not killed.exists()


def test_folder_writable_for_others_is_not_used(tmp_path):
    folder = tmp_path / "home/genie_tf/programs"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    program_cache.use()
    assert "TF_XLA_FLAGS" not in os.environ
    folder.chmod(0o700)
    program_cache.use()
    assert "tf_xla_persistent_cache_directory" in os.environ["TF_XLA_FLAGS"]


def test_linked_folder_is_not_used(tmp_path):
    (tmp_path / "other").mkdir(mode=0o700)
    (tmp_path / "home/genie_tf").mkdir(parents=True)
    (tmp_path / "home/genie_tf/programs").symlink_to(tmp_path / "other")
    program_cache.use()
    assert "TF_XLA_FLAGS" not in os.environ


@pytest.mark.parametrize("obstacle", ["off", "file", "full"])
def test_programs_work_without_cache(obstacle, tmp_path, monkeypatch):
    if obstacle == "off":
        monkeypatch.setenv("GENIE_TF_CACHE", "off")
    elif obstacle == "file":
        (tmp_path / "home").write_text("")
    else:
        monkeypatch.setattr(program_cache, "_FREE_BYTES", 2**80)
    program_cache.use()
    program_cache.keep()
    assert "TF_XLA_FLAGS" not in os.environ


def test_cache_of_user_is_left_alone(monkeypatch):
    flags = "--tf_xla_persistent_cache_directory=/mine"
    monkeypatch.setenv("TF_XLA_FLAGS", flags)
    program_cache.use()
    assert os.environ["TF_XLA_FLAGS"] == flags


def test_programs_of_other_compiler_settings_are_separate(monkeypatch):
    machine = program_cache._machine()
    assert machine == program_cache._machine()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert program_cache._machine() != machine


@pytest.mark.parametrize("library", COMPILE)
def test_results_are_equal_with_kept_programs(library, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

    def run():
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(COMPILE[library].strip())],
            capture_output=True,
            text=True,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    def kept_files():
        files = (tmp_path / "home/genie_tf/programs").glob("*/*")
        return {path: path.stat().st_mtime_ns for path in files}

    first, written = run(), kept_files()
    assert written
    assert run() == first
    assert kept_files() == written
