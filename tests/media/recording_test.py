"""Tests of encoding recordings in a separate process."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from genie_tf.media import recording


def test_recording_has_all_frames():
    frames = [np.full((8, 16, 3), 80 * index, "uint8").tobytes() for index in range(3)]
    content = asyncio.run(recording.encode(frames, (8, 16, 3), 10, "gif"))
    with Image.open(io.BytesIO(content)) as gif:
        assert (gif.n_frames, gif.size, gif.info["duration"]) == (3, (256, 128), 100)
        for index in range(3):
            gif.seek(index)
            assert gif.convert("RGB").getpixel((9, 9)) == (80 * index,) * 3


def test_error_is_reported():
    with pytest.raises(OSError) as error:
        asyncio.run(recording.encode([bytes(12)], (2, 2, 3), 10, "exe"))
    assert str(error.value).startswith(
        "The recording cannot be made: ValueError: A video's file name must end in .gif"
    )


def test_canceling_ends_process(monkeypatch):
    async def run():
        start = asyncio.create_subprocess_exec

        async def start_and_record(*arguments, **more):
            processes.append(await start(*arguments, **more))
            return processes[0]

        monkeypatch.setattr(asyncio, "create_subprocess_exec", start_and_record)
        frames = [bytes(64 * 64 * 3)] * 700
        task = asyncio.create_task(recording.encode(frames, (64, 64, 3), 10, "gif"))
        while not processes:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    processes = []
    asyncio.run(run())
    assert processes[0].returncode == -9
