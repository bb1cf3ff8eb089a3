"""Saves models as preset folders."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from genie_tf.files import local_path, replacing_folder
from genie_tf.presets.folder import FORMAT, check_actions, file_sha256, read_config
from genie_tf.presets.weights_file import count_arrays, expected_size


def save_preset(
    model: keras.Model,
    folder: str | os.PathLike,
    description: str,
    *,
    dataset: str = "",
    command: str = "",
    scores: Mapping[str, float] | None = None,
    settings: Mapping | None = None,
    action_names: Sequence[str] | None = None,
    keys: Mapping[str, int] | None = None,
    half_precision: bool = False,
) -> None:
    """Write a model as a preset folder, replacing a preset there once complete.

    Args:
        model: a `PresetModel`: a world, or one of its parts.
        folder: output folder.
        description: one line about the model.
        dataset: name of the training data.
        command: the training command.
        scores: values of the metrics, by name.
        settings: training settings.
        action_names: one short text per action, such as "left".
        keys: actions by the names that browsers give to keys, such as {"ArrowLeft": 2}.
        half_precision: store weights as float16, in half of the space; models load as
            float32.

    Raises:
        ValueError: if the model can't be a preset, the names or keys don't fit its
            actions, the rest can't be written as JSON, or `folder` is not a preset.
        OSError: if the disk is full. The old content of the folder stays.
    """
    folder = local_path(folder)
    if not hasattr(model, "parts"):
        raise ValueError(
            f"Only a Genie or one of its parts can be a preset; received {type(model)}."
        )
    parts = model.parts()
    check_actions(action_names, keys, getattr(model, "num_actions", 0))
    if folder.exists() and not _is_preset(folder):
        raise ValueError(
            f"{folder} exists and is not a preset, so it is not replaced: choose another "
            "folder."
        )
    about = {
        "dataset": dataset,
        "command": command,
        "scores": scores,
        "settings": settings,
        "action_names": action_names,
        "keys": keys,
    }
    config = {
        "format": FORMAT,
        "class_name": type(model).__name__,
        "description": description,
        **{name: value for name, value in about.items() if value},
        "world": model.about(),
        "parts": {name: part.settings() for name, part in parts.items()},
        "sha256": {},
    }
    try:
        card = _card(type(model).__name__, config)
        json.dumps(config, ensure_ascii=False).encode()
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            "A preset's description, dataset and command must be texts, its scores "
            "numbers, and its settings texts, numbers, lists and dicts of them; "
            f"{error}."
        ) from error
    with replacing_folder(folder) as partial:
        for name, part in parts.items():
            weights = partial / f"{name}.weights.h5"
            _save_weights(part, weights)
            if half_precision:
                _halve(weights)
            config["sha256"][weights.name] = file_sha256(weights)
        (partial / "config.json").write_text(json.dumps(config, indent=1))
        (partial / "README.md").write_text(card)


def digest(part: keras.Model) -> str:
    """Return a checksum of a part's settings and weights."""
    sha = hashlib.sha256(json.dumps(part.settings(), sort_keys=True).encode())
    for variable in part.variables:
        sha.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)))
    return sha.hexdigest()


def _save_weights(part: keras.Model, path: Path) -> None:
    """Write the weights of a part.

    Raises:
        OSError: if the disk is full.
    """
    # On a full disk some HDF5 failures only print, so reserve the space first.
    with path.open("wb") as file:
        os.posix_fallocate(
            file.fileno(), 0, expected_size(count_arrays(part.variables))
        )
    try:
        part.save_weights(path)
    except RuntimeError as error:
        raise OSError(f"{path} could not be written: {error}") from error


def _halve(path: Path) -> None:
    """Store the floats of a weights file as float16."""
    import h5py

    half = path.with_suffix(".half")
    with h5py.File(path) as old, h5py.File(half, "w") as new:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                group = new.require_group(name)
                group.attrs.update(item.attrs)
            else:
                floats = item.dtype.kind == "f"
                array = new.create_dataset(
                    name, data=item[()].astype("float16") if floats else item[()]
                )
                array.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)
    half.replace(path)


def _is_preset(folder: Path) -> bool:
    try:
        return bool(read_config(folder))
    except ValueError:
        return False


def _card(kind: str, config: dict) -> str:
    """Return the content of `config.json` as Markdown."""
    texts = [f"# {kind}", config["description"]]
    if "dataset" in config:
        texts.append(f"Trained on {config['dataset']}.")
    if "command" in config:
        texts.append(f"```\n{config['command']}\n```")
    if "scores" in config:
        rows = [f"| {name} | {score:.4g} |" for name, score in config["scores"].items()]
        texts.append("\n".join(["| metric | value |", "|---|---|", *rows]))
    if "action_names" in config:
        named = [
            f"{number} {name}" for number, name in enumerate(config["action_names"])
        ]
        texts.append(f"Actions: {', '.join(named)}.")
    if "keys" in config:
        keys = [f"`{key}` {action}" for key, action in config["keys"].items()]
        texts.append(f"Keys: {', '.join(keys)}.")
    if "settings" in config:
        settings = json.dumps(config["settings"], indent=1)
        texts.append(f"Training settings:\n\n```json\n{settings}\n```")
    return "\n\n".join(texts) + "\n"
