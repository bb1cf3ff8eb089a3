"""Tests of addresses, and of connection limits below HTTP and WebSocket."""

import asyncio
import contextlib
import errno
import json
import os
import socket
import struct
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from genie_tf.play import bind, is_loopback, network
from genie_tf.play.messages import NEW
from genie_tf.testing.toy_simulator import ToySimulator

LEFT, RIGHT, UP, DOWN = range(4)


def connect(port: int, receive_buffer: int | None = None) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(10)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", port))
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Wait until the other side has closed."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return True


UPGRADE = (
    b"GET /play HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def upgrade(port: int, receive_buffer: int | None = None) -> socket.socket:
    """Return a socket after the handshake of a WebSocket."""
    connection = connect(port, receive_buffer)
    connection.sendall(UPGRADE)
    assert connection.recv(65536).startswith(b"HTTP/1.1 101")
    return connection


def frame(opcode: Opcode, data: bytes = b"", fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def can_play(page) -> bool:
    page.send("step", action=RIGHT)
    return page.receive_frame()[:2] == (NEW, RIGHT)


SEEN = json.dumps({"type": "seen"}).encode()


@pytest.mark.parametrize(
    "flood",
    [
        frame(Opcode.TEXT, SEEN),
        frame(Opcode.TEXT, b'{"type": "go_to", "number": 9}'),
        frame(Opcode.TEXT, SEEN) + frame(Opcode.CONT),
        frame(Opcode.PING, bytes(125)),
        frame(Opcode.PONG),
        frame(Opcode.BINARY, b"x"),
        frame(Opcode.CONT, fin=False),
        frame(Opcode.TEXT, b"x" * 4_000),
    ],
    ids=[
        "messages",
        "complaints",
        "malformed",
        "pings",
        "pongs",
        "images",
        "empty fragments",
        "long texts",
    ],
)
def test_flooding_connection_is_closed_unread(caplog, serve, open_page, flood):
    port = serve()
    other = open_page(port)
    other.start()
    connection = upgrade(port)
    if flood == frame(Opcode.CONT, fin=False):
        connection.sendall(frame(Opcode.TEXT, fin=False))
    # Sending fails once the system's buffers are full.
    sent, many = 0, flood * 2_000
    with pytest.raises(ConnectionError):
        while sent < 2**30:
            sent += connection.send(many)
    assert sent < 2**26
    assert can_play(other)
    assert not caplog.records


def test_flooding_client_gets_reason(port, open_page):
    page = open_page(port)
    with pytest.raises(ConnectionClosed) as error:
        for _ in range(100_000):
            page.send("seen")
        while True:
            page.socket.recv(timeout=10)
    assert error.value.rcvd.reason == (
        "A page may send at most 300 messages per second."
    )


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("x" * 4_097, 1009, "A text message may have at most 4096 bytes."),
        ("é" * 2_049, 1009, "A text message may have at most 4096 bytes."),
        (b"\xff", 1007, "A text message must be UTF-8."),
        (b"\xed\xa0\x80", 1007, "A text message must be UTF-8."),
        ([b"\xc3", b"("], 1007, "A text message must be UTF-8."),
        (
            ["x" * 4_000, "x" * 4_000],
            1009,
            "A text message may have at most 4096 bytes.",
        ),
    ],
)
def test_invalid_texts_close_connection(port, open_page, caplog, message, code, reason):
    page = open_page(port)
    page.socket.send(message, text=True)
    with pytest.raises(ConnectionClosed) as error:
        page.receive("error")
    assert (error.value.rcvd.code, error.value.rcvd.reason) == (code, reason)
    assert not caplog.records


def test_split_character_is_one_text(port, open_page):
    page = open_page(port)
    page.socket.send([b"\xc3", b"\xa4"], text=True)
    assert page.receive_error().endswith("; received ä.")


def test_client_that_does_not_read_is_disconnected(serve, monkeypatch):
    class Simulator(ToySimulator):
        frame_shape = (590, 590, 3)
        num_bytes = 590 * 590 * 3

    monkeypatch.setattr(network, "UNREAD_SECONDS", 0.2)
    connection = upgrade(serve(Simulator()), receive_buffer=4096)
    for _ in range(2):
        connection.sendall(frame(Opcode.BINARY, bytes(Simulator.num_bytes)))
    connection.sendall(frame(Opcode.TEXT, b'{"type": "step", "action": 0}'))
    time.sleep(1.5)
    received = 0
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(2**20):
            received += len(part)
    assert received < 3 * Simulator.num_bytes


