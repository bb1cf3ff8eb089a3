"""Weights of presets as a start, frozen layers, and the errors of both."""

import random

import numpy as np
import pytest

from genie_tf.models import GuidedGenie, MaskGitDynamics
from genie_tf.testing.tiny_models import (
    TRANSFORMER,
    tiny_batch,
    tiny_genie,
    tiny_latent_action_model,
    tiny_tokenizer,
)
from genie_tf.training import fine_tuning
from genie_tf.training.engine import TensorFlowEngine
from genie_tf.training.fine_tuning import freeze_layers, start_from
from genie_tf.training.optimizers import WarmupDecay, make_optimizer


def other_genie():
    """Return a `tiny_genie` with other weights."""
    genie = tiny_genie()
    rng = np.random.default_rng(1)
    for variable in genie.variables:
        noise = rng.normal(size=variable.shape)
        variable.assign(np.asarray(variable + noise, variable.dtype))
    return genie


def guided_genie():
    tokenizer = tiny_tokenizer()
    dynamics = MaskGitDynamics.for_world(tokenizer, 15, {"transformer": TRANSFORMER})
    return GuidedGenie(tokenizer, dynamics)


def values(layer):
    return [np.array(variable) for variable in layer.variables]


def equal(layer, expected):
    pairs = zip(values(layer), expected, strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


@pytest.fixture
def presets(tmp_path, monkeypatch):
    """Folder of a Genie and its parts, as presets; returns the Genie."""
    monkeypatch.chdir(tmp_path)
    genie = other_genie()
    genie.save_to_preset("genie", "A card.")
    for name, part in genie.parts().items():
        part.save_to_preset(name, "A card.")
    return genie


@pytest.mark.parametrize("preset", ["genie", "tokenizer"])
def test_tokenizer_has_the_weights_of_its_preset(presets, preset):
    tokenizer = tiny_tokenizer()
    start_from(tokenizer, preset)
    assert equal(tokenizer, values(presets.tokenizer))


@pytest.mark.parametrize(
    ("preset", "started"),
    [
        ("genie", {"latent_action_model", "dynamics"}),
        ("latent_action_model", {"latent_action_model"}),
        ("dynamics", {"dynamics"}),
    ],
)
def test_genie_has_the_weights_of_the_parts_in_its_preset(presets, preset, started):
    genie = tiny_genie()
    start_from(genie, preset, kept={"tokenizer"})
    same = {
        name
        for name, part in genie.parts().items()
        if equal(part, values(presets.parts()[name]))
    }
    assert same == started


def test_frozen_layers_do_not_change_in_training():
    random.seed(0)

    def make_model():
        genie = tiny_genie()
        freeze_layers(genie, "latent_action_model.quantizer,dynamics.transformer")
        return genie

    schedule = WarmupDecay(peak=1e-2, steps=9, warmup_steps=0)
    engine = TensorFlowEngine(make_model, lambda x: make_optimizer(x, schedule))
    genie = engine.model
    frozen = genie.latent_action_model.quantizer, genie.dynamics.transformer
    trained = genie.latent_action_model.encoder, genie.dynamics.to_change
    before = [values(layer) for layer in (*frozen, *trained)]
    engine.train_steps([tiny_batch(0), tiny_batch(1)])
    changed = [
        not equal(layer, old)
        for layer, old in zip((*frozen, *trained), before, strict=True)
    ]
    assert changed == [False, False, True, True]


def test_preset_of_another_kind_is_refused(presets):
    guided_genie().save_to_preset("guided", "A card.")
    for model, preset, message in (
        (tiny_tokenizer(), "dynamics", "VideoTokenizer .* holds a MaskGitDynamics."),
        (tiny_tokenizer(), "none", "There is no preset none: .*"),
        (tiny_latent_action_model(), "tokenizer", "LatentActionModel .* VideoTokeni.*"),
        (tiny_genie(), "tokenizer", "Genie .*, which holds a VideoTokenizer."),
        (tiny_genie(), "guided", "Genie cannot start from guided, .* GuidedGenie."),
        (guided_genie(), "genie", "GuidedGenie cannot start from genie, .* Genie."),
    ):
        start = "" if preset == "none" else "A "
        with pytest.raises(ValueError, match=f"^{start}{message}$"):
            start_from(model, preset, {"tokenizer"} if model.about() else ())


def test_weights_that_do_not_fit_are_named(presets):
    model = tiny_latent_action_model(num_actions=7)
    before = values(model)
    with pytest.raises(ValueError) as error:
        start_from(model, "genie")
    assert str(error.value) == (
        "The weights of genie do not fit the config: latent_action_model/quantizer/"
        "codebook is (5, 8) in the preset and (7, 8) in the config; "
        "latent_action_model/quantizer/idle is (5,) in the preset and (7,) in the config."
    )
    assert equal(model, before)


def test_some_of_many_weights_that_do_not_fit_are_named(presets):
    model = tiny_tokenizer(encoder={**TRANSFORMER, "dim": 32})
    with pytest.raises(ValueError) as error:
        start_from(model, "tokenizer")
    message = str(error.value)
    assert message.count(" in the preset and ") == 3
    assert "tokenizer/encoder/st_block/layer_normalization/gamma is (16,)" in message
    assert message.endswith("; and 19 more.")


def test_missing_weights_are_named(presets, monkeypatch):
    monkeypatch.setattr(fine_tuning, "_NAMED", 99)
    model = tiny_tokenizer(decoder={**TRANSFORMER, "num_blocks": 2})
    with pytest.raises(ValueError) as error:
        start_from(model, "tokenizer")
    assert (
        "tokenizer/decoder/st_block/feed_forward/mlp_in/kernel 2 is missing in the preset "
        "and (16, 64) in the config" in str(error.value)
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            "policy",
            "config.frozen names 'policy', but a Genie has no 'policy': it has "
            "dynamics, latent_action_model, tokenizer.",
        ),
        (
            "dynamics.encoder",
            "config.frozen names 'dynamics.encoder', but a MaskGitDynamics has no "
            "'encoder': it has .*, transformer.",
        ),
        (
            "dynamics,latent_action_model",
            "config.frozen=dynamics,latent_action_model leaves nothing to train.",
        ),
    ],
)
def test_wrong_names_of_frozen_layers_are_refused(names, message):
    genie = tiny_genie()
    with pytest.raises(ValueError, match=f"^{message}$"):
        freeze_layers(genie, names)
