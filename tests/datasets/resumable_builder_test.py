"""Tests of stopped builds: finished shards are kept, and the result is the same."""

import functools
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from genie_tf.datasets.resumable_builder import ResumableBuilder

SHARDS = {"train": range(0, 40, 10), "test": range(100, 110, 10)}
LARGE = 1 << 20


class Counting(ResumableBuilder):
    """Each shard counts to ten; `stop(first)` is called in the middle of each."""

    VERSION = tfds.core.Version("1.0.0")
    settings = "ten"
    text_size = 0
    workers = 2

    def __init__(self, stop=lambda first: None, **kwargs):
        super().__init__(**kwargs)
        self.stop = stop
        self.made = []

    def _info(self):
        features = {"number": np.int64, "text": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _num_workers(self):
        return self.workers

    def _settings(self):
        return self.settings

    def _shard_iterators_per_split(self, dl_manager):
        return {
            split: [functools.partial(self._count, first) for first in firsts]
            for split, firsts in SHARDS.items()
        }

    def _count(self, first):
        self.made.append(first)
        for number in range(first, first + 10):
            if number == first + 5:
                self.stop(first)
            yield (
                number,
                {"number": np.array([number]), "text": [b"x" * self.text_size]},
            )


def stop_at(shard, action):
    return lambda first: action() if first == shard else None


def fail():
    raise RuntimeError("Stopped.")


def build(data_dir, **kwargs):
    builder = Counting(data_dir=data_dir, **kwargs)
    builder.download_and_prepare()
    return builder


def files(builder):
    return {path.name: path.read_bytes() for path in Path(builder.data_path).iterdir()}


@pytest.fixture
def one_worker(monkeypatch):
    monkeypatch.setattr(Counting, "workers", 1)


@pytest.fixture
def stopped(tmp_path, one_worker):
    """Folder of a build that failed in its third shard."""
    with pytest.raises(RuntimeError, match="Stopped"):
        build(tmp_path, stop=stop_at(20, fail))
    return tmp_path


def test_examples_are_in_order(tmp_path):
    builder = build(tmp_path)
    for split, firsts in SHARDS.items():
        numbers = [int(x["number"]) for x in builder.as_dataset(split=split)]
        assert numbers == list(range(firsts[0], firsts[-1] + 10))
    assert builder.info.splits["train"].shard_lengths == [10, 10, 10, 10]


def test_files_do_not_depend_on_number_of_workers(tmp_path, monkeypatch):
    built = []
    for workers in (1, 3):
        monkeypatch.setattr(Counting, "workers", workers)
        built.append(files(build(tmp_path / str(workers))))
    assert built[0] == built[1]


def test_failed_build_resumes(stopped, tmp_path_factory):
    builder = build(stopped)
    assert builder.made[0] == 20
    assert files(builder) == files(build(tmp_path_factory.mktemp("whole")))
    assert not list(stopped.rglob("*unfinished*"))


def test_killed_build_resumes(tmp_path, one_worker):
    killed = subprocess.run([sys.executable, __file__, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    builder = build(tmp_path)
    assert builder.made == [20, 30, 100]
    assert files(builder) == files(build(tmp_path / "whole"))


def test_shards_are_kept_until_tfds_has_finished(tmp_path):
    with mock.patch.object(
        tfds.core.DatasetInfo,
        "write_to_directory",
        side_effect=RuntimeError("Stopped."),
    ):
        with pytest.raises(RuntimeError, match="Stopped"):
            build(tmp_path)
    assert not build(tmp_path).made


def test_build_works_without_links(tmp_path):
    with mock.patch.object(os, "link", side_effect=OSError):
        built = files(build(tmp_path))
    assert built == files(build(tmp_path / "linked"))


@pytest.mark.parametrize(
    "damage", [lambda x: x[:-7], lambda x: x[:40] + b"!" + x[41:], lambda x: b""]
)
def test_damaged_shard_is_rebuilt(stopped, damage):
    (kept,) = stopped.rglob("*train*00001-of*")
    kept.write_bytes(damage(kept.read_bytes()))
    assert build(stopped).made[:2] == [10, 20]


def test_full_disk_is_reported_and_finished_shards_are_kept(tmp_path, one_worker):
    """A file size limit simulates the full disk."""
    with mock.patch.object(Counting, "text_size", LARGE):
        builder = Counting(data_dir=tmp_path)
        limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        lower = functools.partial(
            resource.setrlimit, resource.RLIMIT_FSIZE, (2 * LARGE, hard)
        )
        builder.stop = stop_at(10, lower)
        try:
            with pytest.raises(
                OSError, match="00001-of-00004 could not be written: .*to resume"
            ):
                builder.download_and_prepare()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        assert build(tmp_path).made[0] == 10


def test_interrupted_build_does_not_wait_for_shards(tmp_path):
    def interrupt_or_wait(first):
        if first == 0:
            raise KeyboardInterrupt
        if first == 10:
            # Without the interruption, this shard would be finished.
            builder._cancelled.wait(timeout=5)

    builder = Counting(data_dir=tmp_path, stop=interrupt_or_wait)
    with pytest.raises(KeyboardInterrupt):
        builder.download_and_prepare()
    assert not list(tmp_path.rglob("counting-train*-00001-of-*"))
    assert build(tmp_path).info.splits["train"].num_examples == 40


def test_folders_of_killed_builds_are_removed(tmp_path):
    left = tmp_path / "counting" / "incomplete.ABC123_1.0.0"
    left.mkdir(parents=True)
    build(tmp_path)
    assert not left.exists()


def test_concurrent_builds_are_rejected(tmp_path, one_worker):
    def build_too():
        with pytest.raises(OSError, match="Another program is writing in"):
            build(tmp_path)

    build(tmp_path, stop=stop_at(0, build_too))


def test_shards_of_other_settings_are_rejected(stopped):
    with mock.patch.object(Counting, "settings", "eleven"):
        with pytest.raises(ValueError, match="have other settings than this build"):
            build(stopped)
    assert build(stopped).made[0] == 20


def test_array_record_is_supported(tmp_path):
    builder = build(tmp_path, file_format="array_record")
    numbers = [int(x["number"]) for x in builder.as_data_source(split="train")]
    assert numbers == list(range(40))


if __name__ == "__main__":
    Counting.workers = 1
    build(sys.argv[1], stop=stop_at(20, lambda: os.kill(os.getpid(), signal.SIGKILL)))
