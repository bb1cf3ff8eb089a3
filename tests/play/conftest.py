"""Fixtures: a server of a world without a model, and a page without a browser."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from websockets.sync.client import connect

from genie_tf.play import Host, bind, make_app, web_server
from genie_tf.play.messages import unpack_frame
from genie_tf.testing.toy_simulator import ToySimulator

NGINX_SETTINGS = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/certificate;
        ssl_certificate_key {folder}/key;
        {location}
    }}
}}
"""
DOCS = Path(__file__).parents[2] / "docs/play.md"


class Page:
    """Stand-in for the page: sends messages, and receives messages and frames."""

    def __init__(self, socket):
        self.socket = socket
        self.hello = self.receive("hello")

    def send(self, type: str, **rest):
        self.socket.send(json.dumps({"type": type, **rest}))

    def start(self, gray: int = 7):
        self.socket.send(bytes([gray]) * ToySimulator.num_bytes)
        return self.receive_frame()

    def receive(self, type: str) -> dict:
        """Return the next message of a type, skipping frames and other messages."""
        while True:
            message = self.socket.recv(timeout=10)
            if isinstance(message, str) and json.loads(message)["type"] == type:
                return json.loads(message)

    def receive_frame(self, timeout: float = 10) -> tuple:
        """Return the next frame, skipping messages, and confirm it."""
        while True:
            message = self.socket.recv(timeout=timeout)
            if isinstance(message, bytes):
                self.send("seen")
                return unpack_frame(message)

    def receive_error(self) -> str:
        return self.receive("error")["message"]


@contextlib.contextmanager
def serving(host: Host, *access):
    """Serve a host and yield the port."""
    bound = bind("127.0.0.1", 0)
    web = web_server(make_app(host, *access))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [bound]})
    thread.start()
    while not web.started:
        time.sleep(0.01)
    yield bound.getsockname()[1]
    web.should_exit = True
    thread.join()


@pytest.fixture
def serve():
    """Function that serves a `Host` with given settings and returns the port."""
    with contextlib.ExitStack() as stack:

        def start(
            simulator=None, token=None, root_path="", allowed_origins=(), **settings
        ) -> int:
            host = Host(simulator or ToySimulator(), "Toy", **settings)
            access = token, root_path, allowed_origins
            return stack.enter_context(serving(host, *access))

        yield start


@pytest.fixture(scope="module")
def port():
    """Port of a server without a token."""
    with serving(Host(ToySimulator(), "Toy")) as port:
        yield port


@pytest.fixture(scope="module")
def token_port():
    """Port of a server with the token "a-token"."""
    with serving(Host(ToySimulator(), "Toy"), "a-token") as port:
        yield port


@pytest.fixture
def open_page():
    """Function that opens a `Page`, which is closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_one(port: int, **options) -> Page:
            address = f"ws://127.0.0.1:{port}/play"
            return Page(stack.enter_context(connect(address, **options)))

        yield open_one


@pytest.fixture
def nginx(serve, tmp_path):
    """Ports of an nginx configured as in docs/play.md, and of the server behind it.

    The server has the token "a-token" and allows the origins https://world.example.com
    and the address of nginx.
    """
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not (program and shutil.which("openssl")):
        pytest.skip("needs nginx and openssl; on Debian: apt install nginx openssl")
    location = re.search(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    origins = ["https://world.example.com", f"https://127.0.0.1:{port}"]
    inner = serve(token="a-token", root_path="/genie", allowed_origins=origins)
    settings = NGINX_SETTINGS.format(
        folder=tmp_path, port=port, location=location.replace(":8000/", f":{inner}/")
    )
    (tmp_path / "settings").write_text(settings)
    files = f"-keyout {tmp_path}/key -out {tmp_path}/certificate"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost {files}"
    subprocess.run(command.split(), check=True, capture_output=True)
    with subprocess.Popen([program, "-c", f"{tmp_path}/settings"]) as process:
        try:
            while not is_open(port):
                assert process.poll() is None
                time.sleep(0.05)
            yield port, inner
        finally:
            process.terminate()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
