"""Loads models from preset folders, after checking sizes before reading or building."""

import os
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path

import keras

from genie_tf.forks import runs_nothing
from genie_tf.presets import registry
from genie_tf.presets.folder import file_sha256, find_preset, read_config
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
        preset: a name or folder, see `find_preset`.
        kind: expected class of the model: `Genie`, `GuidedGenie`, `WorldModel` for either,
            or the class of a part, in which case only that part is loaded.

    Raises:
        ValueError: if there is no such preset, it holds another model, or it is damaged.
    """
    outline_preset(preset, kind)
    return _assemble(preset, kind, _load_part)


def outline_preset(
    preset: str | os.PathLike, kind: type[keras.Model] = keras.Model
) -> keras.Model:
    """Check a preset without allocating its weights.

    Args:
        preset, kind: see `load_preset`.

    Returns:
        The model that `load_preset` would return, but without weights and with at most
        one block in each transformer. Use it only to read sizes.

    Raises:
        ValueError: see `load_preset`.
    """
    with runs_nothing():
        model = _assemble(preset, kind, _outline_part)
    if model.part_name is None:
        arguments = read_config(preset)["parts"]
        for name, part in model.parts().items():
            check_memory(
                f"The frames that {os.fspath(preset)} caches",
                part.cache_bytes(arguments[name]),
            )
    return model


def _assemble(
    preset: str | os.PathLike,
    kind: type[keras.Model],
    make_part: Callable[[Path, str, dict], keras.Model],
) -> keras.Model:
    """Build the model of a preset, or a part of it, from parts that `make_part` returns."""
    folder = find_preset(preset)
    config = read_config(folder)
    model_class, classes = _classes(folder, config)
    is_model = issubclass(model_class, kind)
    names = [name for name in classes if is_model or issubclass(classes[name], kind)]
    if not names:
        raise ValueError(
            f"Expected {os.fspath(preset)} to hold a {registry.describe(kind)}; it holds a "
            f"{model_class.__name__}."
        )
    parts = {name: make_part(folder, name, config) for name in names}
    if model_class.part_name or not is_model:
        return parts[names[0]]
    try:
        model = model_class(**parts)
        if config["world"] != model.about():
            raise ValueError(
                f"config.json describes the world as {reprlib.repr(config['world'])}; the "
                f"model is {model.about()}."
            )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds parts of several models: {error}") from error
    return model


def _classes(folder: Path, config: Mapping) -> tuple[type, dict[str, type]]:
    """Return the class of a preset's model, and the classes of its parts.

    Raises:
        ValueError: if a class is unknown, or the classes don't fit each other.
    """
    try:
        model_class = registry.model_class(config["class_name"])
        classes = {
            name: registry.model_class(settings["class_name"])
            for name, settings in config["parts"].items()
        }
        part_name = model_class.part_name
        expected = (
            {part_name: model_class} if part_name else dict(model_class.part_classes)
        )
        if classes.keys() != expected.keys():
            raise ValueError(
                f"a {model_class.__name__} has the parts {', '.join(expected)}; received "
                f"{', '.join(classes)[:200] or 'none'}."
            )
        for name, base in expected.items():
            if not issubclass(classes[name], base):
                raise ValueError(
                    f"the {name} of a {model_class.__name__} is a {base.__name__}; "
                    f"received a {classes[name].__name__}."
                )
    except ValueError as error:
        raise ValueError(
            f"Expected {folder}/config.json to describe a model: {error}"
        ) from error
    return model_class, {name: classes[name] for name in expected}


def _load_part(folder: Path, name: str, config: dict) -> keras.Model:
    """Build a part that `_outline_part` has checked, and load its weights."""
    settings = config["parts"][name]
    part = registry.make_model(settings, keras.Model)
    weights = folder / f"{name}.weights.h5"
    try:
        part.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise not_expected(weights, "they belong to another model") from error
    return part


def _outline_part(folder: Path, name: str, config: dict) -> keras.Model:
    """Check a part's arguments and weights; return it with few blocks and no weights.

    Sizes are checked before anything is read or built.
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
    """Raise a ValueError if a file does not have its checksum from config.json."""
    expected = sha256.get(path.name)
    if expected is None:
        raise ValueError(
            f"{path.with_name('config.json')} lacks the sha256 of {path.name}: rerun the "
            "same genie-train command, which writes the model again."
        )
    actual = file_sha256(path)
    if actual != expected:
        raise ValueError(
            f"{path} is damaged or swapped: expected the sha256 {expected!s:.64} from "
            f"config.json; received {actual}."
        )
