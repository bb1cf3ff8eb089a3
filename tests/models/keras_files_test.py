"""Saving, copying and pickling of models and layers with Keras."""

import copy
import inspect
import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from genie_tf import layers, models
from genie_tf.models import GuidedGenie, MaskGitDynamics
from genie_tf.testing.tiny_models import (
    TRANSFORMER,
    tiny_batch,
    tiny_genie,
    tiny_tokenizer,
)
from genie_tf.training.optimizers import WarmupDecay

# Abstract classes.
CONTRACTS = {
    models.ActionModel,
    models.Dynamics,
    models.Tokenizer,
    models.TrainableModel,
    models.WorldModel,
}
CLASSES = [
    value
    for module in (layers, models)
    for value in vars(module).values()
    if inspect.isclass(value) and issubclass(value, keras.Layer)
]


def randomize(model):
    """Move all variables, including counters, off their initial values."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        change = 1 if "int" in variable.dtype else 0.1 * rng.normal(size=variable.shape)
        variable.assign(variable + np.asarray(change, variable.dtype))
    return model


def frozen_actions():
    genie = tiny_genie()
    genie.latent_action_model.trainable = False
    return genie


def guided():
    tokenizer = tiny_tokenizer(
        code_dim=2, quantizer={"class_name": "FiniteScalarQuantizer", "levels": (6, 4)}
    )
    return GuidedGenie(tokenizer, MaskGitDynamics(24, 4, 15, TRANSFORMER))


MODELS = {
    "tokenizer": tiny_tokenizer,
    "quantizer with state": lambda: tiny_tokenizer(
        quantizer={"quantize_after": 2, "ema": 0.9}
    ),
    "genie": tiny_genie,
    "frozen actions": frozen_actions,
    "guided": guided,
}


def save_and_load(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


WAYS = {
    "file": save_and_load,
    "copy": lambda model, folder: copy.deepcopy(model),
    "pickle": lambda model, folder: pickle.loads(pickle.dumps(model)),  # noqa: S301
}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_classes_are_registered(cls):
    if cls not in CONTRACTS:
        assert keras.saving.get_registered_name(cls) == f"genie_tf>{cls.__name__}"


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *((kind, "copy") for kind in MODELS),
        ("frozen actions", "file"),
        ("guided", "pickle"),
    ],
)
def test_models_are_restored(kind, way, tmp_path):
    model = randomize(MODELS[kind]())
    restored = WAYS[way](model, tmp_path)
    assert type(restored) is type(model)
    for ours, theirs in zip(restored.variables, model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=theirs.path)
        assert ours.trainable == theirs.trainable, theirs.path
    pair = model, restored
    if isinstance(model, models.WorldModel):
        expected, outputs = (x.compute_outputs(tiny_batch(0)) for x in pair)
        names = "tokens", "actions", "logits"
    else:
        expected, outputs = (x(tiny_batch(0)["video"]) for x in pair)
        names = "indices", "reconstruction"
    for name in names:
        np.testing.assert_array_equal(outputs[name], expected[name])


def test_copies_do_not_share_weights():
    model = tiny_tokenizer()
    before = model.get_weights()
    randomize(copy.deepcopy(model))
    for weights, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize("way", ["copy", "pickle"])
def test_layers_are_restored(way):
    layer = layers.STTransformer(**TRANSFORMER, qk_norm=True, remat=True)
    layer.build((None, None, 4, 16))
    restored = WAYS[way](layer, None)
    assert restored.get_config() == layer.get_config()
    for ours, theirs in zip(restored.weights, layer.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_dtype_policy_is_restored(tmp_path):
    model = tiny_tokenizer(dtype="mixed_bfloat16")
    restored = save_and_load(model, tmp_path)
    assert restored.encoder.compute_dtype == "bfloat16"


def test_schedule_is_restored():
    schedule = WarmupDecay(1e-3, steps=10, warmup_steps=2, decay_steps=3)
    optimizer = keras.optimizers.Adam(schedule)
    config = keras.saving.serialize_keras_object(optimizer)
    restored = keras.saving.deserialize_keras_object(config)
    assert restored.learning_rate == optimizer.learning_rate


def test_file_can_be_read_after_importing_only_models(tmp_path):
    """Also with another backend."""
    model = randomize(tiny_genie())
    model.save(tmp_path / "genie.keras")
    batch = tiny_batch(0)
    np.save(tmp_path / "video.npy", batch["video"])
    program = """
import keras, numpy as np
import genie_tf.models
genie = keras.models.load_model("genie.keras")
video = np.load("video.npy")
np.save("tokens.npy", genie.tokenizer.tokenize(video))
np.save("actions.npy", genie.infer_actions(video))
"""
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / "tokens.npy"), model.tokenizer.tokenize(batch["video"])
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / "actions.npy"), model.infer_actions(batch["video"])
    )
