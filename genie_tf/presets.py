"""Trained models as folders: what they are, how they came to be, and nothing that runs.

A preset is a folder of `config.json`, which names each part with its settings, and
`<part>.weights.h5` for each, with its checksum in the former. A Genie has the parts
tokenizer, latent_action_model and dynamics, a guided one lacks the second; a part alone
is a preset of one part. `README.md` tells people what `config.json` says.
"""

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from genie_tf.layers import STTransformer
from genie_tf.models import Genie, GuidedGenie, World
from genie_tf.models.genie import PARTS
from genie_tf.preset_folder import find_preset, read_config

# What a preset holds, by its parts.
_KINDS = {
    frozenset(PARTS): Genie,
    frozenset(PARTS) - {"latent_action_model"}: GuidedGenie,
    **{frozenset([name]): part_class for name, part_class in PARTS.items()},
}


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
) -> None:
    """Writes a model as a preset folder, replacing one of that name when complete.

    Args:
        model: a `Genie` or `GuidedGenie`, or one of its parts.
        folder: where to write.
        description: one line about the model.
        dataset: what it was trained on.
        command: what trained it.
        scores: what it reached, by the names of the metrics.
        settings: those of the training.
        action_names: one short text for each action, such as "left".
        keys: the actions that the keys of a keyboard stand for, by the names that
            browsers have for keys, such as {"ArrowLeft": 2}.

    Raises:
        ValueError: if the model can be no preset, the actions are not the model's, or
            in the folder's place is something else.
    """
    folder = Path(folder)
    parts = _parts_of(model)
    _check_actions(action_names, keys, getattr(model, "num_actions", 0))
    if folder.exists() and not _is_preset(folder):
        raise ValueError(
            f"{folder} exists and is no preset, so it is not replaced: choose another "
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
        "description": description,
        **{name: value for name, value in about.items() if value},
        "parts": {name: part.arguments() for name, part in parts.items()},
        "sha256": {},
    }
    partial, replaced = (
        folder.with_name(f".{folder.name}.{state}") for state in ("partial", "replaced")
    )
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, part in parts.items():
        weights = partial / f"{name}.weights.h5"
        part.save_weights(weights)
        config["sha256"][weights.name] = _sha256(weights)
    (partial / "config.json").write_text(json.dumps(config, indent=1))
    (partial / "README.md").write_text(_card(type(model).__name__, config))
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
    partial.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def load_preset(
    preset: str | os.PathLike, kind: type[keras.Model] = keras.Model
) -> keras.Model:
    """The model of a preset, or a part of it.

    Args:
        preset: the name of one that ships with genie_tf, or a folder.
        kind: the class that the model has to be of: `Genie`, `GuidedGenie`, `World` for
            either of them, or the class of a part, which is then all that is loaded.

    Raises:
        ValueError: if there is no such preset, or it holds another model, or is
            damaged.
    """
    folder = find_preset(preset)
    config = read_config(folder)
    parts = config["parts"]
    held = _KINDS.get(frozenset(parts))
    if held is None:
        raise ValueError(
            f"Expected {folder}/config.json to have one of the parts {', '.join(PARTS)}, "
            f"or those of a Genie; received {', '.join(parts) or 'none'}."
        )
    names = [
        name
        for name in PARTS
        if name in parts and (issubclass(held, kind) or issubclass(PARTS[name], kind))
    ]
    if not names:
        kinds = [x.__name__ for x in _KINDS.values() if issubclass(x, kind)]
        expected = " or ".join(kinds) or kind.__name__
        raise ValueError(
            f"Expected {os.fspath(preset)} to hold a {expected}; it holds a "
            f"{held.__name__}."
        )
    loaded = {name: _load_part(folder, name, config) for name in names}
    return held(**loaded) if len(loaded) > 1 else loaded[names[0]]


def read_actions(
    preset: str | os.PathLike, num_actions: int
) -> tuple[list[str], dict[str, int]]:
    """What a preset says of its actions.

    Args:
        preset: the name of one that ships with genie_tf, or a folder.
        num_actions: how many actions its model has.

    Returns:
        A short text for each action, or none at all; and the actions that keys stand for, by the names of the keys.

    Raises:
        ValueError: if there is no such preset, or it speaks of other actions.
    """
    config = read_config(preset)
    names, keys = config.get("action_names"), config.get("keys")
    _check_actions(names, keys, num_actions)
    return names or [], keys or {}


def digest(part: keras.Model) -> str:
    """A text that two parts share if they have the same settings and weights."""
    sha = hashlib.sha256(json.dumps(part.arguments(), sort_keys=True).encode())
    for variable in part.variables:
        sha.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)))
    return sha.hexdigest()


def _parts_of(model: keras.Model) -> dict[str, keras.Model]:
    if isinstance(model, World):
        return model.parts()
    for name, part_class in PARTS.items():
        if isinstance(model, part_class):
            return {name: model}
    raise ValueError(
        f"A preset is made of a Genie or one of its parts; received {type(model)}."
    )


def _check_actions(names, keys, num_actions: int) -> None:
    if names is not None and not (
        isinstance(names, (list, tuple))
        and len(names) == num_actions
        and all(isinstance(name, str) for name in names)
    ):
        raise ValueError(
            f"`action_names` must be {num_actions} texts, one for each action; received "
            f"{names}."
        )
    if keys is not None and not (
        isinstance(keys, Mapping)
        and all(
            type(action) is int and 0 <= action < num_actions
            for action in keys.values()
        )
    ):
        raise ValueError(
            f"`keys` must give each key one of the {num_actions} actions, by its number "
            f"from 0 on; received {keys}."
        )


def _is_preset(folder: Path) -> bool:
    try:
        return bool(read_config(folder))
    except ValueError:
        return False


def _card(kind: str, config: dict) -> str:
    """What `config.json` says, for people."""
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
        texts.append(f"Settings of the training:\n\n```json\n{settings}\n```")
    return "\n\n".join(texts) + "\n"


def _load_part(folder: Path, name: str, config: dict) -> keras.Model:
    path, weights = folder / "config.json", folder / f"{name}.weights.h5"
    _check_file(weights, config["sha256"])
    part = _make_part(name, config["parts"][name], path)
    try:
        part.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"Expected {weights} to hold the weights of the {name} that {path} "
            "describes; it is of another model."
        ) from error
    return part


def _check_file(path: Path, sha256) -> None:
    """Raises a ValueError if a file is not the one that was written."""
    try:
        expected = sha256[path.name]
    except (KeyError, TypeError):
        raise ValueError(
            f"{path.with_name('config.json')} lacks the sha256 of {path.name}: give the "
            "same genie-train command again, which writes the model anew."
        ) from None
    try:
        found = _sha256(path)
    except OSError as error:
        raise ValueError(f"{path} is missing or cannot be read.") from error
    if found != expected:
        raise ValueError(
            f"{path} is damaged or swapped: expected the sha256 {expected}, as "
            f"config.json says; received {found}."
        )


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
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
