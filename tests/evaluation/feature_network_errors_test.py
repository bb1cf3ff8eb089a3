"""Unusable feature networks are rejected in one sentence."""

import json
import re
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from genie_tf.evaluation.feature_networks import (
    load_feature_network,
)
from genie_tf.testing.feature_networks import SavedMeans, means


def save_keras(model):
    return lambda folder: model().save(folder / "x.keras") or str(folder / "x.keras")


def write(name, text="no network"):
    def write_file(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        return str(folder / name.split("/")[0])

    return write_file


def signatures(*names):
    def save(folder):
        module = SavedMeans((None, 8, 8, 3))
        calls = dict.fromkeys(names, module.call)
        tf.saved_model.save(module, folder / "x", signatures=calls)
        return str(folder / "x")

    return save


def bare(folder):
    tf.saved_model.save(tf.Module(), folder / "x")
    return str(folder / "x")


def saved(*args, **kwargs):
    return lambda folder: SavedMeans(*args, **kwargs).save(folder / "x")


def with_lambda():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.Lambda(lambda x: x[:, 0, 0])(inputs))


def two_inputs():
    inputs = [keras.Input((8, 8, 3), name=name) for name in ("left", "right")]
    return keras.Model(inputs, keras.layers.Add()(inputs), name="Two")


def two_outputs():
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten(name="flat")(inputs)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(inputs)
    return keras.Model(inputs, [flat, pooled], name="Two")


def unpooled():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.ReLU()(inputs), name="Unpooled")


def infinite():
    inputs = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Rescaling(np.inf)(pooled), name="Infinite")


def changed_keras(**change):
    """Return a function that writes a .keras file with a changed last layer."""

    def save(folder):
        inputs = keras.Input((8, 8, 3))
        pooled = keras.layers.GlobalAveragePooling2D()(inputs)
        model = keras.Model(inputs, keras.layers.Dense(4, name="dense")(pooled))
        model.save(folder / "whole.keras")
        with (
            zipfile.ZipFile(folder / "whole.keras") as whole,
            zipfile.ZipFile(folder / "x.keras", "w") as changed,
        ):
            for name in whole.namelist():
                content = whole.read(name)
                if name == "config.json":
                    described = json.loads(content)
                    described["config"]["layers"][-1] |= change
                    content = json.dumps(described)
                changed.writestr(name, content)
        return str(folder / "x.keras")

    return save


def of_keras(name, /, **config):
    module, _, name = name.rpartition(".")
    return {"module": module, "class_name": name, "config": config}


NONE = (
    "A feature network must be an existing SavedModel folder, a .keras file or a handle "
    "such as https://tfhub.dev/deepmind/i3d-kinetics-400/1; received '.*{}'."
)
FOR_FID = "For FID, the network {} must take float32 images .batch, height, width, 3.,"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: str(folder / "none"), NONE.format("none")),
        (lambda folder: str(folder / "none.keras"), NONE.format("none.keras")),
        (lambda folder: str(folder), NONE.format("")),
        (write("weights.h5"), NONE.format("weights.h5")),
        (lambda folder: "https://example.com/x", NONE.format("https://example.com/x")),
        (write("x.keras"), ".*x.keras could not be loaded as a Keras model with built-in layers only.*"),
        (save_keras(with_lambda), ".*x.keras could not be loaded .*Lambda.*"),
        (
            changed_keras(config={"units": 10**9, "name": "dense"}),
            ".*x.keras could not be loaded .*: its config.json describes 4,000,000,000 "
            "numbers; its weights are [0-9,]+ bytes.",
        ),
        (changed_keras(padding="." * 2**22), ".* its config.json has 4,19.* bytes."),
        *(
            (changed_keras(**change), ".*x.keras could not be loaded as a Keras model.*")
            for change in (
                of_keras("os.system", command="false"),
                of_keras("keras.layers.TFSMLayer", filepath="x", name="dense"),
                of_keras("keras.layers.StringLookup", vocabulary="/etc/passwd"),
                {"config": {"units": 4, "kernel_initializer": of_keras(
                    "keras.config.enable_unsafe_deserialization")}},
                {"config": {"units": 4, "kernel_initializer": of_keras(
                    "keras.utils.get_file", origin="http://127.0.0.1/")}},
            )
        ),
        (write("x/saved_model.pb"), ".*x could not be loaded as a SavedModel: .*"),
        (save_keras(two_inputs), "The network Two .* one input; it has 2: left, r.*"),
        (save_keras(two_outputs), "The network Two .* one output; it has 2: .*"),
        (save_keras(unpooled), r"The network Unpooled .*for 16 it returned \(16, 8, 8, 3\)."),
        (save_keras(infinite), "The network Infinite returned features that are not fin.*"),
        (
            save_keras(lambda: means((None, 8, 8, 3))),
            FOR_FID.format("Means") + r" .*declares \(None, None, 8, 8, 3\).",
        ),
        (saved((None, 8, 8, 1)), FOR_FID.format("x") + r" .* \(None, 8, 8, 1\)."),
        (saved((4, 8, 8, 3)), FOR_FID.format("x") + r" of any batch size; .* \(4, 8, 8, 3\)."),
        (saved((None, 8, 8, 3), tf.uint8), "The network x must take float32; .* uint8."),
        (
            saved((None, 8, 8, 3), outputs=("a", "b")),
            "The network x must have one output; it has 2: a, b.",
        ),
        (
            signatures("one", "two"),
            "The SavedModel x must have one signature, or one called serving_default; it "
            "has one, two.",
        ),
        (bare, "The SavedModel x must have a signature or be callable; it has none .*"),
    ],
)  # fmt: skip
def test_unusable_feature_networks_are_rejected(tmp_path, make, message):
    with pytest.raises(ValueError) as error:
        load_feature_network(make(tmp_path), "fid")
    assert re.fullmatch(message, str(error.value)), str(error.value)


def test_unknown_kind_is_rejected():
    with pytest.raises(ValueError, match="must be 'fid' or 'fvd'; received 'kid'."):
        load_feature_network("x", "kid")
