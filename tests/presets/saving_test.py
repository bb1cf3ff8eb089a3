"""Presets are written completely or not at all, and describe themselves."""

import hashlib
import json
import os
import resource

import keras
import numpy as np
import pytest

from genie_tf.models import VideoTokenizer
from genie_tf.presets.folder import read_actions, read_config
from genie_tf.presets.loading import load_preset
from genie_tf.presets.saving import digest, save_preset
from genie_tf.testing.presets import PARTS, assert_equal_weights, error_message
from genie_tf.testing.tiny_models import TRANSFORMER, tiny_tokenizer

ABOUT = {
    "dataset": "coinrun/random_hard",
    "command": "genie-train --config=genie.py:fast --workdir=runs/genie",
    "scores": {"psnr": 21.34567, "dynamics/top1": 0.5},
    "settings": {"steps": 3500, "mask_rates": [0.5, 1.0]},
    "action_names": ["left", "right", "jump", "stay", "fall"],
    "keys": {"ArrowLeft": 0, " ": 2},
}


def test_preset_consists_of_config_weights_and_card(folder):
    weights = {f"{name}.weights.h5" for name in PARTS}
    assert set(os.listdir(folder)) == {"README.md", "config.json", *weights}
    assert (folder / "README.md").read_text() == "# Genie\n\nA card.\n"
    config = json.loads((folder / "config.json").read_text())
    assert list(config) == [
        "format",
        "class_name",
        "description",
        "world",
        "parts",
        "sha256",
    ]
    assert (config["format"], config["class_name"]) == (1, "Genie")
    assert config["description"] == "A card."
    assert config["world"] == {"frame_shape": [16, 16, 3], "num_actions": 5}
    for name in weights:
        content = (folder / name).read_bytes()
        assert content.startswith(b"\x89HDF\r\n")
        assert config["sha256"][name] == hashlib.sha256(content).hexdigest()
    assert set(config["sha256"]) == weights
    parts = config["parts"]
    defaults = {"head_dim": 8, "mlp_dim": 64, "qk_norm": False, "attention": "st"}
    blocks = {**TRANSFORMER, **defaults}
    assert parts["tokenizer"] == {
        "class_name": "VideoTokenizer",
        "frame_shape": [16, 16, 3],
        "patch_size": 8,
        "num_codes": 24,
        "code_dim": 8,
        "encoder": blocks,
        "decoder": blocks,
        "quantizer": {},
    }
    assert {name: part["class_name"] for name, part in parts.items()} == {
        name: part.__name__ for name, part in PARTS.items()
    }


def test_preset_records_its_training(genie, tmp_path):
    genie.save_to_preset(tmp_path / "preset", "Small, of CoinRun.", **ABOUT)
    config = read_config(tmp_path / "preset")
    required = {"format", "class_name", "description", "world", "parts", "sha256"}
    assert config.keys() == {*ABOUT, *required}
    assert {name: config[name] for name in ABOUT} == ABOUT
    assert (
        (tmp_path / "preset/README.md").read_text()
        == """\
# Genie

Small, of CoinRun.

Trained on coinrun/random_hard.

```
genie-train --config=genie.py:fast --workdir=runs/genie
```

| metric | value |
|---|---|
| psnr | 21.35 |
| dynamics/top1 | 0.5 |

Actions: 0 left, 1 right, 2 jump, 3 stay, 4 fall.

Keys: `ArrowLeft` 0, ` ` 2.

Training settings:

```json
{
 "steps": 3500,
 "mask_rates": [
  0.5,
  1.0
 ]
}
```
"""
    )
    named = ABOUT["action_names"], ABOUT["keys"]
    assert read_actions(tmp_path / "preset", genie.num_actions) == named


def test_failed_write_keeps_old_preset(folder, genie, monkeypatch):
    def fail(path):
        path.write_bytes(b"half of i")
        raise OSError("No space left on device")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(genie.dynamics, "save_weights", fail)
        with pytest.raises(OSError, match="No space left"):
            save_preset(genie, folder, "Another card.")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    save_preset(genie.tokenizer, folder, "Another card.")
    assert read_config(folder)["description"] == "Another card."
    assert_equal_weights(VideoTokenizer.from_preset(folder), genie.tokenizer)
    assert os.listdir(folder.parent) == ["preset"]


