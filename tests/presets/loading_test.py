"""Presets load equal models, and damaged or incomplete ones are rejected."""

import hashlib
import os
import reprlib

import numpy as np
import pytest

from genie_tf.models import (
    Genie,
    GuidedGenie,
    LatentActionModel,
    MaskGitDynamics,
    VideoTokenizer,
    WorldModel,
)
from genie_tf.presets.folder import read_config
from genie_tf.presets.loading import load_preset
from genie_tf.presets.saving import save_preset
from genie_tf.testing.presets import (
    PARTS,
    assert_equal_weights,
    change_config,
    error_message,
)
from genie_tf.testing.tiny_models import TRANSFORMER, tiny_batch, tiny_tokenizer


def test_genie_round_trip(folder, genie):
    loaded = load_preset(folder)
    assert_equal_weights(loaded, genie)
    expected, actual = outputs(genie), outputs(loaded)
    np.testing.assert_array_equal(actual["logits"], expected["logits"])
    np.testing.assert_array_equal(actual["tokens"], expected["tokens"])
    np.testing.assert_array_equal(
        actual["latent_action_model"]["prediction"],
        expected["latent_action_model"]["prediction"],
    )


def outputs(genie):
    batch = tiny_batch(0)
    return genie.compute_outputs(batch)


@pytest.mark.parametrize("name", PARTS)
def test_part_round_trip(genie, tmp_path, name):
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
def test_part_is_loaded_without_other_parts(folder, genie, name):
    for other in PARTS.keys() - {name}:
        (folder / f"{other}.weights.h5").unlink()
    assert_equal_weights(PARTS[name].from_preset(folder), getattr(genie, name))


def test_guided_genie_round_trip_with_other_quantizer(genie, tmp_path):
    tokenizer = tiny_tokenizer(
        code_dim=2, quantizer={"class_name": "FiniteScalarQuantizer", "levels": (6, 4)}
    )
    guided = GuidedGenie(tokenizer, genie.dynamics)
    save_preset(guided, tmp_path / "preset", "A card.")
    loaded = load_preset(tmp_path / "preset")
    assert type(loaded) is GuidedGenie
    assert_equal_weights(loaded, guided)
    assert loaded.tokenizer.quantizer.levels == (6, 4)


class SmallGenie(Genie):
    """A class that no preset holds."""


def test_preset_of_another_class_is_rejected(genie, folder, tmp_path):
    guided = GuidedGenie(genie.tokenizer, genie.dynamics)
    guided.save_to_preset(tmp_path / "guided", "A card.")
    genie.tokenizer.save_to_preset(tmp_path / "part", "A card.")
    for requested, folder_name, expected, actual in (
        (Genie, "guided", "Genie", "GuidedGenie"),
        (GuidedGenie, "preset", "GuidedGenie", "Genie"),
        (LatentActionModel, "guided", "LatentActionModel", "GuidedGenie"),
        (MaskGitDynamics, "part", "MaskGitDynamics", "VideoTokenizer"),
        (Genie, "part", "Genie", "VideoTokenizer"),
        (WorldModel, "part", "Genie or GuidedGenie", "VideoTokenizer"),
        (SmallGenie, "preset", "SmallGenie", "Genie"),
    ):
        path = tmp_path / folder_name
        assert error_message(requested.from_preset, path) == (
            f"Expected {path} to hold a {expected}; it holds a {actual}."
        )
    assert type(WorldModel.from_preset(folder)) is Genie
    assert type(WorldModel.from_preset(tmp_path / "guided")) is GuidedGenie


@pytest.mark.parametrize(
    ("class_name", "names", "expected", "received"),
    [
        ("Genie", [], "tokenizer, latent_action_model, dynamics", "none"),
        (
            "Genie",
            ["tokenizer", "latent_action_model"],
            "tokenizer, latent_action_model, dynamics",
            "tokenizer, latent_action_model",
        ),
        ("GuidedGenie", PARTS, "tokenizer, dynamics", ", ".join(PARTS)),
        ("VideoTokenizer", ["../tokenizer"], "tokenizer", "../tokenizer"),
        ("VideoTokenizer", ["dynamics"], "tokenizer", "dynamics"),
    ],
)
def test_wrong_parts_are_rejected(folder, class_name, names, expected, received):
    parts = {name: {"class_name": "VideoTokenizer"} for name in names}
    change_config(folder, lambda x: x.update(parts=parts, class_name=class_name))
    assert error_message(load_preset, folder) == (
        f"Expected {folder}/config.json to describe a model: a {class_name} has the "
        f"parts {expected}; received {received}."
    )


