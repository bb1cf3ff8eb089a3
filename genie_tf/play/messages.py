"""Messages between the page and the server; docs/play.md describes the protocol.

The page sends JSON, or the pixels of a prompt frame. The server sends JSON, or frames: a
header and pixels.
"""

import json
import struct
from collections.abc import Sequence

from genie_tf.sampling_settings import Setting

# Kinds of frames: new, shown again, or part of the preview of an action.
NEW, AGAIN, PREVIEW = range(3)

_HEADER = struct.Struct("<BBHII")
_NO_ACTION = 255
_MAX_ID = 2**32 - 1


def pack_frame(
    kind: int,
    action: int | None,
    milliseconds: float,
    number: int,
    id: int,
    frame: bytes,
) -> bytes:
    """Return the binary message that sends a frame.

    Args:
        kind: `NEW`, `AGAIN` or `PREVIEW`.
        action: action that led to the frame; None for the prompt frame.
        milliseconds: time that it took to make the frame.
        number: number of its moment; for a preview, its position.
        id: id of the newest `act` received before the frame was made.
        frame: pixels.
    """
    action = _NO_ACTION if action is None else action
    milliseconds = min(round(milliseconds), 2**16 - 1)
    return _HEADER.pack(kind, action, milliseconds, number, id) + frame


def unpack_frame(message: bytes) -> tuple[int, int | None, int, int, int, bytes]:
    """Return the arguments of `pack_frame`, with integer milliseconds."""
    kind, action, *numbers = _HEADER.unpack_from(message)
    action = None if action == _NO_ACTION else action
    return kind, action, *numbers, message[_HEADER.size :]


def parse(text: str, num_actions: int, settings: Sequence[Setting]) -> dict:
    """Parse and check a JSON message from the page.

    Args:
        text: the message.
        num_actions: number of actions of the world.
        settings: sampling settings of the world.

    Returns:
        A dict with `type` and the keys of that type.

    Raises:
        ValueError: if the message has an unknown type or wrong keys or values.
    """
    forms = _forms(num_actions, settings)
    try:
        message = json.loads(text)
        form = forms[message["type"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(
            f'A message must be a JSON object whose "type" is one of {", ".join(forms)}; '
            f"received {_short(text)}."
        ) from None
    is_valid = message.keys() == {"type", *form} and all(
        check(message[name]) for name, (_, check) in form.items()
    )
    if not is_valid:
        parts = [f'"{name}" ({expected})' for name, (expected, _) in form.items()]
        raise ValueError(
            f"A message of type {message['type']} must have "
            f"{' and '.join(parts) or 'no other keys'}; received {_short(text)}."
        )
    return message


def _forms(
    num_actions: int, settings: Sequence[Setting]
) -> dict[str, dict[str, tuple]]:
    """Return the keys of each message type, each with a description and a check."""
    action = _integer(num_actions - 1)
    return {
        "act": {
            "action": (
                f"{action[0]}, or null",
                lambda value: value is None or action[1](value),
            ),
            "id": _integer(_MAX_ID),
        },
        "step": {"action": action},
        "pause": {"on": _FLAG},
        "seen": {},
        "settings": {
            setting.name: _value(setting) for setting in settings if setting.playable
        },
        "go_to": {"number": _integer(_MAX_ID)},
        "branch": {"id": _integer(_MAX_ID)},
        "calibrate": {},
        "record": {"on": _FLAG},
        "start_prompt": {},
    }


def _value(setting: Setting) -> tuple:
    """Return a description and a check of a setting's values."""
    choices, least, most = setting.choices, setting.least, setting.most
    if choices:
        return f"one of {', '.join(choices)}", lambda value: value in choices
    if isinstance(setting.default, int):
        return _integer(most, least)
    return (
        f"a number from {least} to {most}",
        lambda value: type(value) in (int, float) and least <= value <= most,
    )


def _integer(most: int, least: int = 0) -> tuple:
    return (
        f"an integer from {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


_FLAG = "true or false", lambda value: type(value) is bool


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}..."
