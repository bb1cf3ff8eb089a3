"""Schemes in paths are rejected, and no file or folder is left half-written."""

import os
import re
import subprocess
import sys

import pytest

from genie_tf import media
from genie_tf.files import (
    check_new,
    check_space,
    local_path,
    replacing,
    replacing_files,
    replacing_folder,
)


@pytest.mark.parametrize(
    "path", ["gs://bucket/model", "s3://x", "file:///tmp/x", "http://h/x", "gs:/x"]
)
def test_local_path_rejects_schemes(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scheme = path.split(":")[0]
    expected = re.escape(
        f"Expected a path on this machine; received {path!r}. Addresses that start with "
        f"{scheme}:// are not supported"
    )
    for attempt in (
        local_path,
        lambda path: replacing(path).__enter__(),
        lambda path: replacing_folder(path).__enter__(),
        lambda path: replacing_files(path).__enter__(),
    ):
        with pytest.raises(ValueError, match=expected):
            attempt(path)
    assert not os.listdir(tmp_path)


def test_local_path_expands_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(local_path("~/model")) == "/home/somebody/model"
    assert str(local_path("a/~b:c")) == "a/~b:c"


def test_local_path_reports_unknown_home():
    with pytest.raises(ValueError, match="Cannot find the home folder of '~nobody_/x'"):
        local_path("~nobody_/x")


def test_replacing_keeps_old_file_on_failure(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as temporary:
        assert temporary.suffix == ".txt" and not path.exists()
        temporary.write_text("old")
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and os.listdir(path.parent) == ["file.txt"]


def test_replacing_replaces_only_files(tmp_path):
    (tmp_path / "folder.gif").mkdir()
    os.mkfifo(tmp_path / "pipe.gif")
    for name in ("folder.gif", "pipe.gif"):
        sentence = f"Expected the name of a file to write; .*{name} is not a file."
        for attempt in (
            lambda path: replacing(path).__enter__(),
            media.check_video_path,
        ):
            with pytest.raises(ValueError, match=sentence):
                attempt(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder.gif", "pipe.gif"]


def test_check_new_rejects_existing_paths(tmp_path):
    assert check_new(tmp_path / "model") == tmp_path / "model"
    (tmp_path / "model").symlink_to("nowhere")
    with pytest.raises(
        ValueError, match="model exists already: choose another folder."
    ):
        check_new(tmp_path / "model")


def test_replacing_removes_leftovers_of_killed_programs(tmp_path):
    kill = (
        "import os, sys; from genie_tf.files import replacing\n"
        "with replacing(sys.argv[1]) as path: path.write_text('half'); os._exit(9)"
    )
    path = tmp_path / "file.txt"
    subprocess.run([sys.executable, "-c", kill, path])
    others = [f".file.{os.getpid()}.txt", ".file.1.png", "other.1.txt"]
    for other in others:
        (tmp_path / other).touch()
    assert len(os.listdir(tmp_path)) == 4
    with replacing(path) as temporary:
        assert temporary.name == others[0]
        temporary.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == sorted(["file.txt", *others[1:]])


def test_replacing_folder_replaces_or_keeps_old_folder(tmp_path):
    folder = tmp_path / "model"
    for text in ("first", "second"):
        with replacing_folder(folder) as partial:
            (partial / "text").write_text(text)
    with pytest.raises(KeyError), replacing_folder(folder) as partial:
        (partial / "text").write_text("half")
        raise KeyError
    assert (folder / "text").read_text() == "second"
    assert os.listdir(tmp_path) == ["model"]


def test_replacing_folder_recovers_from_kill_between_renames(tmp_path):
    (tmp_path / ".model.replaced").mkdir()
    (tmp_path / ".model.replaced/text").write_text("first")
    with pytest.raises(KeyError), replacing_folder(tmp_path / "model"):
        raise KeyError
    assert (tmp_path / "model/text").read_text() == "first"
    assert os.listdir(tmp_path) == ["model"]


def test_replacing_files_writes_all_or_none(tmp_path):
    folder = tmp_path / "report"
    (folder / ".partial").mkdir(parents=True)
    (folder / ".partial/left_by_a_kill").touch()
    (folder / "mine").touch()
    for text in ("first", "second"):
        with replacing_files(folder) as partial:
            for name in ("a", "b"):
                (partial / name).write_text(text)
    with pytest.raises(KeyError), replacing_files(folder) as partial:
        (partial / "a").write_text("half")
        raise KeyError
    assert {x.name: x.read_text() for x in folder.iterdir()} == {
        "mine": "",
        "a": "second",
        "b": "second",
    }


def test_space_is_checked_before_writing(tmp_path):
    check_space(tmp_path, 1_000)
    with pytest.raises(
        OSError, match=f"Expected space for .* bytes in {tmp_path}/new/folder: "
    ):
        check_space(tmp_path / "new/folder", 2**60)
    assert not os.listdir(tmp_path)
