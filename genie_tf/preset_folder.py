"""Where presets are and what they say of themselves, without a model or Keras.

The presets that ship with genie_tf are the folders of `genie_tf/preset_files`.
"""

import json
import os
import reprlib
from pathlib import Path

from genie_tf.files import local_path, open_regular

_SHIPPED = Path(__file__).with_name("preset_files")
# Of frames in pixels, so that a picture fits in memory; and of actions.
_MAX_SIZE = 4096

_MAX_CONFIG_BYTES = 2**20

# `presets.read_actions` checks the others, against the model.
_TEXTS = ("description", "dataset", "command")
_DICTS = ("sha256", "scores", "settings")


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
        A dict: `parts`, the arguments of each part; `description`, one line; `sha256`
        of each file of weights; and, where they are known, `dataset`, `command`,
        `scores`, `settings`, `action_names` and `keys`, see `presets.save_preset`.

    Raises:
        ValueError: if there is no such preset, or it cannot be read.
    """
    path = find_preset(preset) / "config.json"
    try:
        config = {"description": "", "sha256": {}, **_read_json(path)}
        if not isinstance(config.get("parts"), dict):
            raise ValueError("It lacks the arguments of the parts.")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path.parent} is not the folder of a trained model: expected a readable "
            f"{path}."
        ) from error
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
    """Returns what a small file says."""
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
    parts = read_config(preset)["parts"]
    try:
        height, width, _ = parts["tokenizer"]["frame_shape"]
        num_actions = (
            parts["latent_action_model"]["num_actions"]
            if "latent_action_model" in parts
            else parts["dynamics"]["action_dim"]
        )
        if not all(0 < x <= _MAX_SIZE for x in (height, width, num_actions)):
            raise ValueError("No world has such sizes.")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Expected {os.fspath(preset)} to hold a Genie or GuidedGenie, with at most "
            f"{_MAX_SIZE} actions and pixels a side; its config.json describes other parts: "
            f"{', '.join(parts) or 'none'}."
        ) from error
    return (height, width), num_actions


def _names() -> list[str]:
    return sorted(path.parent.name for path in _SHIPPED.glob("*/config.json"))
