"""Network side of the server: its address, and limits for each connection.

uvicorn reads everything that a client sends, without limits. Here each connection has
deadlines and a budget of bytes, frames and requests. A connection that exceeds them is
closed immediately, without reading the rest. When there are too many connections, those
that have been silent longest are closed.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import resource
import signal
import socket
import time

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

MAX_CONNECTIONS = 500
MAX_CONNECTIONS_PER_ADDRESS = 64  # Not for this machine, or a proxy on it.
MAX_MESSAGE_BYTES = 2**20  # A prompt frame is the largest message.
MAX_TEXT_BYTES = 4096
MAX_FRAMES = 300  # Per WebSocket and second: messages, fragments, pings and pongs.
HEADER_SECONDS = 10  # Time for a request to arrive.
UNREAD_SECONDS = 20  # Time for a client to read what it was sent.
_CLOSE_SECONDS = 1

_NEW_CONNECTIONS = 256  # Per second.
_REQUESTS = 50  # Per connection and second.
# Bytes per connection: per second, and in one burst.
_HTTP_BYTES = 4 * 2**20, 64 * 2**20
_WEBSOCKET_BYTES = 2**18, 2 * MAX_MESSAGE_BYTES
_PIECE = 4096  # Bytes to parse before counting their frames.
# WebSocket close codes.
_NOT_TEXT, _POLICY, _TOO_LARGE = 1007, 1008, 1009

_log = logging.getLogger(__name__)


class Budget:
    """Token bucket: earns `rate` units per second, and holds at most `burst`."""

    def __init__(self, rate: float, burst: float):
        self._rate = rate
        self._burst = self._left = burst
        self._time = time.monotonic()

    def spend(self, amount: float = 1) -> bool:
        """Spend an amount and return whether the budget covered it."""
        now = time.monotonic()
        earned = (now - self._time) * self._rate
        self._time = now
        self._left = min(self._left + earned, self._burst) - amount
        return self._left >= 0


def bind(host: str, port: int) -> socket.socket:
    """Bind and listen at an address before a model is loaded.

    Clients that connect from now on wait for the server.

    Raises:
        ValueError: if the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        # Two sockets can bind the same port; only one can listen.
        bound.listen(1024)
    except (OSError, UnicodeError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or "this is not a host name"
        raise ValueError(
            f"Cannot serve at {host}, port {port}: {reason}. Choose another."
        ) from error
    return bound


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def web_server(app) -> uvicorn.Server:
    """Return a server for an ASGI application.

    `run(sockets=[...])` serves until Ctrl-C; a second Ctrl-C ends the process.
    """
    return _Server(
        uvicorn.Config(
            app,
            # uvloop, if another package brings it, differs in its errors.
            loop="asyncio",
            http=_Http,
            ws=_WebSocket,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            log_config=None,
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    )


def keep_open(scope: dict) -> None:
    """Exempt the connection of an ASGI scope from being closed when there are too many."""
    if connection := scope.get("state", {}).get("connection"):
        connection.is_kept = True


class _Server(uvicorn.Server):
    """uvicorn server that limits how many connections it accepts."""

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets=[])
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._max_connections = MAX_CONNECTIONS
        if descriptors != resource.RLIM_INFINITY:
            self._max_connections = min(MAX_CONNECTIONS, descriptors // 2)
        self._new_connections = Budget(_NEW_CONNECTIONS, _NEW_CONNECTIONS)
        self._warned: set[str] = set()
        self._accepting = [asyncio.create_task(self._accept(each)) for each in sockets]

    async def shutdown(self, sockets=None) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        # Open connections must not delay the shutdown.
        asyncio.get_running_loop().call_later(0.3, self._abort_all)
        await super().shutdown(sockets)

    def handle_exit(self, sig, frame) -> None:
        if self.should_exit and sig == signal.SIGINT:
            os._exit(128 + sig)
        super().handle_exit(sig, frame)

    def _abort_all(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def _accept(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            while not self._new_connections.spend():
                await asyncio.sleep(0.05)
            try:
                accepted, address = await loop.sock_accept(listener)
            except OSError as error:  # No file descriptors are left.
                self._warn(f"Cannot accept connections: {error.strerror}.")
                await asyncio.sleep(0.5)
                continue
            if self._make_room(address[0]):
                with contextlib.suppress(OSError):  # The client has left already.
                    await loop.connect_accepted_socket(self._protocol, accepted)
            else:
                accepted.close()

    def _protocol(self) -> "_Http":
        return _Http(self.config, self.server_state, self.lifespan.state)

    def _make_room(self, address: str) -> bool:
        """Close the connection that has been silent longest, if necessary.

        Returns:
            Whether there is room for a connection from `address`.
        """
        connections = self.server_state.connections
        own = [each for each in connections if each.address == address]
        if not is_loopback(address) and len(own) >= MAX_CONNECTIONS_PER_ADDRESS:
            candidates = own
        elif len(connections) >= self._max_connections:
            candidates = connections
        else:
            return True
        self._warn("There are too many connections: closing idle ones.")
        idle = [
            each
            for each in candidates
            if not (each.is_kept or each.transport.is_closing())
        ]
        if idle:
            min(idle, key=lambda each: each.last_received).transport.abort()
        return bool(idle)

    def _warn(self, message: str) -> None:
        """Log a warning once, so that an attack cannot fill the disk."""
        if message not in self._warned:
            self._warned.add(message)
            _log.warning(message)


class _Limited:
    """Limits for connections of both protocols: bytes, and time to read answers."""

    is_kept = False
    byte_budget = _HTTP_BYTES

    def connection_made(self, transport) -> None:
        self.last_received = time.monotonic()
        self.address = (transport.get_extra_info("peername") or [""])[0]
        self._bytes = Budget(*self.byte_budget)
        self._unread: asyncio.TimerHandle | None = None
        super().connection_made(transport)

    def connection_lost(self, error) -> None:
        self._stop_waiting()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self.last_received = time.monotonic()
        if self._bytes.spend(len(data)):
            super().data_received(data)
        else:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_waiting()
        super().resume_writing()

    def _stop_waiting(self) -> None:
        if self._unread:
            self._unread.cancel()
            self._unread = None


class _Http(_Limited, H11Protocol):
    """HTTP with a deadline for each request and a limit on requests per second."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._requests = Budget(_REQUESTS, 4 * _REQUESTS)
        self._watch()

    def connection_lost(self, error) -> None:
        self._stop_deadline()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._requests.spend():
            self.transport.abort()
        self._watch()

    def handle_websocket_upgrade(self, event) -> None:
        for name, value in self.headers:
            # websockets would raise an unexpected error on these.
            if not value.isascii() and name.startswith(
                (b"connection", b"upgrade", b"sec-websocket-")
            ):
                return self.send_400_response("Invalid WebSocket request received.")
        super().handle_websocket_upgrade(event)
        self.transport = None  # It belongs to the other protocol now.
        self._stop_deadline()

    def _watch(self) -> None:
        """Keep the deadline running while no request is being answered."""
        if self.cycle and not self.cycle.response_complete:
            self._stop_deadline()
        elif self.transport and not self._deadline:
            abort = self.transport.abort
            self._deadline = self.loop.call_later(HEADER_SECONDS, abort)

    def _stop_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


class _WebSocket(_Limited, WebSocketsSansIOProtocol):
    """WebSocket with a limit on frames per second."""

    byte_budget = _WEBSOCKET_BYTES
    _is_dropped = False

    def __init__(self, config, server_state, app_state, _loop=None):
        app_state = {**app_state, "connection": self}
        super().__init__(config, server_state, app_state, _loop)
        self._frames = Budget(MAX_FRAMES, MAX_FRAMES)

    def data_received(self, data: bytes) -> None:
        # A frame can be two bytes, and parsing one takes longer than sending it.
        for begin in range(0, len(data), _PIECE):
            if not (self._is_dropped or self.transport.is_closing()):
                super().data_received(data[begin : begin + _PIECE])
        if not self.handshake_initiated:  # The first data must be a complete request.
            self.transport.abort()

    def handle_events(self) -> None:
        if self._frames.spend(len(self.conn.events)):
            super().handle_events()
        else:
            self._drop(
                _POLICY,
                f"A page may send at most {MAX_FRAMES} messages per second.",
            )

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            text = b"".join(self.frames)
            if len(text) > MAX_TEXT_BYTES:
                reason = f"A text message may have at most {MAX_TEXT_BYTES} bytes."
                return self._drop(_TOO_LARGE, reason)
            try:
                text.decode()
            except UnicodeDecodeError:
                return self._drop(_NOT_TEXT, "A text message must be UTF-8.")
        super().send_receive_event_to_app()

    async def send(self, message) -> None:
        await self.writable.wait()
        if self.close_sent:  # uvicorn would report an error of the application.
            raise ClientDisconnected
        await super().send(message)

    def _drop(self, code: int, reason: str) -> None:
        """Stop reading, send the reason, and close after the client can have read it."""
        if self._is_dropped:
            return
        self._is_dropped = self.close_sent = True
        self.read_paused = False  # Otherwise uvicorn would resume reading.
        self.transport.pause_reading()
        with contextlib.suppress(InvalidState):
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        self.close_timer = self.loop.call_later(_CLOSE_SECONDS, self.transport.abort)
