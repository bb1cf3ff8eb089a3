"""Encoding of recordings of played worlds, in a separate process."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genie_tf.media import grid, save_video

_WIDTH = 256  # Approximate width of enlarged frames, in pixels.


async def encode(
    frames: Sequence[bytes], shape: tuple[int, int, int], fps: float, form: str
) -> bytes:
    """Return a recording as the bytes of a file, enlarged so that pixels are visible.

    Canceling ends the process.

    Args:
        frames: pixels of each frame, as bytes.
        shape: (height, width, 3).
        fps: frames per second.
        form: "gif" or "mp4".

    Raises:
        OSError: if the file cannot be made, for instance because the disk is full.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"world.{form}")
        arguments = map(str, (path, fps, *shape))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must reach only the server.
        )
        try:
            _, errors = await process.communicate(b"".join(frames))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            reason = errors.decode(errors="replace").strip().splitlines()
            raise OSError(f"The recording cannot be made: {(reason or ['killed'])[-1]}")
        return path.read_bytes()


def main() -> None:
    """Write frames from standard input to a file."""
    path, fps, *shape = sys.argv[1:]
    os.nice(10)  # Encoding must not slow down players.
    video = np.frombuffer(sys.stdin.buffer.read(), "uint8")
    video = video.reshape(-1, *map(int, shape))
    scale = max(1, _WIDTH // video.shape[2])
    save_video(path, grid([video], scale=scale), float(fps))


if __name__ == "__main__":
    main()
