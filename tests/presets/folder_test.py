"""Presets are found by name or folder, and described without building a model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from genie_tf import list_presets
from genie_tf.models import Genie, MaskGitDynamics, VideoTokenizer, WorldModel
from genie_tf.presets import folder as folder_module
from genie_tf.presets.folder import (
    FORMAT,
    holds_preset,
    read_actions,
    read_config,
    read_world,
)
from genie_tf.presets.loading import load_preset
from genie_tf.presets.saving import save_preset
from genie_tf.testing.presets import assert_equal_weights, change_config, error_message


def test_actions_without_names(folder):
    assert read_actions(folder, 5) == ([], {})


@pytest.mark.parametrize(
    "names", [["left"], "abcde", {"left": 0}, 5, ["left", "right", "jump", "stay", 4]]
)
def test_action_names_must_fit_the_actions(genie, folder, tmp_path, names):
    sentence = (
        f"`action_names` must be 5 texts, one for each action; received {names!r}."
    )
    arguments = (tmp_path / "other", "A card.")
    assert (
        error_message(genie.save_to_preset, *arguments, action_names=names) == sentence
    )
    assert os.listdir(tmp_path) == ["preset"]
    change_config(folder, lambda config: config.update(action_names=names))
    assert error_message(read_actions, folder, 5) == sentence


@pytest.mark.parametrize("keys", [{"a": 5}, {"a": -1}, {"a": "left"}, ["a"], 3])
def test_keys_must_fit_the_actions(genie, folder, tmp_path, keys):
    sentence = f"`keys` must map each key to an action from 0 to 4; received {keys}."
    arguments = (tmp_path / "other", "A card.")
    assert error_message(genie.save_to_preset, *arguments, keys=keys) == sentence
    change_config(folder, lambda config: config.update(keys=keys))
    assert error_message(read_actions, folder, 5) == sentence


@pytest.fixture
def shipped(genie, tmp_path, monkeypatch):
    """Folder of shipped presets: two presets and another folder."""
    monkeypatch.setattr(folder_module, "_SHIPPED", tmp_path / "shipped")
    genie.save_to_preset(tmp_path / "shipped/genie_small", "A small Genie.")
    genie.tokenizer.save_to_preset(tmp_path / "shipped/eyes", "Its tokenizer.")
    (tmp_path / "shipped/notes").mkdir()
    return tmp_path / "shipped"


def test_shipped_presets_load_by_name(shipped, genie, tmp_path, monkeypatch):
    assert list_presets() == {
        "eyes": "Its tokenizer.",
        "genie_small": "A small Genie.",
    }
    assert_equal_weights(Genie.from_preset("genie_small"), genie)
    assert_equal_weights(VideoTokenizer.from_preset("eyes"), genie.tokenizer)
    # A folder with the name of a shipped preset must be written as a path.
    monkeypatch.chdir(tmp_path)
    genie.dynamics.save_to_preset("eyes", "Another one.")
    assert type(load_preset("eyes")) is VideoTokenizer
    assert (
        type(load_preset("./eyes"))
        is type(load_preset(Path("eyes")))
        is MaskGitDynamics
    )


@pytest.mark.parametrize("name", ["nose", "notes", "shipped/nose", "../shipped/eyes"])
def test_unknown_name_is_reported_with_known_names(shipped, name):
    assert error_message(Genie.from_preset, name) == (
        f"There is no preset {name}: expected a folder, or the name of one that ships "
        "with genie_tf (eyes, genie_small)."
    )


def test_package_works_without_shipped_presets(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "_SHIPPED", tmp_path / "shipped")
    assert list_presets() == {}
    assert error_message(load_preset, tmp_path / "none") == (
        f"There is no preset {tmp_path}/none: expected a folder, or the name of one that "
        "ships with genie_tf (none so far)."
    )


def test_shipped_presets_can_be_loaded():
    for name, description in list_presets().items():
        assert description and "\n" not in description
        model = load_preset(name)
        if isinstance(model, WorldModel):
            read_actions(name, model.num_actions)


def test_presets_are_listed_without_loading_keras():
    program = (
        "import sys, genie_tf; genie_tf.list_presets(); "
        "sys.exit('keras' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


START = '{"format": 1, "class_name": "Genie", "parts": {}, '


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        '{"format": 1, "class_name": "Genie", "parts": 3}',
        '{"format": 1, "class_name": "Genie", "part": {}}',
        '{"format": 1, "parts": {}}',
        '{"format": "1", "class_name": "Genie", "parts": {}}',
        '{"format": true, "class_name": "Genie", "parts": {}}',
        '{"format": 1.0, "class_name": "Genie", "parts": {}}',
        "[" * 10**6,
        START + '"parts": {}}',
        START + '"description": "\\ud800"}',
        START + '"n": %s}' % ("9" * 5000),
        START + '"description": "%s"}' % ("long" * 10**6),
        "\0",
    ],
    ids=lambda text: str(text)[:70],
)
def test_unreadable_config_is_rejected(folder, text):
    (folder / "config.json").unlink()
    if text is not None:
        (folder / "config.json").write_text(text)
    with pytest.raises(ValueError) as error:
        load_preset(folder)
    assert str(error.value) == (
        f"{folder} is not the folder of a trained model: expected a readable "
        f"{folder}/config.json."
    )


def test_config_must_be_a_regular_file(folder, genie, replace):
    replace(folder / "config.json")
    for function in (load_preset, read_config):
        assert "is not the folder of a trained model" in error_message(function, folder)
    assert "is not a preset" in error_message(save_preset, genie, folder, "A card.")


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("description", ["A card."], "a text"),
        ("description", None, "a text"),
        ("dataset", 3, "a text"),
        ("command", {}, "a text"),
        ("sha256", "a" * 64, "an object"),
        ("sha256", [], "an object"),
        ("scores", [1.0], "an object"),
        ("settings", "steps", "an object"),
        ("world", [16, 16, 3], "an object"),
        ("class_name", 3, "a text"),
    ],
)
def test_config_entries_of_wrong_type_are_rejected(folder, name, value, word):
    change_config(folder, lambda config: config.update({name: value}))
    for function in (load_preset, read_config):
        assert error_message(function, folder).startswith(
            f"Expected `{name}` in {folder}/config.json to be {word}; received "
        )


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "config.json/x"])
def test_impossible_folder_names_are_rejected(folder, name):
    assert "There is no preset" in error_message(load_preset, folder / name)


def test_parts_need_a_class(folder):
    for part in ([], "tokenizer", None, {}, {"class_name": 3}):
        change_config(folder, lambda config, part=part: config["parts"].update(x=part))
        assert "is not the folder of a trained model" in error_message(
            read_config, folder
        )


def test_preset_without_format_is_rejected(folder, genie):
    change_config(folder, lambda config: config.pop("format"))
    for function in (load_preset, read_config, read_world):
        assert error_message(function, folder) == (
            f"{folder} has format 0; this genie_tf reads 1: train the model again, or "
            "install the genie_tf that wrote it."
        )


def test_preset_of_newer_format_is_rejected(folder, genie):
    def change(config):
        config["format"] = FORMAT + 1
        config["parts"] = ["whatever it may have"]

    change_config(folder, change)
    for function in (load_preset, read_config, read_world):
        assert error_message(function, folder) == (
            f"{folder} has format 2; this genie_tf reads 1: install a newer one."
        )
    assert not holds_preset(folder)
    before = (folder / "config.json").read_text()
    assert "is not a preset" in error_message(save_preset, genie, folder, "A card.")
    assert (folder / "config.json").read_text() == before


def test_world_is_described_without_building_a_model(folder, genie, tmp_path):
    assert read_world(folder) == ((16, 16), 5)
    genie.tokenizer.save_to_preset(tmp_path / "part", "A card.")
    assert error_message(read_world, tmp_path / "part") == (
        f"Expected {tmp_path}/part to hold a world, with at most 4096 actions and pixels "
        "a side; its config.json describes a VideoTokenizer."
    )


@pytest.mark.parametrize(
    "world",
    [
        {},
        {"frame_shape": [16, 16, 3]},
        {"frame_shape": 16, "num_actions": 5},
        {"frame_shape": [16, 16], "num_actions": 5},
        {"frame_shape": [16, 0, 3], "num_actions": 5},
        {"frame_shape": ["16", 16, 3], "num_actions": 5},
        {"frame_shape": [4097, 16, 3], "num_actions": 5},
        {"frame_shape": [16, 16, 3], "num_actions": 10**9},
        {"frame_shape": [16, 16, 3], "num_actions": None},
    ],
    ids=str,
)
def test_impossible_worlds_are_rejected(folder, world):
    change_config(folder, lambda config: config.update(world=world))
    assert "to hold a world, with at most" in error_message(read_world, folder)
