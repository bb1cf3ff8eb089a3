"""Presets come back equal, never half or damaged, and run nothing."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from genie_tf import list_presets, preset_folder
from genie_tf.models import (
    Dynamics,
    Genie,
    GuidedGenie,
    LatentActionModel,
    VideoTokenizer,
    World,
)
from genie_tf.preset_folder import read_config
from genie_tf.presets import load_preset, read_actions, save_preset
from genie_tf.testing.tiny_models import (
    TRANSFORMER,
    tiny_batch,
    tiny_genie,
    tiny_tokenizer,
)

PARTS = {
    "tokenizer": VideoTokenizer,
    "latent_action_model": LatentActionModel,
    "dynamics": Dynamics,
}
ABOUT = {
    "dataset": "coinrun/random_hard",
    "command": "genie-train --config=genie.py:fast --workdir=runs/genie",
    "scores": {"psnr": 21.34567, "dynamics/top1": 0.5},
    "settings": {"steps": 3500, "mask_rates": [0.5, 1.0]},
    "action_names": ["left", "right", "jump", "stay", "fall"],
    "keys": {"ArrowLeft": 0, " ": 2},
}


@pytest.fixture(scope="module")
def genie():
    """A Genie no variable of which has its initial value."""
    genie = tiny_genie()
    rng = np.random.default_rng(0)
    for variable in genie.weights:
        change = 0.1 * rng.normal(size=variable.shape)
        is_float = variable.dtype == "float32"
        variable.assign(variable + (change.astype("float32") if is_float else 1))
    return genie


@pytest.fixture
def folder(genie, tmp_path):
    save_preset(genie, tmp_path / "preset", "A card.")
    return tmp_path / "preset"


def outputs(genie):
    batch = tiny_batch(0)
    return genie.outputs_of(batch)


def assert_equal_weights(found, expected):
    for mine, theirs in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.path)


def change_config(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def edit(folder, change):
    """Changes the tokenizer's settings in a preset's config.json."""
    change_config(folder, lambda config: change(config["parts"]["tokenizer"]))


def error_of(function, *arguments, **settings):
    """The one sentence of the ValueError that a call ends with."""
    with pytest.raises(ValueError) as error:
        function(*arguments, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_genie_comes_back(folder, genie):
    loaded = load_preset(folder)
    assert_equal_weights(loaded, genie)
    expected, found = outputs(genie), outputs(loaded)
    np.testing.assert_array_equal(found["logits"], expected["logits"])
    np.testing.assert_array_equal(found["tokens"], expected["tokens"])
    np.testing.assert_array_equal(
        found["latent_action_model"]["prediction"],
        expected["latent_action_model"]["prediction"],
    )


@pytest.mark.parametrize("name", PARTS)
def test_a_part_comes_back(genie, tmp_path, name):
    part = getattr(genie, name)
    part.save_to_preset(tmp_path / "part", "A part.")
    for loaded in (
        PARTS[name].from_preset(tmp_path / "part"),
        load_preset(str(tmp_path / "part")),
    ):
        assert type(loaded) is PARTS[name]
        assert_equal_weights(loaded, part)
    assert sorted(os.listdir(tmp_path / "part")) == [
        "README.md",
        "config.json",
        f"{name}.weights.h5",
    ]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_genie_is_loaded_alone(folder, genie, name):
    for other in PARTS.keys() - {name}:
        (folder / f"{other}.weights.h5").unlink()
    assert_equal_weights(PARTS[name].from_preset(folder), getattr(genie, name))


def test_a_preset_is_settings_weights_and_a_card(folder):
    weights = {f"{name}.weights.h5" for name in PARTS}
    assert set(os.listdir(folder)) == {"README.md", "config.json", *weights}
    assert (folder / "README.md").read_text() == "# Genie\n\nA card.\n"
    config = json.loads((folder / "config.json").read_text())
    assert set(config) == {"description", "parts", "sha256"}
    assert config["description"] == "A card."
    for name in weights:
        content = (folder / name).read_bytes()
        assert content.startswith(b"\x89HDF\r\n")
        assert config["sha256"][name] == hashlib.sha256(content).hexdigest()
    assert set(config["sha256"]) == weights
    parts = config["parts"]
    defaults = {"head_dim": 8, "mlp_dim": 64, "qk_norm": False, "attention": "st"}
    blocks = {**TRANSFORMER, **defaults}
    assert parts["tokenizer"] == {
        "frame_shape": [16, 16, 3],
        "patch_size": 8,
        "num_codes": 24,
        "code_dim": 8,
        "encoder": blocks,
        "decoder": blocks,
        "quantizer": {},
    }
    assert list(parts) == list(PARTS)


def test_a_preset_knows_how_it_came_to_be(genie, tmp_path):
    genie.save_to_preset(tmp_path / "preset", "Small, of CoinRun.", **ABOUT)
    config = read_config(tmp_path / "preset")
    assert config.keys() == {"description", *ABOUT, "parts", "sha256"}
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

Settings of the training:

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


def test_actions_without_names(folder):
    assert read_actions(folder, 5) == ([], {})


@pytest.mark.parametrize(
    "names", [["left"], "abcde", {"left": 0}, 5, ["left", "right", "jump", "stay", 4]]
)
def test_action_names_of_other_actions(genie, folder, tmp_path, names):
    sentence = f"`action_names` must be 5 texts, one for each action; received {names}."
    arguments = (tmp_path / "other", "A card.")
    assert error_of(genie.save_to_preset, *arguments, action_names=names) == sentence
    assert os.listdir(tmp_path) == ["preset"]
    change_config(folder, lambda config: config.update(action_names=names))
    assert error_of(read_actions, folder, 5) == sentence


@pytest.mark.parametrize("keys", [{"a": 5}, {"a": -1}, {"a": "left"}, ["a"], 3])
def test_keys_of_other_actions(genie, folder, tmp_path, keys):
    sentence = (
        "`keys` must give each key one of the 5 actions, by its number from 0 on; "
        f"received {keys}."
    )
    arguments = (tmp_path / "other", "A card.")
    assert error_of(genie.save_to_preset, *arguments, keys=keys) == sentence
    change_config(folder, lambda config: config.update(keys=keys))
    assert error_of(read_actions, folder, 5) == sentence


@pytest.fixture
def shipped(genie, tmp_path, monkeypatch):
    """The folder of presets that ship with genie_tf: two, and what is none."""
    monkeypatch.setattr(preset_folder, "_SHIPPED", tmp_path / "shipped")
    genie.save_to_preset(tmp_path / "shipped/genie_small", "A small Genie.")
    genie.tokenizer.save_to_preset(tmp_path / "shipped/eyes", "Its tokenizer.")
    (tmp_path / "shipped/notes").mkdir()
    return tmp_path / "shipped"


def test_presets_that_ship_have_names(shipped, genie, tmp_path, monkeypatch):
    assert list_presets() == {
        "eyes": "Its tokenizer.",
        "genie_small": "A small Genie.",
    }
    assert_equal_weights(Genie.from_preset("genie_small"), genie)
    assert_equal_weights(VideoTokenizer.from_preset("eyes"), genie.tokenizer)
    # A folder of that name is one only if it looks like one.
    monkeypatch.chdir(tmp_path)
    genie.dynamics.save_to_preset("eyes", "Another one.")
    assert type(load_preset("eyes")) is VideoTokenizer
    assert type(load_preset("./eyes")) is type(load_preset(Path("eyes"))) is Dynamics


@pytest.mark.parametrize("name", ["nose", "notes", "shipped/nose", "../shipped/eyes"])
def test_an_unknown_name_is_answered_with_the_known_ones(shipped, name):
    assert error_of(Genie.from_preset, name) == (
        f"There is no preset {name}: expected a folder, or the name of one that ships "
        "with genie_tf (eyes, genie_small)."
    )


def test_no_preset_may_ship(tmp_path, monkeypatch):
    monkeypatch.setattr(preset_folder, "_SHIPPED", tmp_path / "shipped")
    assert list_presets() == {}
    assert error_of(load_preset, tmp_path / "none") == (
        f"There is no preset {tmp_path}/none: expected a folder, or the name of one that "
        "ships with genie_tf (none so far)."
    )


def test_what_ships_can_be_loaded():
    for name, description in list_presets().items():
        assert description and "\n" not in description
        model = load_preset(name)
        if isinstance(model, World):
            read_actions(name, model.num_actions)


def test_presets_are_listed_without_loading_keras():
    program = (
        "import sys, genie_tf; genie_tf.list_presets(); "
        "sys.exit('keras' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_guided_genie_comes_back_and_other_quantizers(genie, tmp_path):
    tokenizer = tiny_tokenizer(code_dim=2, quantizer={"levels": (6, 4)})
    guided = GuidedGenie(tokenizer, genie.dynamics)
    save_preset(guided, tmp_path / "preset", "A card.")
    loaded = load_preset(tmp_path / "preset")
    assert type(loaded) is GuidedGenie
    assert_equal_weights(loaded, guided)
    assert loaded.tokenizer.quantizer.levels == (6, 4)


class SmallGenie(Genie):
    """Which no preset holds."""


def test_a_preset_of_another_kind(genie, folder, tmp_path):
    guided = GuidedGenie(genie.tokenizer, genie.dynamics)
    guided.save_to_preset(tmp_path / "guided", "A card.")
    genie.tokenizer.save_to_preset(tmp_path / "part", "A card.")
    for asked, held, expected, found in (
        (Genie, "guided", "Genie", "GuidedGenie"),
        (GuidedGenie, "preset", "GuidedGenie", "Genie"),
        (LatentActionModel, "guided", "LatentActionModel", "GuidedGenie"),
        (Dynamics, "part", "Dynamics", "VideoTokenizer"),
        (Genie, "part", "Genie", "VideoTokenizer"),
        (World, "part", "Genie or GuidedGenie", "VideoTokenizer"),
        (SmallGenie, "preset", "SmallGenie", "Genie"),
    ):
        assert error_of(asked.from_preset, tmp_path / held) == (
            f"Expected {tmp_path}/{held} to hold a {expected}; it holds a {found}."
        )
    assert type(World.from_preset(folder)) is Genie
    assert type(World.from_preset(tmp_path / "guided")) is GuidedGenie


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({}, "none"),
        (
            {"tokenizer": {}, "latent_action_model": {}},
            "tokenizer, latent_action_model",
        ),
        ({"../tokenizer": {}}, "../tokenizer"),
    ],
)
def test_parts_that_make_no_model(folder, parts, named):
    change_config(folder, lambda config: config.update(parts=parts))
    assert error_of(load_preset, folder) == (
        f"Expected {folder}/config.json to have one of the parts tokenizer, "
        f"latent_action_model, dynamics, or those of a Genie; received {named}."
    )


def test_another_attention_comes_back(tmp_path):
    tokenizer = tiny_tokenizer(
        encoder={**TRANSFORMER, "attention": "space"},
        decoder={**TRANSFORMER, "attention": "space_time"},
    )
    save_preset(tokenizer, tmp_path / "part", "A card.")
    loaded = VideoTokenizer.from_preset(tmp_path / "part")
    assert loaded.encoder.arguments() == tokenizer.encoder.arguments()
    assert loaded.decoder.arguments() == tokenizer.decoder.arguments()
    assert_equal_weights(loaded, tokenizer)


def test_attention_need_not_be_said(folder, genie):
    edit(
        folder, lambda x: [x[part].pop("attention") for part in ("encoder", "decoder")]
    )
    assert_equal_weights(VideoTokenizer.from_preset(folder), genie.tokenizer)


def test_a_failure_while_writing_leaves_the_old_preset(folder, genie, monkeypatch):
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
        assert error_of(genie.save_to_preset, tmp_path / name, "A card.") == (
            f"{tmp_path}/{name} exists and is no preset, so it is not replaced: choose "
            "another folder."
        )
    assert sorted(os.listdir(tmp_path)) == ["file", "work"]
    assert (tmp_path / "work/checkpoints").is_dir()


def test_only_genie_and_its_parts_are_presets(tmp_path):
    with pytest.raises(ValueError, match="made of a Genie or one of its parts; .*Seq"):
        save_preset(keras.Sequential(), tmp_path / "preset", "A card.")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [None, "", "{", "[]", '{"parts": 3}', '{"part": {}}', "[" * 10**6],
    ids=lambda text: str(text)[:12],
)
def test_what_is_no_preset(folder, text):
    (folder / "config.json").unlink()
    if text is not None:
        (folder / "config.json").write_text(text)
    with pytest.raises(ValueError) as error:
        load_preset(folder)
    assert str(error.value) == (
        f"{folder} is not the folder of a trained model: expected a readable "
        f"{folder}/config.json."
    )


@pytest.mark.parametrize("damage", ["a bit", "truncated", "swapped"])
def test_damaged_weights(folder, damage):
    path = folder / "tokenizer.weights.h5"
    whole = path.read_bytes()
    changed = {
        "a bit": whole[:-1] + bytes([whole[-1] ^ 1]),
        "truncated": whole[:1000],
        "swapped": (folder / "dynamics.weights.h5").read_bytes(),
    }[damage]
    path.write_bytes(changed)
    before, after = (hashlib.sha256(x).hexdigest() for x in (whole, changed))
    for load in (load_preset, VideoTokenizer.from_preset):
        assert error_of(load, folder) == (
            f"{path} is damaged or swapped: expected the sha256 {before}, as config.json "
            f"says; received {after}."
        )


@pytest.mark.parametrize("damage", [Path.unlink, lambda x: (x.unlink(), x.mkdir())])
def test_missing_weights(folder, damage):
    damage(folder / "dynamics.weights.h5")
    assert error_of(load_preset, folder) == (
        f"{folder}/dynamics.weights.h5 is missing or cannot be read."
    )


@pytest.mark.parametrize("sha256", [None, {}, [], "a" * 64])
def test_missing_checksums(folder, genie, sha256):
    def change(config):
        config["sha256"] = sha256
        if sha256 is None:
            del config["sha256"]

    change_config(folder, change)
    assert error_of(load_preset, folder) == (
        f"{folder}/config.json lacks the sha256 of tokenizer.weights.h5: give the same "
        "genie-train command again, which writes the model anew."
    )
    genie.save_to_preset(folder, "A card.")
    assert_equal_weights(load_preset(folder), genie)


@pytest.mark.parametrize("content", [b"", b"no HDF5", None])
def test_weights_of_another_model(folder, content):
    """Such as were written so, which no checksum tells."""
    path = folder / "tokenizer.weights.h5"
    if content is None:
        content = (folder / "dynamics.weights.h5").read_bytes()
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    change_config(folder, lambda config: config["sha256"].update({path.name: found}))
    assert error_of(load_preset, folder) == (
        f"Expected {path} to hold the weights of the tokenizer that {folder}/config.json "
        "describes; it is of another model."
    )


@keras.saving.register_keras_serializable("presets_test")
class Trap(keras.Layer):
    """Notes that a config made Keras make it."""

    sprung = False

    def __init__(self, **kwargs):
        Trap.sprung = True
        super().__init__()


TRAP = {
    "module": None,
    "class_name": "Trap",
    "config": {},
    "registered_name": "presets_test>Trap",
}


def test_the_trap_works():
    keras.saving.deserialize_keras_object(TRAP)
    assert Trap.sprung


@pytest.mark.parametrize(
    "settings",
    [
        {"activity_regularizer": TRAP},
        {"encoder": {**TRANSFORMER, "activity_regularizer": TRAP}},
        {"encoder": {**TRANSFORMER, "dtype": TRAP}},
        {"encoder": TRAP},
        {"decoder": {**TRANSFORMER, "dim": TRAP}},
        {"patch_size": TRAP},
        {"num_codes": "many"},
        {"layers": [TRAP], "input_layers": [], "output_layers": []},
        {**TRAP, "encoder": None},
    ],
    ids=str,
)
def test_settings_are_arguments_and_run_nothing(folder, settings):
    edit(folder, lambda tokenizer: tokenizer.update(settings))
    Trap.sprung = False
    with pytest.raises(ValueError) as error:
        VideoTokenizer.from_preset(folder)
    assert str(error.value).startswith(
        f"Expected {folder}/config.json to hold the arguments of a VideoTokenizer as "
        "tokenizer; received {"
    )
    assert "\n" not in str(error.value)
    assert not Trap.sprung


def test_a_precision_that_is_an_object_is_not_made(folder):
    edit(folder, lambda tokenizer: tokenizer.update(dtype=TRAP))
    Trap.sprung = False
    with pytest.raises(ValueError, match="to hold the arguments of a VideoTokenizer"):
        VideoTokenizer.from_preset(folder)
    assert not Trap.sprung


@pytest.mark.parametrize("settings", [[], "tokenizer", None, {}])
def test_settings_of_another_form(folder, settings):
    change_config(folder, lambda config: config["parts"].update(tokenizer=settings))
    with pytest.raises(ValueError, match="to hold the arguments of a VideoTokenizer"):
        VideoTokenizer.from_preset(folder)
