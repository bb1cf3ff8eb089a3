"""Arguments in presets are checked; they run no code and build no oversized models."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.models import Dynamics, Genie, MaskGitDynamics, VideoTokenizer
from genie_tf.presets import loading
from genie_tf.presets.loading import load_preset
from genie_tf.presets.weights_file import count_arrays
from genie_tf.testing.presets import (
    assert_equal_weights,
    change_config,
    change_part,
    error_message,
)
from genie_tf.testing.tiny_models import TRANSFORMER, tiny_batch, tiny_tokenizer


@keras.saving.register_keras_serializable("presets_test")
class Trap(keras.Layer):
    """Layer that records that Keras built it from a config."""

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


def test_trap_works():
    keras.saving.deserialize_keras_object(TRAP)
    assert Trap.sprung


@pytest.mark.parametrize(
    "settings",
    [
        {"activity_regularizer": TRAP},
        {"encoder": {**TRANSFORMER, "activity_regularizer": TRAP}},
        {"encoder": {**TRANSFORMER, "dtype": TRAP}},
        {"encoder": TRAP},
        {"quantizer": {"activity_regularizer": TRAP}},
        {
            "quantizer": {
                "class_name": "FiniteScalarQuantizer",
                "levels": [6, 4],
                "activity_regularizer": TRAP,
            }
        },
        {"decoder": {**TRANSFORMER, "dim": TRAP}},
        {"patch_size": TRAP},
        {"num_codes": "many"},
        {"layers": [TRAP], "input_layers": [], "output_layers": []},
        {**TRAP, "encoder": None, "class_name": "VideoTokenizer"},
    ],
    ids=str,
)
def test_settings_are_checked_and_run_nothing(folder, settings):
    change_part(folder, "tokenizer", **settings)
    Trap.sprung = False
    with pytest.raises(ValueError) as error:
        VideoTokenizer.from_preset(folder)
    assert str(error.value).startswith(
        f"Expected {folder}/config.json to hold the arguments of a VideoTokenizer as "
        "tokenizer: "
    )
    assert "\n" not in str(error.value)
    assert not Trap.sprung


def test_dtype_object_is_not_built(folder):
    change_part(folder, "tokenizer", dtype=TRAP)
    Trap.sprung = False
    with pytest.raises(ValueError, match="to hold the arguments of a VideoTokenizer"):
        VideoTokenizer.from_preset(folder)
    assert not Trap.sprung


def test_missing_settings_are_reported(folder):
    only_class = {"class_name": "VideoTokenizer"}
    change_config(folder, lambda config: config["parts"].update(tokenizer=only_class))
    error = error_message(VideoTokenizer.from_preset, folder)
    assert "to hold the arguments of a VideoTokenizer as tokenizer: " in error


NOT_SIZES = [
    -1,
    0,
    1.5,
    16.0,
    True,
    "16",
    None,
    [],
    {},
    float("nan"),
    1e300,
    2**31,
    10**4000,
]


@pytest.mark.parametrize(
    "place",
    [
        ("patch_size",),
        ("num_codes",),
        ("code_dim",),
        ("frame_shape", 0),
        ("encoder", "dim"),
        ("encoder", "num_heads"),
        ("encoder", "num_blocks"),
        ("decoder", "window"),
    ],
    ids=str,
)
def test_impossible_sizes_are_rejected(folder, place):
    for value in NOT_SIZES:
        if place[-1] == "num_blocks" and value == 0:
            continue  # A transformer without blocks is possible.

        def change(config, value=value):
            settings = config["parts"]["tokenizer"]
            for key in place[:-1]:
                settings = settings[key]
            settings[place[-1]] = value

        change_config(folder, change)
        error = error_message(VideoTokenizer.from_preset, folder)
        assert "to hold the arguments of a VideoTokenizer as tokenizer: " in error
        assert "must be a whole number" in error and len(error) < 400


@pytest.mark.parametrize(
    "settings",
    [
        {"num_codes": 10**9},
        {"code_dim": 10**9},
        {"patch_size": 10**9},
        {"frame_shape": [10**9, 10**9, 3]},
        {"encoder": {**TRANSFORMER, "dim": 10**8}},
        {"encoder": {**TRANSFORMER, "mlp_dim": 10**9}},
        {"encoder": {**TRANSFORMER, "head_dim": 10**9}},
        {"encoder": {**TRANSFORMER, "num_heads": 10**9, "head_dim": 2}},
        {"encoder": {**TRANSFORMER, "num_blocks": 10**6}},
        {"encoder": {**TRANSFORMER, "num_blocks": 2**31 - 1}},
        {"quantizer": {"quantize_after": 1}, "code_dim": 10**6},
    ],
    ids=str,
)
def test_model_larger_than_its_weights_is_not_built(folder, settings, monkeypatch):
    change_part(folder, "tokenizer", **settings)
    monkeypatch.setattr(loading, "_check_sha256", None)
    error = error_message(VideoTokenizer.from_preset, folder)
    assert (
        "to hold the weights that its config.json describes: they would take" in error
    )


def test_cache_larger_than_memory_is_rejected(folder):
    def change(config):
        config["parts"]["dynamics"]["transformer"]["window"] = 2**31 - 1

    change_config(folder, change)
    error = error_message(load_preset, folder)
    assert error.startswith(
        f"The frames that {folder} caches need 1,024 GiB of memory; this machine has "
    )
    assert isinstance(MaskGitDynamics.from_preset(folder), MaskGitDynamics)


@pytest.mark.parametrize(
    "settings",
    [
        {"levels": 5},
        {"levels": "64"},
        {"levels": [6, 4.0]},
        {"levels": [2**30, 2**30]},
        {"idle_limit": -1},
        {"quantize_after": 0.5},
        {"ema": "much"},
        {"ema": float("inf")},
        {"commitment_weight": float("nan")},
        {"num_codes": 24},
        {"unknown": 1},
        ["levels"],
        3,
    ],
    ids=str,
)
def test_impossible_quantizers_are_rejected(folder, settings):
    change_part(folder, "tokenizer", quantizer=settings, code_dim=2)
    error = error_message(VideoTokenizer.from_preset, folder)
    assert "to hold the arguments of a VideoTokenizer as tokenizer: " in error


class CopyDynamics(Dynamics):
    """Dynamics from outside genie_tf that predicts that nothing changes."""

    def __init__(self, num_codes, num_patches, action_dim, sharpness=5.0, **kwargs):
        super().__init__(**kwargs)
        self.num_codes, self.num_patches = num_codes, num_patches
        self.action_dim, self.sharpness = action_dim, sharpness
        self.bias = self.add_weight(shape=(num_codes,), initializer="zeros")
        self.built = True

    def call(self, tokens, actions, batch):
        before = ops.concatenate([tokens[:, :1], tokens[:, :-1]], axis=1)
        return self.sharpness * ops.one_hot(before, self.num_codes) + self.bias

    def scored(self, tokens, batch):
        return ops.ones_like(tokens, dtype="bool")

    def arguments(self):
        return {
            "num_codes": self.num_codes,
            "num_patches": self.num_patches,
            "action_dim": self.action_dim,
            "sharpness": self.sharpness,
        }


def test_model_of_another_package_round_trip(genie, tmp_path):
    dynamics = CopyDynamics.for_world(genie.tokenizer, 8, {"sharpness": 3.0})
    dynamics.bias.assign(np.arange(24, dtype="float32"))
    world = Genie(genie.tokenizer, genie.latent_action_model, dynamics)
    world.save_to_preset(tmp_path / "preset", "A card.")
    loaded = load_preset(tmp_path / "preset")
    assert type(loaded.dynamics) is CopyDynamics
    assert loaded.dynamics.arguments() == dynamics.arguments()
    assert_equal_weights(loaded, world)
    assert_equal_weights(CopyDynamics.from_preset(tmp_path / "preset"), dynamics)
    batch = tiny_batch(0)
    np.testing.assert_array_equal(
        loaded.compute_outputs(batch)["logits"], world.compute_outputs(batch)["logits"]
    )
    # It caches nothing.
    assert dynamics.cache_bytes(dynamics.arguments()) == 0
    change_part(tmp_path / "preset", "dynamics", window=3)
    assert error_message(load_preset, tmp_path / "preset") == (
        f"Expected {tmp_path}/preset/config.json to hold the arguments of a CopyDynamics "
        "as dynamics: CopyDynamics has no arguments 'window'."
    )


def test_outline_lists_all_arrays_of_the_model():
    for blocks in (0, 1, 3):
        encoder = {**TRANSFORMER, "num_blocks": blocks}
        model = tiny_tokenizer(encoder=encoder)
        outline, arrays = VideoTokenizer.outline(model.arguments())
        assert arrays == count_arrays(model.variables)
        assert len(outline.encoder.blocks) == min(blocks, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"window": 5},
        {"window": 1},
        {"window": 1, "attention": "space_time"},
        {"attention": "space"},
    ],
)
def test_cache_bytes_match_the_cache(changes):
    model = tiny_tokenizer(decoder={**TRANSFORMER, "num_blocks": 3, **changes})
    cache = keras.tree.flatten(model.empty_cache(1))
    numbers = sum(math.prod(x.shape) for x in cache if "float" in str(x.dtype))
    assert model.cache_bytes(model.arguments()) == 4 * numbers
