"""End-to-end runs of genie-preview on each kind of dataset."""

import json
import re
import subprocess
import sys
from collections import Counter

import av
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from genie_tf.datasets.array_episodes import ArrayEpisodes, write_arrays
from genie_tf.experiments import preview

# With a version, TFDS reads from disk; without, it first asks the network.
ROBOTS = "robots:1.0.0"
LENGTHS = {"train": [20, 60, 1, 7, 33, 8, 90, 12, 5, 11], "test": [9, 3]}
WRITTEN = {"contact_sheet.png", "clips.mp4", "statistics.json", "statistics.md"}


class Robots(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Episodes with a small and a large camera, and rare rewards."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        step = {
            "observation": {
                "image": tfds.features.Image(shape=(40, 60, 3)),
                "large": tfds.features.Image(shape=(160, 256, 3)),
                "speed": np.float32,
            },
            "action": np.int64,
            "reward": np.float32,
            "is_first": np.bool_,
            "is_last": np.bool_,
            "is_terminal": np.bool_,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"steps": tfds.features.Dataset(step)}),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in LENGTHS}

    def _generate_examples(self, split):
        rng = np.random.default_rng(len(split))
        for episode, length in enumerate(LENGTHS[split]):
            shade = rng.integers(200)
            steps = [
                {
                    "observation": {
                        "image": picture(40, 60, shade, step),
                        "large": picture(160, 256, shade, step),
                        "speed": 0.0,
                    },
                    "action": rng.integers(-2, 400),
                    "reward": rng.choice([0.0, 0.25, -1.5], p=[0.95, 0.04, 0.01]),
                    "is_first": step == 0,
                    "is_last": step == length - 1,
                    "is_terminal": False,
                }
                for step in range(length)
            ]
            yield episode, {"steps": steps}


