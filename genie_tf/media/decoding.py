"""Reads images and videos of unknown origin, each in a process that can be ended."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genie_tf.media.decoder_process import decode

# FFmpeg's names of the containers of videos, by the endings of their files.
CONTAINERS = {
    ".avi": "avi",
    ".gif": "gif",
    ".m4v": "mov",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mov",
    ".webm": "matroska",
}


def decode_image(
    path: str | os.PathLike, height: int, width: int, seconds: float = 10.0
) -> np.ndarray:
    """Read a picture of unknown origin as a frame: see `image_reader.read_image`.

    Args:
        path: name of the file.
        height, width: size of the frame, in pixels.
        seconds: computing time that decoding may take.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: if it cannot be decoded; a part of a sentence.
    """
    form = {"file": os.fspath(path), "height": height, "width": width}
    ((_, _, frame),) = decode("image", form, seconds)
    return frame


def decode_video(
    path: str | os.PathLike, height: int, width: int, seconds: float = 30.0
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield the frames of a video of unknown origin: see `video_reader.read_frames`.

    Args:
        path: name of the file, with one of the endings of `CONTAINERS`.
        height, width: size of the frames, in pixels.
        seconds: computing time that each frame may take.

    Yields:
        As `read_frames`.

    Raises:
        ValueError: after the last frame, if there are fewer of them than there should
            be; a part of a sentence. At once, if the file has another ending.
    """
    container = CONTAINERS.get(Path(path).suffix.lower())
    if not container:
        raise ValueError("its ending is not that of a video")
    form = {
        "path": os.fspath(path),
        "container": container,
        "height": height,
        "width": width,
    }
    return decode("video", form, seconds)