def test_only_presets_are_replaced(genie, tmp_path):
    (tmp_path / "work/checkpoints").mkdir(parents=True)
    (tmp_path / "work/config.json").write_text('{"steps": 3}')
    (tmp_path / "file").write_text("of mine")
    for name in ("work", "file"):
        assert error_message(genie.save_to_preset, tmp_path / name, "A card.") == (
            f"{tmp_path}/{name} exists and is not a preset, so it is not replaced: choose "
            "another folder."
        )
    assert sorted(os.listdir(tmp_path)) == ["file", "work"]
    assert (tmp_path / "work/checkpoints").is_dir()


def test_only_genie_and_its_parts_can_be_saved(tmp_path):
    with pytest.raises(ValueError, match="Only a Genie or one of its parts .*Seq"):
        save_preset(keras.Sequential(), tmp_path / "preset", "A card.")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "about",
    [
        {"dataset": b"bytes"},
        {"settings": {"a": {1, 2}}},
        {"settings": {"a": "\ud800"}},
        {"scores": {"psnr": "high"}},
        {"scores": [1.0]},
    ],
    ids=str,
)
def test_unwritable_metadata_is_rejected(genie, tmp_path, about):
    error = error_message(genie.save_to_preset, tmp_path / "preset", "A card.", **about)
    assert error.startswith("A preset's description, dataset and command must be texts")
    assert os.listdir(tmp_path) == []


def test_home_folder_is_expanded(genie, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    genie.tokenizer.save_to_preset("~/models/eyes", "A card.")
    assert os.listdir(tmp_path) == ["models"]
    assert_equal_weights(load_preset("~/models/eyes"), genie.tokenizer)


def test_addresses_are_rejected(genie, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for function in (load_preset, read_config, genie.save_to_preset):
        arguments = ["A card."] if function == genie.save_to_preset else []
        error = error_message(function, "gs://bucket/model", *arguments)
        assert error.startswith("Expected a path on this machine; received 'gs://")
    assert os.listdir(tmp_path) == []


def test_linked_folder_is_replaced_at_its_target(folder, genie, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    genie.tokenizer.save_to_preset(link, "Another card.")
    assert link.is_symlink()
    assert read_config(folder)["description"] == "Another card."
    assert sorted(os.listdir(tmp_path)) == ["link", "preset"]


def test_full_disk_keeps_old_preset(folder, genie):
    """A limit on file size causes the same failures as a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            genie.save_to_preset(folder, "Another card.")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(folder.parent) == ["preset"]
    assert read_config(folder)["description"] == "A card."


def test_preset_of_a_part_describes_no_world(genie, tmp_path):
    genie.dynamics.save_to_preset(tmp_path / "part", "A part.")
    config = read_config(tmp_path / "part")
    assert config["class_name"] == "MaskGitDynamics"
    assert config["parts"].keys() == {"dynamics"} and config["world"] == {}


def test_digest_distinguishes_parts(genie):
    tokenizer = tiny_tokenizer()
    assert digest(tokenizer) == digest(tiny_tokenizer())
    assert digest(tokenizer) != digest(genie.tokenizer)
    assert digest(tokenizer) != digest(tiny_tokenizer(quantizer={"ema": 0.5}))


def test_half_precision_rounds_weights_to_float16(tmp_path):
    model = tiny_tokenizer()
    save_preset(model, tmp_path / "full", "A card.")
    save_preset(model, tmp_path / "half", "A card.", half_precision=True)
    loaded = load_preset(tmp_path / "half")
    for ours, original in zip(loaded.weights, model.weights, strict=True):
        assert ours.dtype == original.dtype
        original = keras.ops.convert_to_numpy(original)
        if "float" in ours.dtype:
            original = original.astype("float16").astype("float32")
        np.testing.assert_array_equal(ours, original)
    full, half = (
        (tmp_path / name / "tokenizer.weights.h5").stat().st_size
        for name in ("full", "half")
    )
    assert half < full
