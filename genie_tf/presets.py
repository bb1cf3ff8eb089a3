"""Trained models as folders: their settings and weights, and nothing that runs.

A preset is a folder of `config.json`, which names each part with its settings, and
`<part>.weights.h5` for each. A Genie has the parts tokenizer, latent_action_model and
dynamics, a guided one lacks the second; a part alone is a preset of one part.
"""

import hashlib
import inspect
import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np

from genie_tf.layers import STTransformer
from genie_tf.models import Genie, GuidedGenie, World
from genie_tf.models.genie import PARTS


def save_preset(model: keras.Model, folder: str | os.PathLike, card: str) -> None:
    """Writes a model as a preset folder, replacing one of that name when complete.

    Args:
        model: a `Genie`, or one of its parts.
        folder: where to write; its parent exists.
        card: text of the preset's README: command, data and scores.
    """
    folder = Path(folder)
    partial, replaced = (
        folder.with_name(f".{folder.name}.{state}") for state in ("partial", "replaced")
    )
    parts = _parts_of(model)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    config = {name: part.arguments() for name, part in parts.items()}
    (partial / "config.json").write_text(json.dumps({"parts": config}, indent=1))
    for name, part in parts.items():
        part.save_weights(partial / f"{name}.weights.h5")
    (partial / "README.md").write_text(card)
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
    partial.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def load_preset(folder: str | os.PathLike) -> World:
    """The `Genie` of a preset folder, or the `GuidedGenie` if it has no latent actions.

    Raises:
        ValueError: if the folder is no preset, or lacks a part, or is damaged.
    """
    names = [name for name in PARTS if name != "latent_action_model"]
    if "latent_action_model" not in _read_settings(folder):
        return GuidedGenie(**{name: load_part(folder, name) for name in names})
    return Genie(**{name: load_part(folder, name) for name in PARTS})


def load_model(folder: str | os.PathLike) -> keras.Model:
    """Whatever a preset folder holds: a `World`, or a part alone but for a dynamics.

    Raises:
        ValueError: if the folder is no preset, or lacks a part, or is damaged.
    """
    names = list(_read_settings(folder))
    if names in (["tokenizer"], ["latent_action_model"]):
        return load_part(folder, names[0])
    return load_preset(folder)


def load_part(folder: str | os.PathLike, name: str) -> keras.Model:
    """One part of a preset folder.

    Args:
        folder: a preset.
        name: "tokenizer", "latent_action_model" or "dynamics".

    Raises:
        ValueError: if the folder is no preset, or lacks the part, or is damaged.
    """
    parts = _read_settings(folder)
    if name not in parts:
        raise ValueError(
            f"The model in {os.fspath(folder)} has no part {name}, only "
            f"{', '.join(parts)}."
        )
    path = _settings_path(folder)
    part = _make_part(name, parts[name], path)
    weights = Path(folder) / f"{name}.weights.h5"
    try:
        part.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"Expected {weights} to hold the weights of the {name} that {path} "
            "describes; it is missing, damaged, or of another model."
        ) from error
    return part


def _settings_path(folder: str | os.PathLike) -> Path:
    return Path(folder) / "config.json"


def _read_settings(folder: str | os.PathLike) -> dict[str, dict]:
    """The arguments of each part of a preset."""
    path = _settings_path(folder)
    try:
        return dict(json.loads(path.read_text())["parts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{os.fspath(folder)} is not the folder of a trained model: expected a "
            f"readable {path}."
        ) from error


def digest(part: keras.Model) -> str:
    """A text that two parts share if they have the same settings and weights."""
    sha = hashlib.sha256(json.dumps(part.arguments(), sort_keys=True).encode())
    for variable in part.variables:
        sha.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)))
    return sha.hexdigest()


def _make_part(name: str, settings, path: Path) -> keras.Model:
    part_class = PARTS[name]
    try:
        _check_arguments(part_class, settings)
        for name_of_value, value in settings.items():
            if isinstance(value, dict) and name_of_value != "quantizer":
                _check_arguments(STTransformer, value)
        return part_class(**settings)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"Expected {path} to hold the arguments of a {part_class.__name__} as "
            f"{name}; received {json.dumps(settings)}."
        ) from error


def _check_arguments(made: type, settings: dict) -> None:
    unknown = settings.keys() - inspect.signature(made).parameters.keys()
    if unknown:
        raise ValueError(f"{made.__name__} has no arguments {', '.join(unknown)}.")


def _parts_of(model: keras.Model) -> dict[str, keras.Model]:
    if isinstance(model, World):
        return model.parts()
    for name, part_class in PARTS.items():
        if isinstance(model, part_class):
            return {name: model}
    raise ValueError(
        f"A preset is made of a Genie or one of its parts; received {type(model)}."
    )
