"""genie-play as a user starts it, with a model."""

import json
import re
import signal
import subprocess
import sys
import urllib.request

from websockets.sync.client import connect

from genie_tf.play.messages import AGAIN, NEW, unpack_frame
from genie_tf.presets import save_preset
from genie_tf.testing.tiny_models import tiny_genie


def test_a_model_is_played_until_it_is_interrupted(tmp_path):
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
            play_a_frame(re.fullmatch(r"Play at http://(127\.0\.0\.1:\d+)\n", line)[1])
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 130
            assert process.stderr.read() == "play.py: interrupted\n"
        finally:
            process.kill()


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
