"""Safe reading of untrusted image and video files, in worker processes."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genie_tf.media.decoder_process import decode

# FFmpeg's container names, by file extension.
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
    """Read an untrusted image as a frame; see `image_reader.read_image`.

    Args:
        path: name of the file.
        height, width: size of the frame, in pixels.
        seconds: limit for the CPU time of decoding, in seconds.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: if the image cannot be decoded. The message is a clause without a
            period.
    """
    form = {"file": os.fspath(path), "height": height, "width": width}
    ((_, _, frame),) = decode("image", form, seconds)
    return frame


def decode_video(
    path: str | os.PathLike, height: int, width: int, seconds: float = 30.0
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield the frames of an untrusted video; see `video_reader.read_frames`.

    Args:
        path: name of the file, with one of the extensions in `CONTAINERS`.
        height, width: size of the frames, in pixels.
        seconds: limit for the CPU time of each frame, in seconds.

    Yields:
        Time, duration and pixels of each frame, as `read_frames` does.

    Raises:
        ValueError: immediately if the file has another extension, or after the last
            readable frame if others cannot be read. The message is a clause without a
            period.
    """
    container = CONTAINERS.get(Path(path).suffix.lower())
    if not container:
        raise ValueError("its file extension is not that of a video")
    form = {
        "path": os.fspath(path),
        "container": container,
        "height": height,
        "width": width,
    }
    return decode("video", form, seconds)
