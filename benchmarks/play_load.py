"""Measure the frame rate and key-to-frame time of genie-play under load.

python benchmarks/play_load.py --preset=runs/genie/model

Starts the server on loopback only, plays for some seconds per row, and prints a table of
what each player gets: alone, next to other players, and next to abusive clients.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from genie_tf.play import messages
from genie_tf.play.messages import NEW, unpack_frame

IDLE = 200
PROMPT = Path(messages.__file__).parent / "prompts/canyon.png"


async def begin(socket) -> dict:
    """Start a world; return the server's `hello` message."""
    hello = json.loads(await socket.recv())
    prompt = Image.open(PROMPT).resize((hello["width"], hello["height"]))
    await socket.send(prompt.tobytes())
    return hello


async def play(url: str, seconds: float) -> tuple[float, list[float]]:
    """Hold one key after another; return frames per second and seconds to each frame."""
    async with connect(url, compression=None) as socket:
        hello = await begin(socket)
        delays, frames, id, pressed = [], 0, 0, 0.0
        awaited = 0  # Id of the key press whose frame has not arrived yet.
        end, start = time.monotonic() + seconds, None
        while (now := time.monotonic()) < end:
            if not awaited and now > pressed + 0.3:
                id, awaited, pressed = id + 1, id + 1, now
                act = {"type": "act", "action": id % hello["num_actions"], "id": id}
                await socket.send(json.dumps(act))
            message = await asyncio.wait_for(socket.recv(), 30)
            if isinstance(message, str):
                continue
            await socket.send('{"type": "seen"}')
            kind, *_, newest, _ = unpack_frame(message)
            if kind == NEW:
                frames += 1
                start = start or time.monotonic()
                if awaited and newest >= awaited:
                    delays.append(time.monotonic() - pressed)
                    awaited = 0
        return (frames - 1) / (time.monotonic() - start), delays


async def idle(url: str) -> None:
    """Connect and do nothing."""
    async with connect(url, compression=None):
        await asyncio.Event().wait()


async def flood(url: str) -> None:
    """Send as much as possible, and reconnect when disconnected."""
    while True:
        with contextlib.suppress(OSError, WebSocketException):
            async with connect(url, compression=None) as socket:
                for _ in itertools.count():
                    await socket.send('{"type": "go_to", "number": -1}')
                    await asyncio.sleep(0)  # Let the players of this process run.
        await asyncio.sleep(0.05)


async def read_slowly(url: str) -> None:
    """Hold a key and read one frame per second."""
    async with connect(url, compression=None) as socket:
        await begin(socket)
        await socket.send('{"type": "act", "action": 0, "id": 1}')
        while True:
            await socket.recv()
            await socket.send('{"type": "seen"}')
            await asyncio.sleep(1)


async def print_row(name, url: str, seconds: float, players: int, others=()) -> None:
    """Measure players next to other clients, and print their results."""
    tasks = [asyncio.create_task(other) for other in others]
    await asyncio.sleep(2 if tasks else 0)
    results = await asyncio.gather(*(play(url, seconds) for _ in range(players)))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    rates = ", ".join(f"{rate:.1f}" for rate, _ in results)
    delays = 1000 * np.concatenate([delays for _, delays in results])
    median, slow = np.percentile(delays, [50, 95])
    print(f"| {name} | {rates} | {median:.0f} | {slow:.0f} |", flush=True)


async def measure(url: str, seconds: float) -> None:
    print("| | frames/s of each player | key to frame, ms: median | 95% |")
    print("|---|---|---|---|")
    await print_row("one player", url, seconds, 1)
    await print_row("four players", url, seconds, 4)
    many = [idle(url) for _ in range(IDLE)]
    await print_row(f"one, {IDLE} idle connections", url, seconds, 1, many)
    await print_row("one, next to a flood", url, seconds, 1, [flood(url)])
    await print_row("one, next to a slow reader", url, seconds, 1, [read_slowly(url)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", required=True, help="Name or folder of a Genie.")
    parser.add_argument("--seconds", type=float, default=10, help="Time per row.")
    arguments = parser.parse_args()
    command = ["-m", "genie_tf.experiments.play", f"--preset={arguments.preset}"]
    with subprocess.Popen(
        [sys.executable, *command, "--port=0"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            printed = "".join(itertools.islice(process.stdout, 2))
            address = re.search("http://(.*)", printed)[1]
            asyncio.run(measure(f"ws://{address}/play", arguments.seconds))
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
