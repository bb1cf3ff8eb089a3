"""Tests behind a real nginx with the settings of docs/play.md."""

import http.client
import json
import re
import ssl

from websockets.sync.client import connect

from genie_tf.play.messages import AGAIN, NEW, unpack_frame
from genie_tf.testing.toy_simulator import ToySimulator

ORIGIN, TOKEN = "https://world.example.com", "a-token"
TRUSTING = ssl._create_unverified_context()


def test_world_is_played_through_nginx(nginx):
    port, inner = nginx
    client = http.client.HTTPSConnection("127.0.0.1", port, context=TRUSTING)

    def ask(method, path, body=None, **headers):
        client.request(method, path, body, headers)
        response = client.getresponse()
        return response, response.read()

    response, _ = ask("GET", f"/genie/?token={TOKEN}")
    assert (response.status, response.headers["Location"]) == (303, "./")
    cookie, *attributes = response.headers["Set-Cookie"].split("; ")
    assert cookie == f"genie_play_{inner}={TOKEN}"
    assert {"Secure", "HttpOnly", "Path=/genie"} < set(attributes)
    _, page = ask("GET", "/genie/", Cookie=cookie)
    # The page's links are relative to the page.
    for path in re.findall(r'(?:src|href)="([^"#]+)"', page.decode()):
        assert not path.startswith("/")
        assert ask("GET", f"/genie/{path}", Cookie=cookie)[0].status == 200
    assert ask("GET", "/genie/")[0].status == 401
    assert ask("GET", "/genie/", Cookie=cookie, Origin="https://evil")[0].status == 403

    with connect(
        f"wss://127.0.0.1:{port}/genie/play",
        ssl=TRUSTING,
        origin=ORIGIN,
        additional_headers={"Cookie": cookie},
    ) as page:
        hello = json.loads(page.recv(timeout=10))
        page.send(bytes(ToySimulator.num_bytes))
        page.send(json.dumps({"type": "record", "on": True}))
        page.send(json.dumps({"type": "step", "action": 1}))
        frames = []
        while len(frames) < 2:
            message = page.recv(timeout=10)
            if isinstance(message, bytes):
                frames.append(unpack_frame(message)[:2])
        assert frames == [(AGAIN, None), (NEW, 1)]
        recording = f"/genie/recordings/{hello['id']}.gif"
        response, content = ask("GET", recording, Cookie=cookie)
        assert response.status == 200 and content.startswith(b"GIF")
    headers = {"Cookie": cookie, "Origin": ORIGIN}
    response, content = ask("POST", "/genie/picture", bytes(16 * 2**20), **headers)
    assert response.status == 400 and b"cannot be read as" in content
    client.close()
