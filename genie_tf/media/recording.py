"""Recordings of played worlds as files, made in another process, which can be ended."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genie_tf.media import grid, save_video

_WIDTH = 256  # Pixels that frames are enlarged to, about.


async def encode(
    frames: Sequence[bytes], shape: tuple[int, int, int], fps: float, form: str
) -> bytes:
    """Return a recording as a file, enlarged so that its pixels can be seen.

    Canceling ends the work.

    Args:
        frames: pixels of each frame, bytes.
        shape: height, width and 3.
        fps: frames a second.
        form: "gif" or "mp4".

    Raises:
        OSError: if the file cannot be made, because the disk is full, for instance.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"world.{form}")
        arguments = map(str, (path, fps, *shape))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the server.
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
    """Write the frames at standard input to a file."""
    path, fps, *shape = sys.argv[1:]
    os.nice(10)  # Nobody's world stands still for it.
    video = np.frombuffer(sys.stdin.buffer.read(), "uint8")
    video = video.reshape(-1, *map(int, shape))
    scale = max(1, _WIDTH // video.shape[2])
    save_video(path, grid([video], scale=scale), float(fps))


if __name__ == "__main__":
    main()
