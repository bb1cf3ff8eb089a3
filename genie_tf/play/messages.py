"""What the page and the server say to each other; docs/play.md has it in full.

The page sends JSON, or a picture to start from: the bytes of its pixels. The server sends
JSON, or frames: a header and the bytes of their pixels.
"""

import json
import struct
from collections.abc import Sequence

from genie_tf.sampling_settings import Setting

# What a frame is: a new one, one of before, or a part of what an action would do.
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
    """A frame as it is sent.

    Args:
        kind: `NEW`, `AGAIN` or `PREVIEW`.
        action: what led to it; None for the picture that a world starts from.
        milliseconds: it took to make.
        number: of its moment; of a preview, its place.
        id: that of the newest `act` which was known when it was made.
        frame: pixels.
    """
    action = _NO_ACTION if action is None else action
    milliseconds = min(round(milliseconds), 2**16 - 1)
    return _HEADER.pack(kind, action, milliseconds, number, id) + frame


def unpack_frame(message: bytes) -> tuple[int, int | None, int, int, int, bytes]:
    """The arguments of `pack_frame`, with whole milliseconds."""
    kind, action, *numbers = _HEADER.unpack_from(message)
    action = None if action == _NO_ACTION else action
    return kind, action, *numbers, message[_HEADER.size :]


def parse(text: str, num_actions: int, settings: Sequence[Setting]) -> dict:
    """A message of the page.

    Args:
        text: as it came.
        num_actions: of the world.
        settings: what can be set about sampling.

    Returns:
        A dict of its `type` and what else such a message has.

    Raises:
        ValueError: if it is none of the messages that there are.
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
    right = message.keys() == {"type", *form} and all(
        check(message[name]) for name, (_, check) in form.items()
    )
    if not right:
        parts = [f'"{name}", {what}' for name, (what, _) in form.items()]
        raise ValueError(
            f"A message of type {message['type']} must have "
            f"{' and '.join(parts) or 'nothing else'}; received {_short(text)}."
        )
    return message


def _forms(
    num_actions: int, settings: Sequence[Setting]
) -> dict[str, dict[str, tuple]]:
    """What each type of message has: a description and a check of each value."""
    action = _whole(num_actions - 1)
    return {
        "act": {
            "action": (
                f"{action[0]} or null",
                lambda value: value is None or action[1](value),
            ),
            "id": _whole(_MAX_ID),
        },
        "step": {"action": action},
        "pause": {"on": _FLAG},
        "seen": {},
        "settings": {
            setting.name: _value(setting) for setting in settings if setting.playable
        },
        "go_to": {"number": _whole(_MAX_ID)},
        "branch": {"id": _whole(_MAX_ID)},
        "calibrate": {},
        "record": {"on": _FLAG},
    }


def _value(setting: Setting) -> tuple:
    """A description and a check of a setting's values."""
    choices, least, most = setting.choices, setting.least, setting.most
    if choices:
        return f"one of {', '.join(choices)}", lambda value: value in choices
    if isinstance(setting.default, int):
        return _whole(most, least)
    return (
        f"a number from {least} to {most}",
        lambda value: type(value) in (int, float) and least <= value <= most,
    )


def _whole(most: int, least: int = 0) -> tuple:
    return (
        f"a whole number from {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


_FLAG = "true or false", lambda value: type(value) is bool


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}..."
