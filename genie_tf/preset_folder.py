"""Where presets are and what they say of themselves, without a model or Keras.

The presets that ship with genie_tf are the folders of `genie_tf/preset_files`.
"""

import json
import os
from pathlib import Path

_SHIPPED = Path(__file__).with_name("preset_files")
# Of frames in pixels, so that a picture fits in memory; and of actions.
_MAX_SIZE = 4096


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
    if not Path(preset).is_dir():
        raise ValueError(
            f"There is no preset {os.fspath(preset)}: expected a folder, or the name of "
            f"one that ships with genie_tf ({', '.join(_names()) or 'none so far'})."
        )
    return Path(preset)


def read_config(preset: str | os.PathLike) -> dict:
    """What a preset's config.json says.

    Args:
        preset: a name or folder, as of `find_preset`.

    Returns:
        A dict: `parts`, the arguments of each part; `description`, one line; `sha256`
        of each file of weights; and, where they are known, `dataset`, `command`,
        `scores`, `settings`, `action_names` and `keys`, as of `presets.save_preset`.

    Raises:
        ValueError: if there is no such preset, or it cannot be read.
    """
    path = find_preset(preset) / "config.json"
    try:
        config = json.loads(path.read_text())
        about = {"description": "", "sha256": {}, **config}
        return {**about, "parts": dict(config["parts"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path.parent} is not the folder of a trained model: expected a readable "
            f"{path}."
        ) from error


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
