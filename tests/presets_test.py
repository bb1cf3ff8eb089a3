"""Presets come back equal, never half, and run nothing."""

import json
import os

import keras
import numpy as np
import pytest

from genie_tf.models import Genie, GuidedGenie
from genie_tf.presets import load_model, load_part, load_preset, save_preset
from genie_tf.testing.tiny_models import (
    TRANSFORMER,
    tiny_batch,
    tiny_genie,
    tiny_tokenizer,
)

PARTS = ("tokenizer", "latent_action_model", "dynamics")


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


def edit(folder, change):
    """Changes the settings in a preset's config.json."""
    config = json.loads((folder / "config.json").read_text())
    change(config["parts"]["tokenizer"])
    (folder / "config.json").write_text(json.dumps(config))


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
    save_preset(part, tmp_path / "part", "A card.")
    loaded = load_part(tmp_path / "part", name)
    assert type(loaded) is type(part)
    assert_equal_weights(loaded, part)
    assert sorted(os.listdir(tmp_path / "part")) == [
        "README.md",
        "config.json",
        f"{name}.weights.h5",
    ]


def test_a_preset_is_settings_weights_and_a_card(folder):
    weights = {f"{name}.weights.h5" for name in PARTS}
    assert set(os.listdir(folder)) == {"README.md", "config.json", *weights}
    assert (folder / "README.md").read_text() == "A card."
    for name in weights:
        assert (folder / name).read_bytes().startswith(b"\x89HDF\r\n")
    parts = json.loads((folder / "config.json").read_text())["parts"]
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


def test_a_guided_genie_comes_back_and_other_quantizers(genie, tmp_path):
    tokenizer = tiny_tokenizer(code_dim=2, quantizer={"levels": (6, 4)})
    guided = GuidedGenie(tokenizer, genie.dynamics)
    save_preset(guided, tmp_path / "preset", "A card.")
    loaded = load_preset(tmp_path / "preset")
    assert type(loaded) is GuidedGenie
    assert_equal_weights(loaded, guided)
    assert loaded.tokenizer.quantizer.levels == (6, 4)


def test_whatever_is_in_a_preset_comes_back(genie, folder, tmp_path):
    assert type(load_model(folder)) is Genie
    for name in PARTS[:2]:
        save_preset(getattr(genie, name), tmp_path / name, "A card.")
        assert type(load_model(tmp_path / name)) is type(getattr(genie, name))


def test_a_dynamics_alone_is_no_model(genie, tmp_path):
    save_preset(genie.dynamics, tmp_path / "preset", "A card.")
    with pytest.raises(ValueError) as error:
        load_model(tmp_path / "preset")
    assert str(error.value) == (
        f"The model in {tmp_path}/preset has no part tokenizer, only dynamics."
    )


def test_another_attention_comes_back(tmp_path):
    tokenizer = tiny_tokenizer(
        encoder={**TRANSFORMER, "attention": "space"},
        decoder={**TRANSFORMER, "attention": "space_time"},
    )
    save_preset(tokenizer, tmp_path / "part", "A card.")
    loaded = load_part(tmp_path / "part", "tokenizer")
    assert loaded.encoder.arguments() == tokenizer.encoder.arguments()
    assert loaded.decoder.arguments() == tokenizer.decoder.arguments()
    assert_equal_weights(loaded, tokenizer)


def test_attention_need_not_be_said(folder, genie):
    edit(
        folder, lambda x: [x[part].pop("attention") for part in ("encoder", "decoder")]
    )
    assert_equal_weights(load_part(folder, "tokenizer"), genie.tokenizer)


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
    assert (folder / "README.md").read_text() == "Another card."
    assert_equal_weights(load_part(folder, "tokenizer"), genie.tokenizer)
    assert os.listdir(folder.parent) == ["preset"]


def test_only_genie_and_its_parts_are_presets(tmp_path):
    with pytest.raises(ValueError, match="made of a Genie or one of its parts; .*Seq"):
        save_preset(keras.Sequential(), tmp_path / "preset", "A card.")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"parts": 3}', '{"part": {}}'])
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


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="none is not the folder of a trained model"):
        load_part(tmp_path / "none", "tokenizer")


def test_a_part_that_is_not_there(genie, tmp_path):
    save_preset(genie.tokenizer, tmp_path / "preset", "A card.")
    with pytest.raises(ValueError) as error:
        load_preset(tmp_path / "preset")
    assert str(error.value) == (
        f"The model in {tmp_path}/preset has no part dynamics, only tokenizer."
    )


@pytest.mark.parametrize("damage", ["removed", "empty", "truncated", "of another part"])
def test_damaged_weights(folder, damage):
    path = folder / "tokenizer.weights.h5"
    whole = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        other = (folder / "dynamics.weights.h5").read_bytes()
        changed = {"empty": b"", "truncated": whole[: len(whole) // 2]}
        path.write_bytes(changed.get(damage, other))
    with pytest.raises(ValueError) as error:
        load_part(folder, "tokenizer")
    assert str(error.value) == (
        f"Expected {path} to hold the weights of the tokenizer that "
        f"{folder}/config.json describes; it is missing, damaged, or of another model."
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
        load_part(folder, "tokenizer")
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
        load_part(folder, "tokenizer")
    assert not Trap.sprung


@pytest.mark.parametrize("settings", [[], "tokenizer", None, {}])
def test_settings_of_another_form(folder, settings):
    config = {"parts": {"tokenizer": settings}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="to hold the arguments of a VideoTokenizer"):
        load_part(folder, "tokenizer")
