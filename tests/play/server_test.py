"""What a page and the server say to each other."""

import http.client
import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed

from genie_tf.play import PlayServer, bind, is_loopback, player, server
from genie_tf.play.messages import AGAIN, NEW, PREVIEW
from genie_tf.samplers import Sampling
from genie_tf.testing.toy_simulator import ToySimulator

LEFT, RIGHT, UP, DOWN = range(4)


def request(port: int, method: str, path: str, body: bytes | None = None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


def sorry(response) -> str:
    return json.loads(response[1])["message"]


def png(width: int, height: int, colour="red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()


# Playing.


def test_a_page_is_told_what_there_is(serve, open_page):
    names, keys = ["left", "right", "up", "down"], {"a": 0}
    hello = open_page(serve(action_names=names, keys=keys, fps=30)).hello
    assert (hello["name"], hello["num_actions"], hello["fps"]) == ("Toy", 4, 30)
    assert (hello["action_names"], hello["keys"]) == (names, keys)
    assert (hello["height"], hello["width"]) == (16, 16)
    assert len(hello["prompts"]) == 6 and "gif" in hello["recordings"]


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
    page = open_page(serve(Simulator()))
    page.start()
    page.say("settings", num_steps=3, temperature=0.5, order="halton")
    page.say("step", action=0)
    page.frame()
    assert used[0][:2] == (3, 0.5) and used[0].order == "halton"


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


# Pictures and recordings.


@pytest.mark.parametrize(("fit", "corner"), [("crop", 255), ("pad", 0)])
def test_a_picture_is_fitted_to_the_frame(serve, fit, corner):
    status, content = request(serve(), "POST", f"/picture?fit={fit}", png(300, 100))
    assert status == 200
    picture = np.asarray(Image.open(io.BytesIO(content)))
    assert picture.shape == (16, 16, 3)
    assert picture[0, 0].tolist() == [corner, 0, 0]


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        (
            "/picture",
            b"text",
            "The prompt image cannot be used: it cannot be read as a PNG, JPEG or GIF "
            "image.",
        ),
        ("/picture?fit=x", png(9, 9), "`fit` must be one of crop, pad; received x."),
        (
            "/picture",
            bytes(17 << 20),
            "The prompt image cannot be used: it has more than 16 MiB.",
        ),
        (
            "/picture",
            png(7_000, 7_000),
            "The prompt image cannot be used: it has more than 40 million pixels, or a "
            "side of more than 65,535.",
        ),
    ],
)
def test_a_picture_that_cannot_be_used(serve, path, content, sentence):
    response = request(serve(), "POST", path, content)
    assert response[0] == 400
    assert sorry(response) == sentence


def test_prompts_have_the_size_of_a_frame(serve, open_page):
    port = serve()
    for name in open_page(port).hello["prompts"]:
        status, content = request(port, "GET", f"/prompts/{name}.png")
        assert status == 200
        assert Image.open(io.BytesIO(content)).size == (16, 16)
    response = request(port, "GET", "/prompts/none.png")
    assert response[0] == 404 and sorry(response) == "There is no prompt none."


@pytest.mark.parametrize("form", ["gif", "mp4"])
def test_a_recording(serve, open_page, form):
    port = serve()
    page = open_page(port)
    page.start()
    page.say("record", on=True)
    for _ in range(5):
        page.say("step", action=RIGHT)
        page.frame()
    page.say("record", on=False)
    report = page.hear("report")
    while report["recording"] or not report["recorded"]:
        report = page.hear("report")
    status, content = request(port, "GET", f"/recordings/{page.hello['id']}.{form}")
    assert status == 200
    if form == "gif":
        with Image.open(io.BytesIO(content)) as gif:
            assert (gif.n_frames, gif.size) == (6, (256, 256))
    else:
        assert content[4:8] == b"ftyp"


def test_a_recording_ends_when_it_is_full(serve, open_page, monkeypatch):
    monkeypatch.setattr(player, "RECORDED_SECONDS", 0.1)
    port = serve(fps=50)
    page = open_page(port)
    page.start()
    page.say("record", on=True)
    page.say("act", action=RIGHT, id=1)
    for _ in range(12):
        page.frame()
    _, content = request(port, "GET", f"/recordings/{page.hello['id']}.gif")
    assert Image.open(io.BytesIO(content)).n_frames == 5


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("x.gif", "There is no such recording: record something first."),
        ("x.exe", "Recordings are gif or mp4; received exe."),
    ],
)
def test_a_recording_that_is_not_there(serve, path, sentence):
    response = request(serve(), "GET", f"/recordings/{path}")
    assert response[0] == 404 and sorry(response) == sentence


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
    assert page.error() == "There is no world yet: send a picture to start from."


