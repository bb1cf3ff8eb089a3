"""Curves and images for TensorBoard, written without TensorFlow."""

import io
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class EventFile:
    """A new, unbuffered event file in a folder.

    Args:
        folder: log folder of TensorBoard; created if missing.
        start: number of steps done. TensorBoard drops later steps of earlier files.
    """

    def __init__(self, folder: Path, start: int):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        # Unbuffered, so that a full disk raises an error here, not when Python exits.
        self._records = RecordWriter((folder / name).open("wb", buffering=0))
        self._write(file_version="brain.Event:2")
        self._write(step=start + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write one point of each curve."""
        self._summary(
            step, *(Summary.Value(tag=k, simple_value=v) for k, v in values.items())
        )

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Write an image, uint8 (height, width, 3)."""
        png = io.BytesIO()
        Image.fromarray(image).save(png, "PNG")
        height, width, channels = image.shape
        summary = Summary.Image(
            height=height,
            width=width,
            colorspace=channels,
            encoded_image_string=png.getvalue(),
        )
        self._summary(step, Summary.Value(tag=name, image=summary))

    def _summary(self, step, *values):
        self._write(step=step, summary=Summary(value=values))

    def _write(self, **content):
        event = Event(wall_time=time.time(), **content)
        self._records.write(event.SerializeToString())
