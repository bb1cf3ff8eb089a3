"""A server of worlds without a model, and a page that speaks to it without a browser."""

import contextlib
import json
import threading
import time

import pytest
from websockets.sync.client import connect

from genie_tf.play import PlayServer, bind, web_server
from genie_tf.play.messages import unpack_frame
from genie_tf.testing.toy_simulator import ToySimulator


class Page:
    """What a page does: says things, and hears frames and messages."""

    def __init__(self, socket):
        self.socket = socket
        self.hello = self.hear("hello")

    def say(self, type: str, **rest):
        self.socket.send(json.dumps({"type": type, **rest}))

    def start(self, grey: int = 7):
        self.socket.send(bytes([grey]) * ToySimulator.num_bytes)
        return self.frame()

    def hear(self, type: str) -> dict:
        """The next message of a type, leaving out all others and frames."""
        while True:
            message = self.socket.recv(timeout=10)
            if isinstance(message, str) and json.loads(message)["type"] == type:
                return json.loads(message)

    def frame(self, timeout: float = 10) -> tuple:
        """The next frame, leaving out messages; says that it was seen."""
        while True:
            message = self.socket.recv(timeout=timeout)
            if isinstance(message, bytes):
                self.say("seen")
                return unpack_frame(message)

    def error(self) -> str:
        return self.hear("error")["message"]


@contextlib.contextmanager
def serving(server: PlayServer, *access):
    """Serves, and yields the port."""
    socket = bind("127.0.0.1", 0)
    web = web_server(server.app(*access))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [socket]})
    thread.start()
    while not web.started:
        time.sleep(0.01)
    yield socket.getsockname()[1]
    web.should_exit = True
    thread.join()


@pytest.fixture
def serve():
    """A function that serves what `PlayServer` is given, and returns the port."""
    with contextlib.ExitStack() as stack:

        def start(
            simulator=None, token=None, root_path="", allowed_origins=(), **settings
        ) -> int:
            server = PlayServer(simulator or ToySimulator(), "Toy", **settings)
            access = token, root_path, allowed_origins
            return stack.enter_context(serving(server, *access))

        yield start


@pytest.fixture(scope="module")
def port():
    """The port of a server without a token."""
    with serving(PlayServer(ToySimulator(), "Toy")) as port:
        yield port


@pytest.fixture(scope="module")
def token_port():
    """The port of a server whose token is "a-token"."""
    with serving(PlayServer(ToySimulator(), "Toy"), "a-token") as port:
        yield port


@pytest.fixture
def open_page():
    """A function that opens a `Page`, closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_one(port: int, **options) -> Page:
            address = f"ws://127.0.0.1:{port}/play"
            return Page(stack.enter_context(connect(address, **options)))

        yield open_one
