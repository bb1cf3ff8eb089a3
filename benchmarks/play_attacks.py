"""Measure what a genie-play player gets during attacks on the server.

python benchmarks/play_attacks.py --preset=genie_coinrun

Starts the server on loopback only. For each attack, a player plays for some seconds before,
during and after it. The table has the player's frames per second, the time from a key to
its frame, and the memory of the server with its child processes. `--toy` uses a world
without a model, which takes 5 ms per sampling step.
"""

import argparse
import asyncio
import contextlib
import http.client
import io
import itertools
import json
import math
import multiprocessing
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import play_load
from PIL import Image
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode

SCANS = 5_113
OTHERS = 7
STEPS = 25


# Attacks. Each runs until its process is killed, and reconnects if disconnected.


def hold_idle(address: str) -> None:
    """Open many WebSockets and do nothing."""
    hold(address, 800, upgrade)


def hold_silent(address: str) -> None:
    """Open many connections and send nothing."""
    hold(address, 1_500, open_socket)


def hold(address: str, count: int, open_one) -> None:
    sockets = []
    while True:
        with contextlib.suppress(OSError):
            sockets.append(open_one(address))
        del sockets[:-count]
        if len(sockets) == count:
            time.sleep(0.02)


def flood(message: bytes, begin: bytes = b"", reads: bool = False):
    """Return an attack that sends the same bytes as fast as possible."""

    def attack(address: str) -> None:
        many = message * max(1, 2**16 // len(message))
        while True:
            with contextlib.suppress(OSError), upgrade(address) as connection:
                connection.sendall(begin)
                while True:
                    connection.sendall(many)
                    if reads:
                        with contextlib.suppress(BlockingIOError):
                            connection.recv(2**16, socket.MSG_DONTWAIT)
            time.sleep(0.05)

    return attack


def upload_slowly(address: str) -> None:
    """Upload images at one byte per second."""
    head = b"POST /picture HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    while True:
        with contextlib.suppress(OSError):
            uploads = [open_socket(address) for _ in range(4)]
            for upload in uploads:
                upload.sendall(head)
            while True:
                time.sleep(1)
                for upload in uploads:
                    upload.sendall(b"x")


def upload_bombs(address: str) -> None:
    """Upload a JPEG with many scans repeatedly."""
    bomb = make_bomb()
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            client = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
            client.request("POST", "/picture", bomb)
            client.getresponse().read()


def make_bomb() -> bytes:
    file = io.BytesIO()
    image = Image.new("L", (5_000, 5_000), 128)
    image.save(file, "JPEG", progressive=True)
    parts = re.split(rb"(?=\xff\xda)", file.getvalue().removesuffix(b"\xff\xd9"))
    scan = min(parts[1:], key=len)
    return b"".join(parts) + scan * (SCANS - len(parts) + 1) + b"\xff\xd9"


def play_as_many(message: str, **settings):
    """Return an attack of seven players who keep sending the same message."""

    async def play(address: str) -> None:
        async with connect(address, compression=None) as page:
            await play_load.begin(page)
            if settings:
                await page.send(json.dumps({"type": "settings", **settings}))
            await page.send(message)
            while True:
                if isinstance(await page.recv(), bytes):
                    await page.send('{"type": "seen"}')
                elif "calibrate" in message:
                    await page.send(message)

    async def play_forever(address: str) -> None:
        while True:
            with contextlib.suppress(OSError, WebSocketException):
                await play(address)
            await asyncio.sleep(0.1)

    async def play_all(address: str) -> None:
        await asyncio.gather(*(play_forever(address) for _ in range(OTHERS)))

    return lambda address: asyncio.run(play_all(address))


def abandon_recordings(address: str) -> None:
    """Request a recording repeatedly, and disconnect before it arrives."""

    async def record() -> None:
        async with connect(address, compression=None) as page:
            hello = await play_load.begin(page)
            await page.send('{"type": "record", "on": true}')
            await page.send('{"type": "act", "action": 0, "id": 1}')
            end = time.monotonic() + 2
            while time.monotonic() < end:
                if isinstance(await page.recv(), bytes):
                    await page.send('{"type": "seen"}')
            await page.send('{"type": "act", "action": null, "id": 2}')
            request = (
                f"GET /recordings/{hello['id']}.gif HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            while True:
                with contextlib.suppress(OSError):
                    open_socket(address).sendall(request.encode())
                await asyncio.sleep(0.05)

    asyncio.run(record())


def open_socket(address: str) -> socket.socket:
    place = urlsplit(address)
    return socket.create_connection((place.hostname, place.port), 10)


def upgrade(address: str) -> socket.socket:
    """Return a socket after the handshake of a WebSocket."""
    connection = open_socket(address)
    connection.sendall(
        b"GET /play HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    return connection


def frame(opcode: Opcode, data: bytes = b"", fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


HOLD_KEY = '{"type": "act", "action": 0, "id": 1}'
ATTACKS = {
    "800 idle WebSockets": hold_idle,
    "1,500 silent connections": hold_silent,
    "flood of pings": flood(frame(Opcode.PING, bytes(125)), reads=True),
    "flood of pings, pongs unread": flood(frame(Opcode.PING, bytes(125))),
    "flood of pongs": flood(frame(Opcode.PONG)),
    "endless empty fragments": flood(
        frame(Opcode.CONT, fin=False), frame(Opcode.TEXT, fin=False)
    ),
    "flood of messages, reconnecting": flood(
        frame(Opcode.TEXT, b'{"type": "go_to", "number": 9}')
    ),
    "messages of 1 MiB": flood(frame(Opcode.TEXT, b"[" * 2**20)),
    "four uploads at one byte per second": upload_slowly,
    "JPEGs with 5,113 scans": upload_bombs,
    "recordings requested and abandoned": abandon_recordings,
    "seven players that calibrate": play_as_many('{"type": "calibrate"}'),
    "seven players at 25 steps": play_as_many(
        HOLD_KEY, num_steps=STEPS, temperature=1, order="random"
    ),
    "seven honest players": play_as_many(HOLD_KEY),
}


# Measuring.


async def measure(address: str, seconds: float) -> tuple[float, float]:
    """Return a player's frames per second, and 95% of its key-to-frame times in ms."""
    try:
        playing = play_load.play(address, seconds)
        rate, delays = await asyncio.wait_for(playing, seconds + 30)
    except (OSError, TimeoutError, asyncio.TimeoutError, WebSocketException):
        return 0, math.nan
    return rate, 1000 * float(np.percentile(delays or [math.nan], 95))


def memory_mib(process: int) -> float:
    """Return the memory of a process and its descendants."""
    status = Path(f"/proc/{process}/status").read_text()
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    own = int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024
    return own + sum(memory_mib(int(child)) for child in children)


def print_row(name: str, address: str, server: int, seconds: float) -> None:
    """Measure a player before, during and after an attack, and print the results."""
    results, memory = [asyncio.run(measure(address, seconds))], [memory_mib(server)]
    attack = multiprocessing.get_context("fork").Process(
        target=ATTACKS[name], args=[address], daemon=True
    )
    attack.start()
    time.sleep(3)
    results.append(asyncio.run(measure(address, seconds)))
    attack.kill()
    attack.join()
    time.sleep(2)
    results.append(asyncio.run(measure(address, seconds)))
    memory.append(memory_mib(server))
    cells = [", ".join(f"{rate:.1f}" for rate, _ in results)]
    cells.append(", ".join(f"{delay:.0f}" for _, delay in results))
    cells.append(", ".join(f"{size:,.0f}" for size in memory))
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def serve_toy() -> None:
    """Serve a world without a model."""
    from genie_tf import play
    from genie_tf.testing.toy_simulator import ToySimulator

    class Simulator(ToySimulator):
        frame_shape = (64, 64, 3)
        num_bytes = 64 * 64 * 3

        def step(self, state, action, sampling):
            time.sleep(0.005 * sampling["num_steps"])
            state, frame = super().step(state, action, sampling)
            self.actions.clear()
            return state, frame

    bound = play.bind("127.0.0.1", 0)
    app = play.make_app(play.Host(Simulator(), "Toy"))
    print(f"Play at http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        play.web_server(app).run(sockets=[bound])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", help="Name or folder of a trained Genie.")
    parser.add_argument(
        "--toy", action="store_true", help="Use a world without a model."
    )
    parser.add_argument("--serve_toy", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--seconds", type=float, default=6, help="Time per measurement."
    )
    parser.add_argument("--only", default="", help="Part of the attacks' names.")
    arguments = parser.parse_args()
    if arguments.serve_toy:
        return serve_toy()
    if not arguments.preset and not arguments.toy:
        parser.error("expected --preset or --toy")
    command = [__file__, "--serve_toy"]
    if arguments.preset:
        command = ["-m", "genie_tf.experiments.play", "--port=0"]
        command.append(f"--preset={arguments.preset}")
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            lines = iter(process.stdout.readline, "")
            line = next(itertools.dropwhile(lambda text: "http" not in text, lines))
            address = f"ws://{re.search('http://([^/ ]*)', line)[1].strip()}/play"
            asyncio.run(measure(address, 3))
            print("All values: before, during, after.\n")
            print("| attack | frames/s | 95% key to frame, ms | MiB before, after |")
            print("|---|---|---|---|")
            for name in ATTACKS:
                if arguments.only in name:
                    print_row(name, address, process.pid, arguments.seconds)
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
