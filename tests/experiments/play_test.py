"""End-to-end runs of genie-play."""

import http.client
import json
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from websockets.sync.client import connect

from genie_tf.experiments.play import addresses
from genie_tf.play import bind
from genie_tf.play.messages import AGAIN, NEW, unpack_frame
from genie_tf.presets.saving import save_preset
from genie_tf.testing.tiny_models import tiny_genie


def test_model_is_served_until_interrupted(tmp_path):
    save_preset(tiny_genie(), tmp_path / "model", "A card.")
    command = ["-m", "genie_tf.experiments.play", "--preset=model", "--port=0"]
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "Compiling ...\n"
            line = process.stdout.readline()
            address = re.fullmatch(r"Play at http://(127\.0\.0\.1:\d+)\n", line)[1]
            play_a_frame(address)
            interrupt(process, address)
            assert process.wait(timeout=20) == 130
            assert process.stderr.read() == "play.py: interrupted\n"
        finally:
            process.kill()


def interrupt(process: subprocess.Popen, address: str):
    """Interrupt the server; neither a player nor a slow upload delays its end."""
    upload = http.client.HTTPConnection(address)
    upload.putrequest("POST", "/picture")
    upload.putheader("Content-Length", "100")
    upload.endheaders(b"some")
    with connect(f"ws://{address}/play") as socket:
        socket.send(bytes(16 * 16 * 3))
        socket.send(json.dumps({"type": "act", "action": 3, "id": 1}))
        socket.recv(timeout=60)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
    upload.close()


def test_addresses_include_proxies_and_token():
    assert addresses("127.0.0.1", 8000) == ["http://127.0.0.1:8000"]
    assert addresses("::1", 8000) == ["http://[::1]:8000"]
    assert addresses("0.0.0.0", 80, token="abc") == ["http://0.0.0.0:80/?token=abc"]
    origins = ["https://a.example", "http://b.example:81"]
    assert addresses("127.0.0.1", 80, origins)[1:] == [
        "https://a.example/",
        "http://b.example:81/",
    ]
    assert addresses("127.0.0.1", 80, origins, "/genie", "abc")[1:] == [
        "https://a.example/genie/?token=abc",
        "http://b.example:81/genie/?token=abc",
    ]


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        (
            "--allowed_origin=*",
            "An allowed origin must have the form https://world.example.com; received *.",
        ),
        (
            "--root_path=genie",
            "The root path must have the form /genie, with only letters, digits and "
            ". _ ~ -; received genie.",
        ),
        (
            "--host=127.0.0.1",
            "Cannot serve at 127.0.0.1, port PORT: Address already in use. Choose "
            "another.",
        ),
    ],
)
def test_invalid_addresses_are_rejected(run_app, tmp_path, flag, sentence):
    with bind("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        ended = run_app(
            "play",
            "--preset=genie_coinrun",
            flag,
            f"--port={port}",
            folder=tmp_path,
        )
    assert ended.code == 2
    assert ended.errors == [f"play.py: {sentence.replace('PORT', port)}"]


def play_a_frame(address: str):
    with urllib.request.urlopen(f"http://{address}/main.js") as page:
        assert page.status == 200
    with connect(f"ws://{address}/play") as socket:
        assert json.loads(socket.recv())["num_actions"] == 5
        socket.send(bytes(16 * 16 * 3))
        socket.send(json.dumps({"type": "step", "action": 3}))
        messages = [socket.recv(timeout=60) for _ in range(4)]
    frames = [unpack_frame(m) for m in messages if isinstance(m, bytes)]
    assert [frame[:2] for frame in frames] == [(AGAIN, None), (NEW, 3)]


NO_PRESET = (
    "There is no preset none: expected a folder, or the name of one that ships with .*"
)
# Invalid input: the run, its changed flags, and a pattern of the error.
WRONG = [
    ("play", {"preset": "none"}, NO_PRESET),
    (
        "play",
        {"host": "192.0.2.1"},
        "Cannot serve at 192.0.2.1, port 0: Cannot assign requested address. Choose "
        "another.",
    ),
    ("play", {"fps": 51}, "flag --fps=51: .*50.*"),
    ("play", {"prompt": "none.png"}, "There is no prompt image none.png."),
    (
        "play",
        {"preset": "guided", "prompt": "evaluation/prompt.png,evaluation/prompt.png"},
        "Expected 1 prompt actions, between 2 prompt frames, which a guided world "
        "cannot infer; received none.",
    ),
    (
        "play",
        {"steps": 26},
        "To play, `num_steps` must be at most 25; received 26.",
    ),
]


@pytest.mark.parametrize(("name", "changes", "sentence"), WRONG)
def test_invalid_input_is_rejected_in_one_sentence(
    check_refused, name, changes, sentence
):
    check_refused(name, changes, sentence)
