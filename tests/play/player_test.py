"""Players: what a page and the server say to each other."""

import time

import pytest
from websockets.exceptions import ConnectionClosed

from genie_tf.play import player
from genie_tf.play.messages import AGAIN, NEW, PREVIEW
from genie_tf.testing.toy_simulator import ToySimulator

LEFT, RIGHT, UP, DOWN = range(4)


# Playing.


def test_a_key_that_is_held_moves_the_world_at_a_steady_rate(serve, open_page):
    page = open_page(serve(fps=40))
    assert page.start()[:2] == (AGAIN, None)
    page.say("act", action=RIGHT, id=1)
    page.frame()
    begin = time.monotonic()
    frames = [page.frame() for _ in range(20)]
    assert time.monotonic() - begin == pytest.approx(0.5, rel=0.3)
    assert [frame[3] for frame in frames] == list(range(2, 22))
    assert {frame[:2] for frame in frames} == {(NEW, RIGHT)}
    page.say("act", action=None, id=2)
    with pytest.raises(TimeoutError):
        while True:
            page.frame(timeout=0.3)


def test_a_key_is_used_by_the_very_next_frame(serve, open_page):
    page = open_page(serve(ToySimulator(seconds=0.02)))
    page.start()
    page.say("act", action=RIGHT, id=1)
    for id in range(2, 12):
        action = id % 4
        page.frame()
        page.say("act", action=action, id=id)
        # The one on its way, at most, and then one that knows.
        frames = [page.frame(), page.frame()]
        assert [frame[1] for frame in frames if frame[4] == id][0] == action


def test_a_tap_between_two_frames_is_not_lost(serve, open_page):
    page = open_page(serve(fps=1))
    page.start()
    page.say("act", action=RIGHT, id=1)
    page.frame()
    page.say("act", action=UP, id=2)
    page.say("act", action=RIGHT, id=3)
    page.say("act", action=None, id=4)
    assert page.frame()[1] == RIGHT  # The newest press.
    with pytest.raises(TimeoutError):
        page.frame(timeout=1.5)


def test_pausing_and_stepping(serve, open_page):
    page = open_page(serve())
    page.start()
    page.say("pause", on=True)
    page.say("act", action=RIGHT, id=1)
    with pytest.raises(TimeoutError):
        page.frame(timeout=0.2)
    page.say("step", action=UP)
    assert page.frame()[:2] == (NEW, UP)
    page.say("pause", on=False)
    assert page.frame()[:2] == (NEW, RIGHT)


def test_going_back_and_branches(serve, open_page):
    page = open_page(serve())
    page.start()
    shown = []
    for action in (RIGHT, UP, UP):
        page.say("step", action=action)
        shown.append(page.frame()[5])
    page.say("go_to", number=1)
    kind, action, _, number, _, frame = page.frame()
    assert (kind, action, number, frame) == (AGAIN, RIGHT, 1, shown[0])
    page.say("step", action=DOWN)
    assert page.frame()[3] == 2
    assert page.hear("report")["branches"] == [{"id": 0, "last": 3}]
    page.say("branch", id=0)
    line = page.hear("line")
    assert line == {"type": "line", "first": 0, "actions": [None, RIGHT, UP, UP]}
    assert page.frame()[5] == shown[-1]


def test_settings_are_those_of_the_next_frame(serve, open_page):
    class Simulator(ToySimulator):
        def step(self, state, action, sampling):
            used.append(sampling)
            return super().step(state, action, sampling)

    used = []
    page = open_page(serve(Simulator(), sampling={"top_k": 7, "num_steps": 9}))
    page.start()
    page.say("settings", num_steps=3, temperature=0.5, order="halton")
    page.say("step", action=0)
    page.frame()
    changed = {"num_steps": 3, "temperature": 0.5, "order": "halton"}
    # Those that a page can't change are what they were.
    assert used == [{**changed, "top_k": 7, "choice_temperature": 4.5}]


def test_calibration_shows_each_action_held(serve, open_page):
    page = open_page(serve())
    page.start()
    page.say("step", action=UP)
    page.frame()
    page.say("calibrate")
    frames = [page.frame() for _ in range(4 * player.PREVIEW_FRAMES)]
    assert [frame[:2] for frame in frames] == [
        (PREVIEW, action) for action in range(4) for _ in range(player.PREVIEW_FRAMES)
    ]
    # Nothing has happened to the world.
    page.say("step", action=UP)
    assert page.frame()[3] == 2


# Whatever comes.


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
def test_there_is_no_world_yet(serve, open_page, message):
    page = open_page(serve())
    page.say(**message)
    assert page.error() == "There is no world yet: send a prompt frame first."


def test_wrong_messages_are_told_and_survived(serve, open_page):
    page = open_page(serve())
    page.socket.send("nonsense")
    assert page.error().endswith("; received nonsense.")
    page.socket.send(b"too short")
    assert page.error() == (
        "A prompt frame must have 768 bytes: 16 rows of 16 pixels of 3 colors; received "
        "9 bytes."
    )
    page.start()
    page.say("go_to", number=9)
    assert page.error() == "The moments kept are 0 to 0; received 9."
    page.say("step", action=RIGHT)
    assert page.frame()[:2] == (NEW, RIGHT)


def test_too_many_commands_at_a_time(serve, open_page):
    page = open_page(serve(ToySimulator(seconds=0.2)))
    page.start()
    for _ in range(player.MAX_COMMANDS + 2):
        page.say("step", action=RIGHT)
    assert page.error() == (
        "At most 8 messages can wait for their turn; a message of type step arrived "
        "while all were waiting."
    )


def test_a_page_that_says_nothing_is_sent_away(serve, open_page, monkeypatch):
    monkeypatch.setattr(player, "IDLE_SECONDS", 0.2)
    page = open_page(serve())
    with pytest.raises(ConnectionClosed) as error:
        page.hear("error")
    assert error.value.rcvd.reason == "This page sent nothing for 0.2 seconds."


def test_a_page_that_reads_nothing_gets_no_more_and_holds_up_nobody(serve, open_page):
    simulator = ToySimulator()
    port = serve(simulator, fps=50)
    slow, quick = open_page(port), open_page(port)
    slow.socket.send(bytes([1]) * ToySimulator.num_bytes)
    slow.say("act", action=LEFT, id=1)
    quick.start()
    quick.say("act", action=RIGHT, id=1)
    for _ in range(30):
        quick.frame()
    # Three frames are on their way, one of them the first.
    assert simulator.actions.count(LEFT) == player.MAX_UNSEEN - 1


def test_a_tab_closed_amid_a_frame_leaves_the_others_playing(serve, open_page):
    port = serve(ToySimulator(seconds=0.05))
    stays = open_page(port)
    stays.start()
    for _ in range(3):
        leaves = open_page(port)
        leaves.start()
        leaves.say("act", action=RIGHT, id=1)
        leaves.frame()
        leaves.socket.socket.close()
    stays.say("act", action=UP, id=1)
    assert [stays.frame()[3] for _ in range(5)] == [1, 2, 3, 4, 5]


def test_an_error_of_the_world_ends_that_connection_alone(serve, open_page):
    class Simulator(ToySimulator):
        def step(self, state, action, sampling):
            if action == DOWN:
                raise RuntimeError("a bug")
            return super().step(state, action, sampling)

    port = serve(Simulator())
    page, other = open_page(port), open_page(port)
    page.start()
    other.start()
    page.say("step", action=DOWN)
    with pytest.raises(ConnectionClosed):
        page.frame()
    other.say("step", action=UP)
    assert other.frame()[:2] == (NEW, UP)
