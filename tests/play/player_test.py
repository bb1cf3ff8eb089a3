"""Tests of players: messages between a page and the server."""

import time

import pytest
from websockets.exceptions import ConnectionClosed

from genie_tf.play import player
from genie_tf.play.messages import AGAIN, NEW, PREVIEW
from genie_tf.testing.toy_simulator import ToySimulator

LEFT, RIGHT, UP, DOWN = range(4)


# Playing.


def test_held_key_moves_world_at_steady_rate(serve, open_page):
    page = open_page(serve(fps=40))
    assert page.start()[:2] == (AGAIN, None)
    page.send("act", action=RIGHT, id=1)
    page.receive_frame()
    begin = time.monotonic()
    frames = [page.receive_frame() for _ in range(20)]
    assert time.monotonic() - begin == pytest.approx(0.5, rel=0.3)
    assert [frame[3] for frame in frames] == list(range(2, 22))
    assert {frame[:2] for frame in frames} == {(NEW, RIGHT)}
    page.send("act", action=None, id=2)
    with pytest.raises(TimeoutError):
        while True:
            page.receive_frame(timeout=0.3)


def test_next_frame_uses_newest_key(serve, open_page):
    page = open_page(serve(ToySimulator(seconds=0.02)))
    page.start()
    page.send("act", action=RIGHT, id=1)
    for id in range(2, 12):
        action = id % 4
        page.receive_frame()
        page.send("act", action=action, id=id)
        # At most one frame was on its way; the next one uses the key.
        frames = [page.receive_frame(), page.receive_frame()]
        assert [frame[1] for frame in frames if frame[4] == id][0] == action


def test_tap_between_frames_is_not_lost(serve, open_page):
    page = open_page(serve(fps=1))
    page.start()
    page.send("act", action=RIGHT, id=1)
    page.receive_frame()
    page.send("act", action=UP, id=2)
    page.send("act", action=RIGHT, id=3)
    page.send("act", action=None, id=4)
    assert page.receive_frame()[1] == RIGHT  # The newest press.
    with pytest.raises(TimeoutError):
        page.receive_frame(timeout=1.5)


def test_pause_and_step(serve, open_page):
    page = open_page(serve())
    page.start()
    page.send("pause", on=True)
    page.send("act", action=RIGHT, id=1)
    with pytest.raises(TimeoutError):
        page.receive_frame(timeout=0.2)
    page.send("step", action=UP)
    assert page.receive_frame()[:2] == (NEW, UP)
    page.send("pause", on=False)
    assert page.receive_frame()[:2] == (NEW, RIGHT)


def test_rewind_and_branches(serve, open_page):
    page = open_page(serve())
    page.start()
    frames = []
    for action in (RIGHT, UP, UP):
        page.send("step", action=action)
        frames.append(page.receive_frame()[5])
    page.send("go_to", number=1)
    kind, action, _, number, _, frame = page.receive_frame()
    assert (kind, action, number, frame) == (AGAIN, RIGHT, 1, frames[0])
    page.send("step", action=DOWN)
    assert page.receive_frame()[3] == 2
    assert page.receive("report")["branches"] == [{"id": 0, "last": 3}]
    page.send("branch", id=0)
    line = page.receive("line")
    assert line == {"type": "line", "first": 0, "actions": [None, RIGHT, UP, UP]}
    assert page.receive_frame()[5] == frames[-1]


def test_next_frame_uses_new_settings(serve, open_page):
    class Simulator(ToySimulator):
        def step(self, state, action, sampling):
            used.append(sampling)
            return super().step(state, action, sampling)

    used = []
    page = open_page(serve(Simulator(), sampling={"top_k": 7, "num_steps": 9}))
    page.start()
    page.send("settings", num_steps=3, temperature=0.5, order="halton")
    page.send("step", action=0)
    page.receive_frame()
    changed = {"num_steps": 3, "temperature": 0.5, "order": "halton"}
    # Settings that a page cannot change stay as they were.
    assert used == [{**changed, "top_k": 7, "choice_temperature": 4.5}]