def test_wrong_messages_are_told_and_survived(serve, open_page):
    page = open_page(serve())
    page.socket.send("nonsense")
    assert page.error().endswith("; received nonsense.")
    page.socket.send(b"too short")
    assert page.error() == (
        "A picture to start from must be 768 bytes, of 16 rows of 16 pixels of 3 "
        "colours; received 9 bytes."
    )
    page.start()
    page.say("go_to", number=9)
    assert page.error() == "The moments kept are 0 to 0; received 9."
    page.say("step", action=RIGHT)
    assert page.frame()[:2] == (NEW, RIGHT)


def test_a_flood_of_messages_is_sent_away(serve, open_page):
    port = serve()
    page, other = open_page(port), open_page(port)
    other.start()
    with pytest.raises(ConnectionClosed) as error:
        for _ in range(100_000):
            page.say("seen")
        while True:
            page.socket.recv(timeout=10)
    assert error.value.rcvd.reason == (
        "A page may send 300 messages a second; received more."
    )
    other.say("step", action=RIGHT)
    assert other.frame()[:2] == (NEW, RIGHT)


def test_too_many_commands_at_a_time(serve, open_page):
    page = open_page(serve(ToySimulator(seconds=0.2)))
    page.start()
    for _ in range(player.MAX_COMMANDS + 2):
        page.say("step", action=RIGHT)
    assert page.error() == (
        "At most 8 messages wait for their turn; this one of type step came while all "
        "were waiting."
    )


def test_a_page_that_says_nothing_is_sent_away(serve, open_page, monkeypatch):
    monkeypatch.setattr(player, "IDLE_SECONDS", 0.2)
    page = open_page(serve())
    with pytest.raises(ConnectionClosed) as error:
        page.hear("error")
    assert error.value.rcvd.reason == "Nothing was heard of this page for 0.2 seconds."


def test_seats_are_freed(serve, open_page):
    port = serve(max_players=1)
    first, second = open_page(port), open_page(port)
    first.start()
    first.start()  # Another world, in the same seat.
    second.socket.send(bytes(ToySimulator.num_bytes))
    assert second.error() == (
        "All 1 seats are taken: try again when somebody has left."
    )
    first.socket.close()
    time.sleep(0.2)
    assert second.start()[0] == AGAIN


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


def test_two_hundred_connections(serve, open_page):
    port = serve()
    page = open_page(port)
    page.start()
    for _ in range(200):
        open_page(port)
    page.say("step", action=RIGHT)
    assert page.frame()[:2] == (NEW, RIGHT)


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


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("192.168.0.1", False), ("::", False), ("name", False)),
    ],
)
def test_hosts_that_this_machine_alone_can_reach(host, expected):
    assert is_loopback(host) == expected


@pytest.mark.parametrize(("num_steps", "temperature"), [(26, 1.0), (8, 4.5)])
def test_sampling_that_a_page_could_not_set(num_steps, temperature):
    with pytest.raises(ValueError) as error:
        PlayServer(ToySimulator(), "Toy", sampling=Sampling(num_steps, temperature))
    assert str(error.value) == (
        "Worlds are played with at most 25 steps a frame and a temperature of 4; "
        f"received {num_steps} and {temperature}."
    )


def test_a_port_that_is_taken():
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError) as error:
            bind("127.0.0.1", port)
    assert str(error.value) == (
        f"Cannot serve at 127.0.0.1, port {port}: Address already in use. Choose another."
    )


def test_slow_uploads_are_given_up(serve, monkeypatch):
    monkeypatch.setattr(server, "UPLOAD_SECONDS", 0.2)
    connection = http.client.HTTPConnection("127.0.0.1", serve(), timeout=10)
    connection.putrequest("POST", "/picture")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"some")
    response = connection.getresponse()
    assert response.status == 408
    assert json.loads(response.read())["message"] == (
        "A picture must arrive within 0.2 seconds."
    )
