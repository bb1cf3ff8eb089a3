import json
import re

import pytest

from genie_tf.play.messages import NEW, PREVIEW, pack_frame, parse, unpack_frame
from genie_tf.sampling_settings import ALL_SETTINGS, NUM_STEPS, TOP_K


@pytest.mark.parametrize(
    "message",
    [
        {"type": "act", "action": 4, "id": 9},
        {"type": "act", "action": None, "id": 10},
        {"type": "step", "action": 0},
        {"type": "pause", "on": True},
        {"type": "seen"},
        {"type": "settings", "num_steps": 1, "temperature": 0.5, "order": "halton"},
        {"type": "go_to", "number": 12},
        {"type": "branch", "id": 1},
        {"type": "calibrate"},
        {"type": "record", "on": False},
    ],
)
def test_valid_messages_are_parsed(message):
    assert parse(json.dumps(message), num_actions=5, settings=ALL_SETTINGS) == message


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "null", '"act"', '{"action": 1}', '{"type": "dance"}'),
        *('{"type": ["act"]}', "[" * 10_000, "1" * 5_000),
    ],
)
def test_unknown_messages_are_rejected(text):
    with pytest.raises(ValueError) as error:
        parse(text, num_actions=5, settings=ALL_SETTINGS)
    shown = text if len(text) <= 100 else text[:100] + "..."
    assert str(error.value) == (
        'A message must be a JSON object whose "type" is one of act, step, pause, seen, '
        f"settings, go_to, branch, calibrate, record, start_prompt; received {shown}."
    )


ACT = (
    '"action" (an integer from 0 to 4, or null) and "id" (an integer from 0 to '
    "4294967295)"
)
SETTINGS = (
    '"num_steps" (an integer from 1 to 25) and "temperature" (a number from 0 to 4) and '
    '"order" (one of confidence, halton, random)'
)


def settings(num_steps="8", temperature="1", order='"random"'):
    values = f'"num_steps": {num_steps}, "temperature": {temperature}, "order": {order}'
    return f'{{"type": "settings", {values}}}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"type": "act"}', ACT),
        ('{"type": "act", "action": 5, "id": 1}', ACT),
        ('{"type": "act", "action": true, "id": 1}', ACT),
        ('{"type": "act", "action": 1.0, "id": 1}', ACT),
        ('{"type": "act", "action": 1, "id": -1}', ACT),
        ('{"type": "act", "action": 1, "id": 1, "more": 1}', ACT),
        ('{"type": "step", "action": null}', '"action" (an integer from 0 to 4)'),
        ('{"type": "pause", "on": 1}', '"on" (true or false)'),
        ('{"type": "seen", "id": 1}', "no other keys"),
        (settings(num_steps="0"), SETTINGS),
        (settings(num_steps="26"), SETTINGS),
        (settings(temperature="NaN"), SETTINGS),
        (settings(temperature="1e999"), SETTINGS),
        (settings(temperature="-1"), SETTINGS),
        (settings(order='["halton"]'), SETTINGS),
    ],
)
def test_invalid_values_are_rejected(text, expected):
    with pytest.raises(ValueError) as error:
        parse(text, num_actions=5, settings=ALL_SETTINGS)
    kind = json.loads(text)["type"]
    shown = text if len(text) <= 100 else text[:100] + "..."
    assert str(error.value) == (
        f"A message of type {kind} must have {expected}; received {shown}."
    )


@pytest.mark.parametrize(
    ("playable", "expected"),
    [
        ([NUM_STEPS, TOP_K], '"num_steps" (an integer from 1 to 25)'),
        ([], "no other keys"),
    ],
)
def test_only_playable_settings_are_accepted(playable, expected):
    text = settings()
    with pytest.raises(ValueError, match=re.escape(f"must have {expected}; received ")):
        parse(text, 5, playable)


@pytest.mark.parametrize("action", [None, 3])
def test_frame_is_packed_and_unpacked(action):
    message = pack_frame(NEW, action, 12.4, 70_000, 5, b"pixels")
    assert len(message) == 12 + 6
    assert unpack_frame(message) == (NEW, action, 12, 70_000, 5, b"pixels")


def test_long_frame_time_is_clipped():
    assert unpack_frame(pack_frame(PREVIEW, 1, 1e9, 0, 0, b""))[2] == 65_535
