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
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from genie_tf.files import local_path, replacing_folder
from genie_tf.forks import runs_nothing
from genie_tf.layers import STTransformer, check_whole, quantizer_class
from genie_tf.models import Genie, GuidedGenie, World
from genie_tf.models.genie import PARTS
from genie_tf.models.without_weights import without_weights
from genie_tf.preset_folder import find_preset, read_config
from genie_tf.weights_file import (
    check_arrays,
    check_memory,
    check_size,
    count_arrays,
    expected_size,
    not_expected,
)

# What a preset holds, by its parts.
_KINDS = {
    frozenset(PARTS): Genie,
    frozenset(PARTS) - {"latent_action_model"}: GuidedGenie,
    **{frozenset([name]): part_class for name, part_class in PARTS.items()},
}

# Arguments of parts that are themselves arguments, of an `STTransformer`.
_TRANSFORMERS = ("encoder", "decoder", "transformer")


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
        ValueError: if the model can't be a preset, the actions are not the model's,
            what is said of it can't be written, or something else is in the folder's
            place.
        OSError: if the disk is full. Whatever was in the folder stays.
    """
    folder = local_path(folder)
    parts = _parts_of(model)
    _check_actions(action_names, keys, getattr(model, "num_actions", 0))
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
        "description": description,
        **{name: value for name, value in about.items() if value},
        "parts": {name: part.arguments() for name, part in parts.items()},
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
            config["sha256"][weights.name] = _sha256(weights)
        (partial / "config.json").write_text(json.dumps(config, indent=1))
        (partial / "README.md").write_text(card)


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
    outline_preset(preset, kind)
    return _assemble(preset, kind, _load_part)


def outline_preset(
    preset: str | os.PathLike, kind: type[keras.Model] = keras.Model
) -> keras.Model:
    """Checks a preset without using memory for it.

    Args:
        preset, kind: see `load_preset`.

    Returns:
        What `load_preset` would return, with one block in each transformer and without
        weights: only good to look at sizes.

    Raises:
        ValueError: see `load_preset`.
    """
    with runs_nothing():
        model = _assemble(preset, kind, _outline_part)
    if isinstance(model, World):
        parts = read_config(preset)["parts"]
        for layer, settings in (
            (model.dynamics.transformer, parts["dynamics"]["transformer"]),
            (model.tokenizer.decoder, parts["tokenizer"]["decoder"]),
        ):
            # Keys and values of the last frames, in float32.
            numbers = 2 * layer.num_heads * layer.head_dim * model.tokenizer.num_patches
            check_memory(
                f"The last {layer.window} frames of a video that {preset} remembers",
                4 * numbers * layer.window * settings["num_blocks"],
            )
    return model


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


def _assemble(
    preset: str | os.PathLike,
    kind: type[keras.Model],
    make_part: Callable[[Path, str, dict], keras.Model],
) -> keras.Model:
    """Makes the model of a preset, or a part of it, with a function that makes parts."""
    folder = find_preset(preset)
    config = read_config(folder)
    parts = config["parts"]
    held = _KINDS.get(frozenset(parts))
    if held is None:
        raise ValueError(
            f"Expected {folder}/config.json to have one of the parts {', '.join(PARTS)}, "
            f"or those of a Genie; received {', '.join(parts)[:200] or 'none'}."
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
    made = {name: make_part(folder, name, config) for name in names}
    if len(made) == 1:
        return made[names[0]]
    try:
        return held(**made)
    except ValueError as error:
        raise ValueError(f"{folder} holds parts of several models: {error}") from error


def digest(part: keras.Model) -> str:
    """A text that two parts share if they have the same settings and weights."""
    sha = hashlib.sha256(json.dumps(part.arguments(), sort_keys=True).encode())
    for variable in part.variables:
        sha.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)))
    return sha.hexdigest()


def _save_weights(part: keras.Model, path: Path) -> None:
    """Writes the weights of a part.

    Raises:
        OSError: if the disk is full.
    """
    # On a full disk HDF5 fails in several places, some of which only print.
    with path.open("wb") as file:
        os.posix_fallocate(
            file.fileno(), 0, expected_size(count_arrays(part.variables))
        )
    try:
        part.save_weights(path)
    except RuntimeError as error:
        raise OSError(f"{path} could not be written: {error}") from error


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
            f"{reprlib.repr(names)}."
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
            f"from 0 on; received {reprlib.repr(keys)}."
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
    """Builds a part that `_outline_part` found good, and loads its weights."""
    part = PARTS[name](**config["parts"][name])
    weights = folder / f"{name}.weights.h5"
    try:
        part.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise not_expected(weights, "they are of another model") from error
    return part


def _outline_part(folder: Path, name: str, config: dict) -> keras.Model:
    """Checks a part's arguments and weights; returns it with few blocks and no weights.

    Nothing is read or built before its size is known to be no more than expected.
    """
    part, arrays = _outline(name, config["parts"][name], folder / "config.json")
    weights = folder / f"{name}.weights.h5"
    try:
        check_size(weights, arrays)
        _check_sha256(weights, config["sha256"])
        check_arrays(weights, arrays)
    except OSError as error:
        raise ValueError(
            f"{weights} is missing, cannot be read, or is not a regular file."
        ) from error
    return part


def _outline(name: str, settings, path: Path) -> tuple[keras.Model, Counter]:
    """Returns a part with few blocks and no weights, and the arrays of all its blocks."""
    part_class = PARTS[name]
    try:
        _check_arguments(part_class, settings)
        few, num_blocks = dict(settings), {}
        for key in settings.keys() & set(_TRANSFORMERS):
            _check_arguments(STTransformer, settings[key])
            num_blocks[key] = settings[key].get("num_blocks")
            check_whole(num_blocks=num_blocks[key], least=0)
            few[key] = {**settings[key], "num_blocks": min(num_blocks[key], 1)}
        if settings.get("quantizer"):
            quantizer = settings["quantizer"]
            _check_arguments(quantizer_class(quantizer), quantizer)
        part = without_weights(lambda: part_class(**few))
    except (AttributeError, TypeError, ValueError) as error:
        reason, *_ = str(error).partition("\n")
        raise ValueError(
            f"Expected {path} to hold the arguments of a {part_class.__name__} as "
            f"{name}: {reason}"
        ) from error
    arrays = count_arrays(part.variables)
    for key, blocks in num_blocks.items():
        if blocks:
            block = count_arrays(getattr(part, key).blocks[0].variables)
            for array, count in block.items():
                arrays[array] += (blocks - 1) * count
    return part, arrays


def _check_arguments(made: type, settings) -> None:
    """Raises a ValueError unless these are arguments that a class names."""
    if not isinstance(settings, dict):
        raise ValueError(
            f"The arguments of {made.__name__} must have names; received "
            f"{reprlib.repr(settings)}."
        )
    parameters = inspect.signature(made).parameters.values()
    named = {x.name for x in parameters if x.kind != x.VAR_KEYWORD}
    unknown = settings.keys() - named
    if unknown:
        raise ValueError(
            f"{made.__name__} has no arguments {', '.join(sorted(map(reprlib.repr, unknown)))}."
        )


def _check_sha256(path: Path, sha256: dict) -> None:
    """Raises a ValueError if a file is not the one that was written."""
    expected = sha256.get(path.name)
    if expected is None:
        raise ValueError(
            f"{path.with_name('config.json')} lacks the sha256 of {path.name}: give the "
            "same genie-train command again, which writes the model anew."
        )
    found = _sha256(path)
    if found != expected:
        raise ValueError(
            f"{path} is damaged or swapped: expected the sha256 {expected!s:.64}, as "
            f"config.json says; received {found}."
        )


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()
