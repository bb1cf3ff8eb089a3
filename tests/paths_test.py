"""Wherever the library takes a path, it rejects schemes such as gs:// and expands `~`."""

import contextlib
import functools
import os
from unittest import mock

import numpy as np
import pytest

from genie_tf import export, files, media
from genie_tf.datasets import array_episodes, episodes
from genie_tf.datasets.video_folder import videos
from genie_tf.evaluation import feature_networks
from genie_tf.experiments.cli import config_files
from genie_tf.presets import folder as preset_folder
from genie_tf.presets import loading, saving
from genie_tf.testing.tiny_models import tiny_genie, tiny_tokenizer

tokenizer = functools.cache(tiny_tokenizer)
VIDEO = np.zeros((2, 16, 16, 3), np.uint8)


def make_environment(preset, prompts):
    from genie_tf.envs import GenieEnv

    GenieEnv(preset, prompts=prompts)


def write(context, path):
    with context(path) as temporary:
        temporary.touch()


def write_folder(path):
    with files.replacing_folder(path) as folder:
        (folder / "file").touch()


def open_in(data_dir):
    """Open a dataset with a builder that only creates its data folder."""

    def build(dataset, data_dir):
        os.makedirs(data_dir)
        raise ValueError

    with mock.patch("tensorflow_datasets.builder", build):
        episodes.open_episodes("coinrun/random_hard_small", "train", data_dir)


# Entries that end with a suffix accept only names with that suffix.
ENTRIES = {
    "files.replacing": lambda path: write(files.replacing, path),
    "files.replacing_folder": write_folder,
    "media.save_video.gif": lambda path: media.save_video(path, VIDEO),
    "media.save_video.png": lambda path: media.save_video(path, VIDEO),
    "media.save_video.mp4": lambda path: media.save_video(path, VIDEO),
    "media.save_image_grid.png": lambda path: media.save_image_grid(path, [VIDEO]),
    "media.load_prompt_image.png": lambda path: media.load_prompt_image(path, 16, 16),
    "media.plot_curves.png": lambda path: media.plot_curves(
        path, [{"step": 1, "x": 1}]
    ),
    "saving.save_preset": lambda path: saving.save_preset(tokenizer(), path, "A."),
    "loading.load_preset": loading.load_preset,
    "folder.find_preset": preset_folder.find_preset,
    "folder.read_config": preset_folder.read_config,
    "folder.read_world": preset_folder.read_world,
    "folder.read_actions": lambda path: preset_folder.read_actions(path, 5),
    "export.export_model": lambda path: export.export_model(tokenizer(), path),
    "envs.GenieEnv preset": lambda path: make_environment(path, [VIDEO[0]]),
    "envs.GenieEnv prompts.png": lambda path: make_environment("preset", [path]),
    "array_episodes.write_arrays": lambda path: array_episodes.write_arrays(path, {}),
    "episodes.open_episodes": lambda path: episodes.open_episodes(path, "train"),
    "episodes.open_episodes data_dir": lambda path: open_in(path),
    "episodes.split_names": episodes.split_names,
    "videos.split_videos": lambda path: videos.split_videos(
        path, fps=10, height=16, width=16
    ),
    "feature_networks.load": lambda path: feature_networks.load_feature_network(
        path, "fid"
    ),
    "config_files.load_config": config_files.load_config,
}


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "preset"
    tiny_genie().save_to_preset(folder, "A Genie.")
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, preset):
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work/preset").symlink_to(preset)


@pytest.mark.parametrize("entry", ENTRIES)
def test_addresses_are_rejected(entry):
    with pytest.raises(ValueError, match="start with gs:// are not supported"):
        ENTRIES[entry](f"gs://bucket/name{suffix(entry)}")
    assert os.listdir() == ["preset"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_home_is_expanded(entry):
    with contextlib.suppress(ValueError, OSError):  # The file does not exist.
        ENTRIES[entry](f"~/name{suffix(entry)}")
    assert os.listdir() == ["preset"]


def suffix(entry: str) -> str:
    return "." + entry[-3:] if entry[-4:] in (".gif", ".mp4", ".png") else ""