def picture(height, width, shade, step):
    """Return a color gradient with a bright square that moves to the right."""
    y, x = np.mgrid[:height, :width]
    frame = np.stack([x * 0 + shade, 200 * y // height, 200 * x // width], axis=-1)
    left = step % (width - 8)
    frame[8:16, left : left + 8] = 255
    return frame.astype(np.uint8)


@pytest.fixture(scope="module")
def robots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    Robots(data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(scope="module")
def episodes(robots):
    """Function that reads all columns of all episodes of a split with TFDS."""

    def read(split):
        dataset = tfds.load(ROBOTS, split=split, data_dir=robots)
        return [
            next(iter(tfds.as_numpy(episode["steps"].batch(1000))))
            for episode in dataset
        ]

    return read


@pytest.fixture(scope="module")
def run(run_app, robots):
    """Function that runs genie-preview with some flags changed."""

    def run_changed(folder, changes=(), **circumstances):
        flags = {"dataset": ROBOTS, "data_dir": robots, "output": "preview"}
        flags = {**flags, **dict(changes)}
        arguments = [f"--{k}={v}" for k, v in flags.items() if v is not None]
        return run_app("preview", *arguments, folder=folder, **circumstances)

    return run_changed


@pytest.fixture(scope="module")
def output(run, tmp_path_factory):
    """Output folder of genie-preview."""
    folder = tmp_path_factory.mktemp("shown")
    ended = run(folder)
    assert ended.code == 0, ended.errors
    assert ended.out == ("Wrote preview/statistics.md, statistics.json and images.\n")
    assert {path.name for path in (folder / "preview").iterdir()} == WRITTEN
    return folder / "preview"


def read_mp4(path):
    with av.open(str(path)) as container:
        rate = float(container.streams.video[0].average_rate)
        frames = container.decode(video=0)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), rate


@pytest.mark.parametrize("split", LENGTHS)
def test_statistics_match_tfds(output, robots, episodes, split):
    actual = json.loads((output / "statistics.json").read_text())["splits"][split]
    expected = episodes(split)
    files = (robots / "robots/1.0.0").glob(f"robots-{split}.*")
    lengths = [len(steps["is_first"]) for steps in expected]
    assert sorted(lengths) == sorted(LENGTHS[split])
    assert actual["episodes"] == len(lengths)
    assert actual["frames"] == sum(lengths)
    assert actual["bytes"] == sum(file.stat().st_size for file in files)
    assert actual["lengths"]["median"] == np.median(lengths)
    assert actual["pixels"]["sizes"] == [[40, 60]]
    counts = Counter(np.concatenate([steps["action"] for steps in expected]).tolist())
    assert actual["actions"]["counts"] == {str(key): counts[key] for key in counts}
    sums = [float(steps["reward"].sum()) for steps in expected]
    assert actual["rewards"] == {
        "episodes": len(lengths),
        "sum": pytest.approx(sum(sums)),
        "mean": pytest.approx(np.mean(sums)),
        "nonzero": sum(bool(steps["reward"].any()) for steps in expected),
    }


def test_markdown_has_statistics(output):
    text = (output / "statistics.md").read_text()
    train = json.loads((output / "statistics.json").read_text())["splits"]["train"]
    assert text.startswith(f"# {ROBOTS}\n")
    assert "| frames | 247 | 12 |" in text
    assert f"| bytes on disk | {train['bytes']:,} |" in text
    assert "| 1 to 9 | 4 (40.0%) | 2 (100.0%) |" in text
    assert f"| sum | {train['rewards']['sum']:g} |" in text
    action, count = min(train["actions"]["counts"].items(), key=lambda x: int(x[0]))
    assert f"| {action} | {count} ({count / 247:.1%}) |" in text


def test_contact_sheet_shows_evenly_spaced_frames(output, episodes):
    sheet = np.array(Image.open(output / "contact_sheet.png"))
    height, width, gap = 3 * 40, 3 * 60, 2
    assert len(sheet) == 8 * (height + gap) - gap
    grid = sheet[:, -(8 * (width + gap) - gap) :]
    expected = []
    for steps in episodes("train"):
        length = len(steps["is_first"])
        chosen = [round(i * (length - 1) / 7) for i in range(8)]
        frames = steps["observation"]["image"][chosen]
        # The frames of an episode in a row, enlarged three times, with white gaps.
        frames = np.pad(
            frames.repeat(3, axis=1).repeat(3, axis=2),
            ((0, 0), (0, 0), (0, gap), (0, 0)),
            constant_values=255,
        )
        expected.append(np.concatenate(list(frames), axis=1)[:, :-gap])
    rows = [grid[row * (height + gap) :][:height] for row in range(8)]
    numbers = [
        [number for number, frames in enumerate(expected) if (frames == row).all()]
        for row in rows
    ]
    # Each row is another episode.
    assert all(len(matches) == 1 for matches in numbers)
    assert len({matches[0] for matches in numbers}) == 8


def test_mp4_shows_clips(output, robots, run, tmp_path, episodes):
    video, fps = read_mp4(output / "clips.mp4")
    assert fps == 10
    # Ten episodes fill three rows of three clips.
    assert video.shape == (50, 3 * 122 - 2, 3 * 182 - 2, 3)
    # Two episodes, shorter than a clip, fill one row.
    ended = run(tmp_path, {"split": "test", "fps": 3})
    assert ended.code == 0, ended.errors
    video, fps = read_mp4(tmp_path / "preview/clips.mp4")
    assert fps == 3
    assert video.shape == (9, 3 * 40, 2 * 182 - 2, 3)
    for column, steps in enumerate(episodes("test")):
        frames = steps["observation"]["image"].astype(int)
        frames = np.concatenate([frames, frames[-1:].repeat(9 - len(frames), axis=0)])
        clip = video[:, :, column * 182 :][:, :, :180]
        error = np.abs(clip - frames.repeat(3, axis=1).repeat(3, axis=2))
        assert error.mean() < 4


def test_clips_are_consecutive_steps(tmp_path):
    lengths = [200, 60, 3, 70, 100]

    def numbered():
        for episode, length in enumerate(lengths):
            frames = np.full((length, 2, 2, 3), episode, np.uint8)
            frames[..., 1] = np.arange(length)[:, None, None]
            yield frames, None

    write_arrays(tmp_path / "arrays", {"train": numbered()})
    stored = ArrayEpisodes(tmp_path / "arrays", "train")
    rng = np.random.default_rng(0)
    starts = set()
    for _ in range(5):
        (top, bottom) = preview.choose_clips(stored, (2, 2), rng)
        for clip in top + bottom:
            assert clip.shape == (50, 2, 2, 3)
            episode, steps = clip[0, 0, 0, 0], clip[:, 0, 0, 1].astype(int)
            assert (clip[..., 0] == episode).all()
            last = lengths[episode] - 1
            np.testing.assert_array_equal(
                steps, np.minimum(steps[0] + np.arange(50), last)
            )
            starts.add(steps[0])
    assert len(starts) > 5


def test_large_frames_are_scaled_down(run, tmp_path):
    ended = run(tmp_path, {"camera": "large", "split": "test"})
    assert ended.code == 0, ended.errors
    statistics = json.loads((tmp_path / "preview/statistics.json").read_text())
    assert statistics["camera"] == "large"
    assert statistics["splits"]["test"]["pixels"]["sizes"] == [[160, 256]]
    video, _ = read_mp4(tmp_path / "preview/clips.mp4")
    assert video.shape == (9, 128, 2 * 205 + 2, 3)


def test_equal_seeds_give_equal_files(output, run, tmp_path):
    for seed in (0, 1):
        ended = run(tmp_path, {"output": f"{seed}", "seed": seed})
        assert ended.code == 0, ended.errors
    for name in WRITTEN:
        expected = (output / name).read_bytes()
        assert (tmp_path / "0" / name).read_bytes() == expected
        assert (tmp_path / "1" / name).read_bytes() != expected


def test_coinrun_actions_are_counted_and_named(run, tmp_path, data_dir):
    flags = {"dataset": "coinrun/tiny", "data_dir": data_dir, "output": None}
    ended = run(tmp_path, flags)
    assert ended.code == 0, ended.errors
    statistics = json.loads((tmp_path / "runs/preview/statistics.json").read_text())
    splits = statistics["splits"]
    assert {name: split["frames"] for name, split in splits.items()} == {
        **{"train": 60, "validation": 20, "test": 40}
    }
    steps = tfds.load("coinrun/tiny", split="train", data_dir=data_dir)
    actions = [
        int(step["action"])
        for episode in steps
        for step in tfds.as_numpy(episode["steps"])
    ]
    assert splits["train"]["actions"]["counts"] == {
        str(action): actions.count(action) for action in sorted(set(actions))
    }
    text = (tmp_path / "runs/preview/statistics.md").read_text()
    assert f"| 7 right | {actions.count(7)} (" in text


def test_video_folder_has_no_actions_or_rewards(run, run_app, tmp_path):
    (tmp_path / "videos").mkdir()
    frames = [Image.fromarray(picture(64, 64, 0, step)) for step in range(20)]
    for name in "abc":
        path = tmp_path / f"videos/{name}.gif"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    flags = ["--input=videos", "--name=mine", "--data_dir=data"]
    assert run_app("videos", *flags, folder=tmp_path).code == 0
    ended = run(tmp_path, {"dataset": "video_folder/mine", "data_dir": "data"})
    assert ended.code == 0, ended.errors
    statistics = json.loads((tmp_path / "preview/statistics.json").read_text())
    for split in statistics["splits"].values():
        assert split["frames"] == 20
        assert not {"actions", "rewards"} & split.keys()
    text = (tmp_path / "preview/statistics.md").read_text()
    assert (
        "## Actions\n\nThe dataset has none.\n\n## Rewards\n\nThe dataset has none.\n"
        in text
    )


# Runs the program, and fails if it imported TensorFlow.
WITHOUT = """
import runpy, sys
sys.modules["av"] = None
try:
    runpy.run_module("genie_tf.experiments.preview", run_name="__main__", alter_sys=True)
finally:
    assert "tensorflow" not in sys.modules
"""


def test_arrays_need_neither_tensorflow_nor_pyav(tmp_path):
    frames = np.stack([picture(40, 60, 0, step) for step in range(10)])
    write_arrays(tmp_path / "arrays", {"train": [(frames, np.arange(10) % 3)]})
    (tmp_path / "preview").mkdir()
    (tmp_path / "preview/clips.mp4").write_text("of another dataset")
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, "--dataset=arrays", "--output=preview"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(
        "Left out: preview/clips.mp4. Writing MP4 needs PyAV: pip install "
        "genie_tf[mp4].\n"
    )
    folder = tmp_path / "preview"
    assert {path.name for path in folder.iterdir()} == WRITTEN - {"clips.mp4"}
    splits = json.loads((folder / "statistics.json").read_text())["splits"]
    assert splits["train"]["actions"]["counts"] == {"0": 4, "1": 3, "2": 3}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset": None}, "expected --dataset; see --help"),
        ({"dataset": "coinrn/tiny"}, "There is no dataset 'coinrn/tiny': .*"),
        ({"dataset": "coinrun/easy"}, "There is no dataset 'coinrun/easy': .*"),
        (
            {"dataset": "procgen/nnja_random_hard"},
            "There is no dataset 'procgen/nnja_random_hard': Procgen has no game 'nnja'; "
            "available: bigfish, .*, starpilot.",
        ),
        (
            {"dataset": "procgen/ninja_random_memory"},
            "There is no dataset 'procgen/ninja_random_memory': Procgen's ninja has no "
            "mode 'memory'; available: easy, hard.",
        ),
        (
            {"split": "tset"},
            f"Dataset '{ROBOTS}' has no split 'tset': its splits are .*train.*",
        ),
        ({"split": "train[:0]"}, rf"The split 'train\[:0\]' of '{ROBOTS}' is empty."),
        (
            {"camera": "hand"},
            f"The observations of dataset '{ROBOTS}' have no camera 'hand'; available: "
            "image, large; unusable: speed .Tensor.; expected .*",
        ),
        ({"dataset": "arrays", "split": "test"}, "Dataset 'arrays' has no split .*"),
        (
            {"dataset": "arrays", "camera": "hand"},
            "The arrays of 'arrays' have a single, .*",
        ),
        ({"output": "file/below"}, "cannot write to the folder file/below: choose .*"),
        ({"fps": 0}, r"flag --fps=0: .*\[0.01, 1000.*"),
        ({"fps": 1e30}, "flag --fps=1e.30: .* 1000.*"),
        ({"seed": -1}, "flag --seed=-1: .*"),
    ],
)
def test_invalid_input_is_rejected_in_one_sentence(run, tmp_path, changes, sentence):
    (tmp_path / "file").write_text("no folder")
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    write_arrays(tmp_path / "arrays", {"train": [(frames, None)]})
    before = set(tmp_path.rglob("*"))
    ended = run(tmp_path, changes)
    assert ended.code == 2
    (line,) = ended.errors
    assert re.fullmatch(f"preview(.py)?: {sentence}", line), line
    assert set(tmp_path.rglob("*")) == before


def test_full_disk_leaves_no_partial_files(run, tmp_path):
    ended = run(tmp_path, largest_file=1000)
    assert ended.code == 2
    assert re.search("preview(.py)?: .*File too large", ended.errors[-1]), ended.errors
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_help_shows_example_and_flags(run_app, tmp_path):
    ended = run_app("preview", "--help", folder=tmp_path)
    assert ended.errors == []
    assert "genie-preview --dataset=coinrun/random_hard_small" in ended.out
    assert "--camera: " in ended.out
