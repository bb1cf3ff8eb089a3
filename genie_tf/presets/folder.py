"""Where presets are and what they say of themselves, without a model or Keras.

The presets that ship with genie_tf are the folders of `genie_tf/presets/files`.
"""

import hashlib
import json
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path

from genie_tf.files import local_path, open_regular

# The form of config.json; a larger number is refused.
FORMAT = 1

_SHIPPED = Path(__file__).with_name("files")
# Of frames in pixels, so that a picture fits in memory; and of actions.
_MAX_SIZE = 4096

_MAX_CONFIG_BYTES = 2**20

# `read_actions` checks the others, against the model.
_TEXTS = ("class_name", "description", "dataset", "command")
_DICTS = ("sha256", "scores", "settings", "world")


def list_presets() -> dict[str, str]:
    """The presets that ship with genie_tf: their names, each with a line about it."""
    return {name: read_config(name)["description"] for name in _names()}


def find_preset(preset: str | os.PathLike) -> Path:
    """The folder of a preset.

    Args:
        preset: the name of one that ships with genie_tf, or a folder. A folder with
            such a name is to be given as "./NAME".

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
    """What a preset's config.json says.

    Args:
        preset: a name or folder, see `find_preset`.

    Returns:
        A dict: `class_name` of the model; `parts`, the class name and arguments of each
        part; `description`, one line; `sha256` of each file of weights; `world`, sizes of
        a world; and, where they are known, `dataset`, `command`, `scores`, `settings`,
        `action_names` and `keys`, see `save_preset`.

    Raises:
        ValueError: if there is no such preset, or it cannot be read.
    """
    path = find_preset(preset) / "config.json"
    try:
        config = {"description": "", "sha256": {}, "world": {}, **_read_json(path)}
        # Before there were formats, a preset had its parts only.
        has_parts = isinstance(config.get("parts"), dict)
        version = config.get("format", 0 if has_parts else None)
        if type(version) is not int:
            raise ValueError("It lacks its format.")
        # One of another format may have other parts.
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
    """Whether a folder is that of a preset."""
    try:
        read_config(folder.absolute())  # Not the name of one that ships.
    except ValueError:
        return False
    return True


def _read_json(path: Path):
    """Return what a small file says."""
    with open_regular(path) as file:
        content = file.read(_MAX_CONFIG_BYTES + 1)
    if len(content) > _MAX_CONFIG_BYTES:
        raise ValueError(f"{path} has more than {_MAX_CONFIG_BYTES:,} bytes.")
    value = json.loads(content.decode(), object_pairs_hook=_without_duplicates)
    json.dumps(
        value, ensure_ascii=False
    ).encode()  # Raises if half a character is left.
    return value


def _without_duplicates(pairs: list[tuple]) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("A name is there twice.")
    return dict(pairs)


def read_world(preset: str | os.PathLike) -> tuple[tuple[int, int], int]:
    """Height and width of a world's frames, and its number of actions.

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
    """Return what a preset says of its actions.

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
    check_actions(names, keys, num_actions)
    return names or [], keys or {}


def check_actions(names, keys, num_actions: int) -> None:
    """Raise a ValueError unless names and keys are those of so many actions."""
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


def sha256_of(path: Path) -> str:
    """Return the checksum of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()


def _names() -> list[str]:
    return sorted(path.parent.name for path in _SHIPPED.glob("*/config.json"))