def test_immediate_disconnect_logs_no_traceback(serve, open_page, caplog):
    port = serve()
    for _ in range(30):
        connection = connect(port)
        reset = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        connection.sendall(UPGRADE)
        connection.close()
    page = open_page(port)
    page.start()
    assert can_play(page)
    assert not caplog.records


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_requests_have_deadline(serve, monkeypatch, sent):
    monkeypatch.setattr(network, "HEADER_SECONDS", 0.3)
    connection = connect(serve())
    connection.sendall(sent)
    assert is_closed(connection)


def test_dripping_request_has_same_deadline(serve, monkeypatch):
    monkeypatch.setattr(network, "HEADER_SECONDS", 0.3)
    connection = connect(serve())
    # The rest of an answered request counts toward the next one's deadline.
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n")
    with pytest.raises(ConnectionError):
        for _ in range(1_000):
            connection.sendall(b"x")
            time.sleep(0.01)


def test_oversized_body_is_not_read(port):
    connection = connect(port)
    size = 2**30
    connection.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
    )
    sent, part = 0, bytes(2**20)
    with pytest.raises(ConnectionError):
        while sent < size:
            sent += connection.send(part)
    assert sent < 2**28


def test_requests_per_connection_are_limited(port):
    connection = connect(port)
    answers = b""
    with contextlib.suppress(ConnectionError):
        connection.sendall(b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000)
        while part := connection.recv(65536):
            answers += part
    assert 200 <= answers.count(b" 404 ") < 1_000


@pytest.mark.parametrize("attack", [connect, upgrade], ids=["TCP", "WebSocket"])
def test_idle_connections_are_closed_for_new_ones(
    serve, open_page, monkeypatch, caplog, attack
):
    monkeypatch.setattr(network, "MAX_CONNECTIONS", 10)
    port = serve()
    page = open_page(port)
    page.start()
    idle = [attack(port) for _ in range(30)]
    newcomer = open_page(port)
    newcomer.start()
    assert can_play(newcomer) and can_play(page)
    assert is_closed(idle[0])
    # Logged once, not 20 times.
    assert caplog.messages == ["There are too many connections: closing idle ones."]


def test_playing_connections_are_not_closed(serve, open_page, monkeypatch):
    monkeypatch.setattr(network, "MAX_CONNECTIONS", 2)
    port = serve()
    pages = [open_page(port), open_page(port)]
    for page in pages:
        page.start()
    assert is_closed(connect(port))
    assert all(map(can_play, pages))


def test_connections_per_address_are_limited(serve, monkeypatch):
    monkeypatch.setattr(network, "MAX_CONNECTIONS_PER_ADDRESS", 3)
    monkeypatch.setattr(network, "is_loopback", lambda host: False)
    port = serve()
    connections = [connect(port) for _ in range(4)]
    assert is_closed(connections[0])
    for connection in connections[1:]:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100)


def test_world_plays_next_to_200_connections(serve, open_page):
    port = serve()
    page = open_page(port)
    page.start()
    for _ in range(200):
        open_page(port)
    assert can_play(page)


def test_missing_descriptors_are_logged_once(serve, open_page, monkeypatch, caplog):
    async def accept(self, listener):
        if len(failed) < 3:
            failed.append(listener)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await sock_accept(self, listener)

    failed = []
    sock_accept = asyncio.SelectorEventLoop.sock_accept
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_accept", accept)
    page = open_page(serve())
    page.start()
    assert can_play(page)
    assert caplog.messages == ["Cannot accept connections: Too many open files."]


# Addresses.


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("192.168.0.1", False), ("::", False), ("name", False)),
    ],
)
def test_loopback_hosts_are_recognized(host, expected):
    assert is_loopback(host) == expected


def test_taken_port_is_reported():
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError) as error:
            bind("127.0.0.1", port)
    assert str(error.value) == (
        f"Cannot serve at 127.0.0.1, port {port}: Address already in use. Choose another."
    )


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("no.such.host.invalid", "Name or service not known"),
        ("[::1]", "Name or service not known"),
        ("..", "this is not a host name"),
        ("a" * 70, "this is not a host name"),
        ("192.0.2.1", "Cannot assign requested address"),
    ],
)
def test_invalid_addresses_are_reported(host, reason):
    with pytest.raises(ValueError) as error:
        bind(host, 0)
    assert str(error.value).startswith(f"Cannot serve at {host}, port 0: ")
    assert str(error.value).endswith(". Choose another.")
