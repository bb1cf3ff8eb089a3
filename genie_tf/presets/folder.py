"""Finds presets and reads their `config.json`, without building a model or loading Keras.

The presets that ship with genie_tf are the folders in `genie_tf/presets/files`.
"""

import hashlib
import json
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path

from genie_tf.files import local_path, open_regular

# Format of config.json; newer formats are refused.
FORMAT = 1

_SHIPPED = Path(__file__).with_name("files")
# Limit on a frame's sides in pixels, so that frames fit in memory, and on actions.
_MAX_SIZE = 4096

_MAX_CONFIG_BYTES = 2**20

# `read_actions` checks the other entries, against the model.
_TEXTS = ("class_name", "description", "dataset", "command")
_DICTS = ("sha256", "scores", "settings", "world")


def list_presets() -> dict[str, str]:
    """Return the names of the presets that ship with genie_tf, with their descriptions."""
    return {name: read_config(name)["description"] for name in _names()}


def find_preset(preset: str | os.PathLike) -> Path:
    """Return the folder of a preset.

    Args:
        preset: name of a preset that ships with genie_tf, or a folder. Write "./NAME" for
            a folder that has the name of a shipped preset.

    Raises:
        ValueError: if it is neither.
    """
    if preset in _names():
        return _SHIPPED / preset
    folder = local_path(preset)
    if not os.path.isdir(folder):
        raise ValueError(
            f"There is no preset {os.fspath(preset)}: expected a folder, or the name of "
            f"one that ships with genie_tf ({', '.join(_names()) or 'none so far'})."
        )
    return folder


def read_config(preset: str | os.PathLike) -> dict:
    """Return the content of a preset's config.json.

    Args:
        preset: a name or folder, see `find_preset`.

    Returns:
        A dict: `class_name` of the model; `parts`, the class name and arguments of each
        part; `description`, one line; `sha256` of each weights file; `world`, its frame
        shape and number of actions; and, where known, `dataset`, `command`, `scores`,
        `settings`, `action_names` and `keys`, see `save_preset`.

    Raises:
        ValueError: if there is no such preset, or it cannot be read.
    """
    path = find_preset(preset) / "config.json"
    try:
        config = {"description": "", "sha256": {}, "world": {}, **_read_json(path)}
        # The oldest presets have parts and no format.
        has_parts = isinstance(config.get("parts"), dict)
        version = config.get("format", 0 if has_parts else None)
        if type(version) is not int:
            raise ValueError("It lacks its format.")
        # Other formats may describe parts differently.
        if version == FORMAT and not (
            "class_name" in config
            and all(isinstance(x["class_name"], str) for x in config["parts"].values())
        ):
            raise ValueError("It lacks the classes of the model and its parts.")
    except (
        *(OSError, ValueError, TypeError, KeyError),
        *(AttributeError, RecursionError),
    ) as error:
        raise ValueError(
            f"{path.parent} is not the folder of a trained model: expected a readable "
            f"{path}."
        ) from error
    if version != FORMAT:
        older = "train the model again, or install the genie_tf that wrote it"
        raise ValueError(
            f"{path.parent} has format {version}; this genie_tf reads {FORMAT}: "
            f"{'install a newer one' if version > FORMAT else older}."
        )
    for names, kind, word in ((_TEXTS, str, "a text"), (_DICTS, dict, "an object")):
        for name in names:
            if not isinstance(config.get(name, kind()), kind):
                raise ValueError(
                    f"Expected `{name}` in {path} to be {word}; received "
                    f"{reprlib.repr(config[name])}."
                )
    return config


def holds_preset(folder: Path) -> bool:
    """Return whether a folder holds a preset."""
    try:
        read_config(folder.absolute())  # Never the name of a shipped preset.
    except ValueError:
        return False
    return True


def _read_json(path: Path):
    """Return the content of a small JSON file."""
    with open_regular(path) as file:
        content = file.read(_MAX_CONFIG_BYTES + 1)
    if len(content) > _MAX_CONFIG_BYTES:
        raise ValueError(f"{path} has more than {_MAX_CONFIG_BYTES:,} bytes.")
    value = json.loads(content.decode(), object_pairs_hook=_without_duplicates)
    # Raises an error on a lone surrogate.
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _without_duplicates(pairs: list[tuple]) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("A name occurs twice.")
    return dict(pairs)


def read_world(preset: str | os.PathLike) -> tuple[tuple[int, int], int]:
    """Return the height and width of a world's frames, and its number of actions.

    Args:
        preset: a name or folder, see `find_preset`.

    Raises:
        ValueError: if there is no such preset, or it does not describe a world.
    """
    config = read_config(preset)
    try:
        height, width, _ = config["world"]["frame_shape"]
        num_actions = config["world"]["num_actions"]
        if not all(0 < x <= _MAX_SIZE for x in (height, width, num_actions)):
            raise ValueError("No world has such sizes.")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Expected {os.fspath(preset)} to hold a world, with at most {_MAX_SIZE} actions "
            f"and pixels a side; its config.json describes a {config['class_name']}."
        ) from error
    return (height, width), num_actions


def read_actions(
    preset: str | os.PathLike, num_actions: int
) -> tuple[list[str], dict[str, int]]:
    """Return the names and keys of a preset's actions.

    Args:
        preset: a name or folder, see `find_preset`.
        num_actions: number of actions of its model.

    Returns:
        A short name for each action, or []; and a dict from keys to actions, or {}.

    Raises:
        ValueError: if there is no such preset, or its names or keys don't fit the actions.
    """
    config = read_config(preset)
    names, keys = config.get("action_names"), config.get("keys")
    check_actions(names, keys, num_actions)
    return names or [], keys or {}


def check_actions(names, keys, num_actions: int) -> None:
    """Raise a ValueError unless names and keys fit this number of actions."""
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
            f"`keys` must map each key to an action from 0 to {num_actions - 1}; received "
            f"{reprlib.repr(keys)}."
        )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 checksum of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()


def _names() -> list[str]:
    return sorted(path.parent.name for path in _SHIPPED.glob("*/config.json"))
