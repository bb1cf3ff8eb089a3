"""Helpers to change and check presets in tests."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from genie_tf.models import Genie, LatentActionModel, MaskGitDynamics, VideoTokenizer
from genie_tf.testing.tiny_models import tiny_genie

# Classes of the parts of a Genie, by name.
PARTS = {
    "tokenizer": VideoTokenizer,
    "latent_action_model": LatentActionModel,
    "dynamics": MaskGitDynamics,
}


def changed_genie() -> Genie:
    """Return a Genie with all variables moved off their initial values."""
    genie = tiny_genie()
    rng = np.random.default_rng(0)
    for variable in genie.weights:
        change = 0.1 * rng.normal(size=variable.shape)
        is_float = variable.dtype == "float32"
        variable.assign(variable + (change.astype("float32") if is_float else 1))
    return genie


def assert_equal_weights(model: keras.Model, expected: keras.Model) -> None:
    """Raise an AssertionError unless two models have equal weights."""
    for ours, theirs in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def change_config(folder: Path, change: Callable[[dict], None]) -> None:
    """Change the config.json of a preset."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def change_part(folder: Path, name: str, **changes) -> None:
    """Change the arguments of a part in the config.json of a preset."""
    change_config(folder, lambda config: config["parts"][name].update(changes))


def update_checksum(folder: Path, name: str) -> None:
    """Update the checksum in config.json after the weights of a part changed."""
    path = folder / f"{name}.weights.h5"
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    change_config(folder, lambda config: config["sha256"].update({path.name: checksum}))


def error_message(function: Callable, *arguments, **settings) -> str:
    """Return the one-line message of the ValueError that a call raises."""
    try:
        function(*arguments, **settings)
    except ValueError as error:
        if "\n" in str(error):
            raise AssertionError(f"Expected one line; got {error}") from error
        return str(error)
    raise AssertionError("Expected a ValueError; nothing was raised.")
