"""Preset folders to models, checked before anything large is read or built."""

import os
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path

import keras

from genie_tf.forks import runs_nothing
from genie_tf.presets import registry
from genie_tf.presets.folder import find_preset, read_config, sha256_of
from genie_tf.presets.weights_file import (
    check_arrays,
    check_memory,
    check_size,
    not_expected,
)


def load_preset(
    preset: str | os.PathLike, kind: type[keras.Model] = keras.Model
) -> keras.Model:
    """Return the model of a preset, or a part of it.

    Args:
        preset: the name of one that ships with genie_tf, or a folder.
        kind: the class that the model has to be of: `Genie`, `GuidedGenie`, `WorldModel`
            for any of them, or the class of a part, which is then all that is loaded.

    Raises:
        ValueError: if there is no such preset, or it holds another model, or is
            damaged.
    """
    outline_preset(preset, kind)
    return _assemble(preset, kind, _load_part)


def outline_preset(
    preset: str | os.PathLike, kind: type[keras.Model] = keras.Model
) -> keras.Model:
    """Check a preset without using memory for it.

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
    if model.part_name is None:
        arguments = read_config(preset)["parts"]
        for name, part in model.parts().items():
            check_memory(
                f"The frames of a video that {os.fspath(preset)} remembers",
                part.cache_bytes(arguments[name]),
            )
    return model


def _assemble(
    preset: str | os.PathLike,
    kind: type[keras.Model],
    make_part: Callable[[Path, str, dict], keras.Model],
) -> keras.Model:
    """Make the model of a preset, or a part of it, with a function that makes parts."""
    folder = find_preset(preset)
    config = read_config(folder)
    held, classes = _classes(folder, config)
    whole = issubclass(held, kind)
    names = [name for name in classes if whole or issubclass(classes[name], kind)]
    if not names:
        raise ValueError(
            f"Expected {os.fspath(preset)} to hold a {registry.describe(kind)}; it holds a "
            f"{held.__name__}."
        )
    made = {name: make_part(folder, name, config) for name in names}
    if held.part_name or not whole:
        return made[names[0]]
    try:
        model = held(**made)
        if config["world"] != model.about():
            raise ValueError(
                f"config.json says {reprlib.repr(config['world'])} of the world, which "
                f"is {model.about()}."
            )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds parts of several models: {error}") from error
    return model


def _classes(folder: Path, config: Mapping) -> tuple[type, dict[str, type]]:
    """Return the class of a preset's model, and those of its parts.

    Raises:
        ValueError: if there are no such classes, or they don't fit each other.
    """
    try:
        held = registry.model_class(config["class_name"])
        classes = {
            name: registry.model_class(settings["class_name"])
            for name, settings in config["parts"].items()
        }
        expected = {held.part_name: held} if held.part_name else dict(held.part_classes)
        if classes.keys() != expected.keys():
            raise ValueError(
                f"a {held.__name__} has the parts {', '.join(expected)}; received "
                f"{', '.join(classes)[:200] or 'none'}."
            )
        for name, base in expected.items():
            if not issubclass(classes[name], base):
                raise ValueError(
                    f"the {name} of a {held.__name__} is a {base.__name__}; received a "
                    f"{classes[name].__name__}."
                )
    except ValueError as error:
        raise ValueError(
            f"Expected {folder}/config.json to describe a model: {error}"
        ) from error
    return held, {name: classes[name] for name in expected}


def _load_part(folder: Path, name: str, config: dict) -> keras.Model:
    """Build a part that `_outline_part` found good, and load its weights."""
    settings = config["parts"][name]
    part = registry.make_model(settings, keras.Model)
    weights = folder / f"{name}.weights.h5"
    try:
        part.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise not_expected(weights, "they are of another model") from error
    return part


def _outline_part(folder: Path, name: str, config: dict) -> keras.Model:
    """Check a part's arguments and weights; return it with few blocks and no weights.

    Nothing is read or built before its size is known to be no more than expected.
    """
    arguments = dict(config["parts"][name])
    part_class = registry.model_class(arguments.pop("class_name"))
    try:
        part, arrays = part_class.outline(arguments)
    except ValueError as error:
        reason, *_ = str(error).partition("\n")
        raise ValueError(
            f"Expected {folder}/config.json to hold the arguments of a "
            f"{part_class.__name__} as {name}: {reason}"
        ) from error
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


def _check_sha256(path: Path, sha256: dict) -> None:
    """Raise a ValueError if a file is not the one that was written."""
    expected = sha256.get(path.name)
    if expected is None:
        raise ValueError(
            f"{path.with_name('config.json')} lacks the sha256 of {path.name}: rerun the "
            "same genie-train command, which writes the model again."
        )
    found = sha256_of(path)
    if found != expected:
        raise ValueError(
            f"{path} is damaged or swapped: expected the sha256 {expected!s:.64}, as "
            f"config.json says; received {found}."
        )
