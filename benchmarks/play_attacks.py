"""What a player of genie-play gets next to others who mean no good.

python benchmarks/play_attacks.py --preset=genie_coinrun_fast

Starts the server on loopback only. For each attack a player plays for some seconds
before, during and after it; the table has the player's frames a second, the time from a
key to its picture, and the memory of the server with its processes. `--toy` takes a world
without a model, whose frames take 5 ms a step.
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


# Attacks. Each lasts until its process is ended, and comes back when it is sent away.


def hold_idle(address: str) -> None:
    """Open many WebSockets, and does nothing."""
    hold(address, 800, upgrade)


def hold_silent(address: str) -> None:
    """Open many connections, and does not even ask."""
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
    """An attack that sends the same bytes as fast as it can."""

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
    """Send pictures a byte a second."""
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
    """Upload a JPEG of many scans, again and again."""
    bomb = make_bomb()
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            client = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
            client.request("POST", "/picture", bomb)
            client.getresponse().read()


def make_bomb() -> bytes:
    file = io.BytesIO()
    picture = Image.new("L", (5_000, 5_000), 128)
    picture.save(file, "JPEG", progressive=True)
    parts = re.split(rb"(?=\xff\xda)", file.getvalue().removesuffix(b"\xff\xd9"))
    scan = min(parts[1:], key=len)
    return b"".join(parts) + scan * (SCANS - len(parts) + 1) + b"\xff\xd9"


def play_as_many(say: str, **settings):
    """An attack of seven who play, each saying the same all the time."""

    async def one(address: str) -> None:
        async with connect(address, compression=None) as page:
            await play_load.begin(page)
            if settings:
                await page.send(json.dumps({"type": "settings", **settings}))
            await page.send(say)
            while True:
                if isinstance(await page.recv(), bytes):
                    await page.send('{"type": "seen"}')
                elif "calibrate" in say:
                    await page.send(say)

    async def again(address: str) -> None:
        while True:
            with contextlib.suppress(OSError, WebSocketException):
                await one(address)
            await asyncio.sleep(0.1)

    async def all_of_them(address: str) -> None:
        await asyncio.gather(*(again(address) for _ in range(OTHERS)))

    return lambda address: asyncio.run(all_of_them(address))


def leave_recordings(address: str) -> None:
    """Ask for a recording, and leaves before it comes."""

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
    """A WebSocket of bytes."""
    connection = open_socket(address)
    connection.sendall(
        b"GET /play HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    return connection


def frame(opcode: Opcode, data: bytes = b"", fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


HELD = '{"type": "act", "action": 0, "id": 1}'
ATTACKS = {
    "800 idle WebSockets": hold_idle,
    "1,500 silent connections": hold_silent,
    "flood of pings": flood(frame(Opcode.PING, bytes(125)), reads=True),
    "flood of pings, pongs unread": flood(frame(Opcode.PING, bytes(125))),
    "flood of pongs": flood(frame(Opcode.PONG)),
    "endless empty fragments": flood(
        frame(Opcode.CONT, fin=False), frame(Opcode.TEXT, fin=False)
    ),
    "flood of messages, also when sent away": flood(
        frame(Opcode.TEXT, b'{"type": "go_to", "number": 9}')
    ),
    "messages of 1 MiB": flood(frame(Opcode.TEXT, b"[" * 2**20)),
    "four uploads of a byte a second": upload_slowly,
    "JPEGs of 5,113 scans": upload_bombs,
    "recordings asked for and left": leave_recordings,
    "seven that calibrate": play_as_many('{"type": "calibrate"}'),
    "seven at 25 steps": play_as_many(
        HELD, num_steps=STEPS, temperature=1, order="random"
    ),
    "seven honest players": play_as_many(HELD),
}


# Measuring.


async def measure(address: str, seconds: float) -> tuple[float, float]:
    """Frames a second of a player, and the 95% of milliseconds from keys to pictures."""
    try:
        playing = play_load.play(address, seconds)
        rate, taken = await asyncio.wait_for(playing, seconds + 30)
    except (OSError, TimeoutError, asyncio.TimeoutError, WebSocketException):
        return 0, math.nan
    return rate, 1000 * float(np.percentile(taken or [math.nan], 95))


def mebibytes(process: int) -> float:
    """Memory of a process and those that it has started."""
    status = Path(f"/proc/{process}/status").read_text()
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    own = int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024
    return own + sum(mebibytes(int(child)) for child in children)


def row(name: str, address: str, server: int, seconds: float) -> None:
    """Measure a player before, during and after an attack, and print it."""
    results, memory = [asyncio.run(measure(address, seconds))], [mebibytes(server)]
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
    memory.append(mebibytes(server))
    cells = [", ".join(f"{rate:.1f}" for rate, _ in results)]
    cells.append(", ".join(f"{late:.0f}" for _, late in results))
    cells.append(", ".join(f"{size:,.0f}" for size in memory))
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def serve_toy() -> None:
    """The server of a world without a model."""
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
    parser.add_argument("--toy", action="store_true", help="Take no model.")
    parser.add_argument("--serve_toy", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=6, help="Of each figure.")
    parser.add_argument("--only", default="", help="Attacks with this in their names.")
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
            print("Each: before, during and after.\n")
            print("| attack | frames/s | 95% key to picture, ms | MiB before, after |")
            print("|---|---|---|---|")
            for name in ATTACKS:
                if arguments.only in name:
                    row(name, address, process.pid, arguments.seconds)
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
