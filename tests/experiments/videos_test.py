"""End-to-end runs of genie-videos, and training on its dataset."""

import fcntl
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genie_tf.experiments import configs
from genie_tf.models import VideoTokenizer

TINY = {
    "config": f"{Path(configs.__file__).parent}/coinrun_tokenizer.py:tiny",
    "workdir": "tokenizer",
    "config.dataset": "video_folder/mine",
    "config.steps": 1,
    "config.batch_size": 2,
    "config.clip_length": 4,
    "config.validation_clips": 2,
    "config.model.patch_size": 32,
    "config.model.encoder.dim": 16,
    "config.model.decoder.dim": 16,
}


@pytest.fixture
def folder(tmp_path):
    """Folder of three videos, a broken one and a text file."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a", "b", "c"):
        noise = np.random.default_rng(0).integers(256, size=(40, 64, 64, 3))
        first, *others = (Image.fromarray(frame.astype(np.uint8)) for frame in noise)
        first.save(
            *[videos / f"{name}.gif"],
            **{"save_all": True, "append_images": others, "duration": 100},
        )
    (videos / "broken.mp4").write_text("no video")
    (videos / "notes.txt").write_text("filmed in May")
    return tmp_path


@pytest.fixture
def make(run_app, folder):
    """Function that runs genie-videos with some flags changed."""

    def make_changed(changes=(), **circumstances):
        flags = {"input": "videos", "name": "mine", "data_dir": "data"}
        arguments = [f"--{k}={v}" for k, v in {**flags, **dict(changes)}.items()]
        return run_app("videos", *arguments, folder=folder, **circumstances)

    return make_changed


def test_tokenizer_trains_on_video_folder(make, run_app, folder):
    ended = make({"clip_seconds": 2})
    assert ended.code == 0, ended.errors
    lines = ended.out.splitlines()[-4:]
    assert lines == [
        "Wrote video_folder/mine, episodes: 2 train, 2 validation, 2 test.",
        "It is in data/video_folder/mine/1.0.0.",
        "Left out: notes.txt: its name does not end in .avi, .gif, .jpeg, .jpg, .m4v, "
        ".mkv, .mov, .mp4, .png, .webm.",
        "Left out: broken.mp4: it cannot be decoded (Invalid data found when processing "
        "input).",
    ]
    arguments = [f"--{k}={v}" for k, v in {**TINY, "data_dir": "data"}.items()]
    ended = run_app("train", *arguments, folder=folder)
    assert ended.code == 0, ended.errors
    tokenizer = VideoTokenizer.from_preset(folder / "tokenizer/model")
    assert tokenizer.frame_shape == (64, 64, 3)

    # Other clips of the same videos.
    changes = {
        "workdir": "small",
        "config.model.frame_shape": "(32, 32, 3)",
        "config.resize": True,
        "config.stride": 5,
        "config.train_split": "train[:50%]",
        "config.validation_split": "test",
    }
    arguments += [f"--{k}={v}" for k, v in changes.items()]
    ended = run_app("train", *arguments, folder=folder)
    assert ended.code == 0, ended.errors
    tokenizer = VideoTokenizer.from_preset(folder / "small/model")
    assert tokenizer.frame_shape == (32, 32, 3)
    ended = run_app("train", *arguments, "--config.camera=hand", folder=folder)
    assert ended.code == 2
    assert ended.errors[-1].endswith(
        "The observations of dataset 'video_folder/mine' have a single, unnamed camera; "
        "received camera 'hand'."
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"input": "none"}, "there is no folder none: check --input"),
        ({"input": "videos/a.gif"}, "there is no folder videos/a.gif: .*"),
        (
            {"input": "empty"},
            "Expected at least 3 usable videos, for training, validation and test; empty "
            "has 0.",
        ),
        (
            {"name": "my/videos"},
            "--name must contain only letters, digits and _; received 'my/videos'",
        ),
        *[
            (
                {"clip_seconds": seconds, "fps": fps},
                "an episode of 64x64 pixels must have from 2 to 87381 frames; "
                f"--clip_seconds={seconds} and --fps={fps} make {steps}",
            )
            for seconds, fps, steps in [
                ("0.1", "10", "1"),
                ("9000", "10", "90000"),
                (r"1e\+300", "10", r"1e\+301"),
            ]
        ],
        *[
            (
                {"clip_seconds": number},
                f"--clip_seconds must be a finite number; received {number}",
            )
            for number in ("inf", "nan")
        ],
        ({"fps": "nan"}, "--fps must be a finite number; received nan"),
        ({"fps": "inf"}, "flag --fps=inf.*1000.*"),
        ({"fps": 2000}, "flag --fps=2000.*1000.*"),
        (
            {"input": "gs://bucket/a"},
            "flag --input=gs://bucket/a: Expected a path on this machine; received 'gs:.*",
        ),
        (
            {"data_dir": "s3://a"},
            "flag --data_dir=s3://a: Expected a path on this machine; received 's3:.*",
        ),
        ({"height": 0}, "flag --height=0: 0 is not a positive integer"),
        ({"fps": 0}, "flag --fps=0: .*0.01.*"),
        (
            {"data_dir": "videos/notes.txt"},
            "cannot write to the folder videos/notes.txt: choose another",
        ),
    ],
)
def test_invalid_input_is_rejected_in_one_sentence(make, folder, changes, sentence):
    (folder / "empty").mkdir()
    before = set(folder.rglob("*"))
    ended = make({key: str(value).replace("\\", "") for key, value in changes.items()})
    assert ended.code == 2
    (line,) = ended.errors
    assert re.fullmatch(f"videos(.py)?: {sentence}", line), line
    assert set(folder.rglob("*")) == before


def test_existing_dataset_is_unchanged(make, folder):
    assert make().code == 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    ended = make()
    assert ended.code == 2
    assert ended.errors[-1].endswith(
        "data/video_folder/mine/1.0.0 already exists: choose another --name, or delete "
        "that folder."
    )
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_full_disk_leaves_no_files(make, folder):
    ended = make(largest_file=50_000)
    assert ended.code == 2, "\n".join(ended.errors[-8:])
    sentence = "videos(.py)?: nothing was written: .*File too large$"
    assert re.search(sentence, ended.errors[-1]), ended.errors
    assert not [path for path in folder.rglob("data/**/*") if path.is_file()]
    ended = make()
    assert ended.code == 0, ended.errors


def test_leftovers_of_killed_build_are_removed(make, folder):
    left = folder / "data/video_folder/mine/incomplete.ABCDEF_1.0.0"
    left.mkdir(parents=True)
    (left / "part").write_text("half a shard")
    assert make().code == 0
    assert [path.name for path in left.parent.iterdir()] == ["1.0.0"]


def test_concurrent_builds_are_rejected(make, folder):
    place = folder / "data/video_folder/mine"
    place.mkdir(parents=True)
    descriptor = os.open(place, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    ended = make()
    os.close(descriptor)
    assert ended.code == 2
    assert ended.errors[-1].endswith(
        "another program is building data/video_folder/mine: wait until it ends, or choose "
        "another --name"
    )
    assert make().code == 0