def test_parts_of_another_class_are_rejected(folder):
    def change(config):
        parts = config["parts"]
        parts["tokenizer"], parts["dynamics"] = parts["dynamics"], parts["tokenizer"]

    change_config(folder, change)
    assert error_message(load_preset, folder) == (
        f"Expected {folder}/config.json to describe a model: the tokenizer of a Genie is "
        "a Tokenizer; received a MaskGitDynamics."
    )


@pytest.mark.parametrize("part", [None, "dynamics"])
@pytest.mark.parametrize("name", ["Genies", "Dynamics", "PresetModel", "", "a" * 10**5])
def test_unknown_classes_are_reported(folder, part, name):
    def change(config):
        (config["parts"][part] if part else config)["class_name"] = name

    change_config(folder, change)
    error = error_message(load_preset, folder)
    assert error.startswith(
        f"Expected {folder}/config.json to describe a model: There is no model "
        f"{reprlib.repr(name)}; genie_tf has "
    )
    assert "LatentActionModel" in error and "MaskGitDynamics" in error
    assert len(error) < 1000


@pytest.mark.parametrize(
    "world",
    [
        {},
        {"frame_shape": [16, 16, 3], "num_actions": 6},
        {"frame_shape": [16, 17, 3], "num_actions": 5},
        {"frame_shape": [16, 16, 3], "num_actions": 5, "more": 1},
        {"frame_shape": ["long" * 10**4] * 3, "num_actions": 5},
    ],
    ids=lambda world: str(world)[:60],
)
def test_world_must_match_its_description(folder, world):
    change_config(folder, lambda config: config.update(world=world))
    error = error_message(load_preset, folder)
    assert error.startswith(
        f"{folder} holds parts of several models: config.json describes the world as "
    )
    assert error.endswith(
        "; the model is {'frame_shape': [16, 16, 3], 'num_actions': 5}."
    )
    assert len(error) < 500
    assert isinstance(VideoTokenizer.from_preset(folder), VideoTokenizer)


def test_attention_round_trip(tmp_path):
    tokenizer = tiny_tokenizer(
        encoder={**TRANSFORMER, "attention": "space"},
        decoder={**TRANSFORMER, "attention": "space_time"},
    )
    save_preset(tokenizer, tmp_path / "part", "A card.")
    loaded = VideoTokenizer.from_preset(tmp_path / "part")
    assert loaded.encoder.arguments() == tokenizer.encoder.arguments()
    assert loaded.decoder.arguments() == tokenizer.decoder.arguments()
    assert_equal_weights(loaded, tokenizer)


def test_attention_has_a_default(folder, genie):
    def change(config):
        for part in ("encoder", "decoder"):
            del config["parts"]["tokenizer"][part]["attention"]

    change_config(folder, change)
    assert_equal_weights(VideoTokenizer.from_preset(folder), genie.tokenizer)


@pytest.mark.parametrize("damage", ["a bit", "swapped"])
def test_damaged_weights_are_rejected(folder, damage):
    path = folder / "tokenizer.weights.h5"
    whole = path.read_bytes()
    changed = {
        "a bit": whole[:-1] + bytes([whole[-1] ^ 1]),
        "swapped": (folder / "dynamics.weights.h5").read_bytes(),
    }[damage]
    path.write_bytes(changed)
    before, after = (hashlib.sha256(x).hexdigest() for x in (whole, changed))
    for load in (load_preset, VideoTokenizer.from_preset):
        assert error_message(load, folder) == (
            f"{path} is damaged or swapped: expected the sha256 {before} from "
            f"config.json; received {after}."
        )


@pytest.mark.parametrize("sha256", [None, {}])
def test_missing_checksums_are_rejected(folder, genie, sha256):
    def change(config):
        config["sha256"] = sha256
        if sha256 is None:
            del config["sha256"]

    change_config(folder, change)
    assert error_message(load_preset, folder) == (
        f"{folder}/config.json lacks the sha256 of tokenizer.weights.h5: rerun the same "
        "genie-train command, which writes the model again."
    )
    genie.save_to_preset(folder, "A card.")
    assert_equal_weights(load_preset(folder), genie)


def test_parts_of_several_models_are_rejected(folder, genie, tmp_path):
    other = tiny_tokenizer(num_codes=12)
    other.save_to_preset(tmp_path / "other", "A card.")
    theirs = read_config(tmp_path / "other")
    name = "tokenizer.weights.h5"
    (tmp_path / "other" / name).replace(folder / name)

    def change(config):
        config["parts"]["tokenizer"] = theirs["parts"]["tokenizer"]
        config["sha256"][name] = theirs["sha256"][name]

    change_config(folder, change)
    assert error_message(load_preset, folder) == (
        f"{folder} holds parts of several models: The parts of a Genie must agree on "
        "`num_codes`; received 12 and 24."
    )