def test_calibration_previews_each_action(serve, open_page):
    page = open_page(serve())
    page.start()
    page.send("step", action=UP)
    page.receive_frame()
    page.send("calibrate")
    frames = [page.receive_frame() for _ in range(4 * player.PREVIEW_FRAMES)]
    assert [frame[:2] for frame in frames] == [
        (PREVIEW, action) for action in range(4) for _ in range(player.PREVIEW_FRAMES)
    ]
    # The world itself has not changed.
    page.send("step", action=UP)
    assert page.receive_frame()[3] == 2


# Invalid messages, slow pages and errors.


@pytest.mark.parametrize(
    "message",
    [
        {"type": "step", "action": 0},
        {"type": "go_to", "number": 0},
        {"type": "branch", "id": 0},
        {"type": "calibrate"},
        {"type": "record", "on": True},
    ],
)
def test_commands_without_world_are_rejected(serve, open_page, message):
    page = open_page(serve())
    page.send(**message)
    assert page.receive_error() == "There is no world yet: send a prompt frame first."


def test_invalid_messages_are_reported_and_survived(serve, open_page):
    page = open_page(serve())
    page.socket.send("nonsense")
    assert page.receive_error().endswith("; received nonsense.")
    page.socket.send(b"too short")
    assert page.receive_error() == (
        "A prompt frame must have 768 bytes: 16 rows of 16 pixels of 3 colors; received "
        "9 bytes."
    )
    page.start()
    page.send("go_to", number=9)
    assert page.receive_error() == "The moments kept are 0 to 0; received 9."
    page.send("step", action=RIGHT)
    assert page.receive_frame()[:2] == (NEW, RIGHT)


def test_waiting_commands_are_limited(serve, open_page):
    page = open_page(serve(ToySimulator(seconds=0.2)))
    page.start()
    for _ in range(player.MAX_COMMANDS + 2):
        page.send("step", action=RIGHT)
    assert page.receive_error() == (
        "At most 8 messages can wait for their turn; a message of type step arrived "
        "while all were waiting."
    )


def test_silent_page_is_disconnected(serve, open_page, monkeypatch):
    monkeypatch.setattr(player, "IDLE_SECONDS", 0.2)
    page = open_page(serve())
    with pytest.raises(ConnectionClosed) as error:
        page.receive("error")
    assert error.value.rcvd.reason == "This page sent nothing for 0.2 seconds."


def test_page_that_reads_nothing_does_not_block_others(serve, open_page):
    simulator = ToySimulator()
    port = serve(simulator, fps=50)
    slow, quick = open_page(port), open_page(port)
    slow.socket.send(bytes([1]) * ToySimulator.num_bytes)
    slow.send("act", action=LEFT, id=1)
    quick.start()
    quick.send("act", action=RIGHT, id=1)
    for _ in range(30):
        quick.receive_frame()
    # Three frames are unconfirmed, including the first.
    assert simulator.actions.count(LEFT) == player.MAX_UNSEEN - 1


def test_tab_closed_during_frame_does_not_affect_others(serve, open_page):
    port = serve(ToySimulator(seconds=0.05))
    stays = open_page(port)
    stays.start()
    for _ in range(3):
        leaves = open_page(port)
        leaves.start()
        leaves.send("act", action=RIGHT, id=1)
        leaves.receive_frame()
        leaves.socket.socket.close()
    stays.send("act", action=UP, id=1)
    assert [stays.receive_frame()[3] for _ in range(5)] == [1, 2, 3, 4, 5]


def test_simulator_error_ends_only_that_connection(serve, open_page):
    class Simulator(ToySimulator):
        def step(self, state, action, sampling):
            if action == DOWN:
                raise RuntimeError("a bug")
            return super().step(state, action, sampling)

    port = serve(Simulator())
    page, other = open_page(port), open_page(port)
    page.start()
    other.start()
    page.send("step", action=DOWN)
    with pytest.raises(ConnectionClosed):
        page.receive_frame()
    other.send("step", action=UP)
    assert other.receive_frame()[:2] == (NEW, UP)
