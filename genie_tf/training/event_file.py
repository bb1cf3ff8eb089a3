"""Curves and pictures for TensorBoard, written without TensorFlow."""

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
    """A new file of events in a folder; what is written is on the disk at once.

    Args:
        folder: where TensorBoard looks; created if need be.
        start: steps done. TensorBoard drops what earlier files have of later ones.
    """

    def __init__(self, folder: Path, start: int):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        # Without a buffer: a full disk is noticed here, and not when Python ends.
        self._records = RecordWriter((folder / name).open("wb", buffering=0))
        self._write(file_version="brain.Event:2")
        self._write(step=start + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        self._summary(
            step, *(Summary.Value(tag=k, simple_value=v) for k, v in values.items())
        )

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """A picture, uint8 (height, width, 3)."""
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "PNG")
        height, width, channels = picture.shape
        image = Summary.Image(
            height=height,
            width=width,
            colorspace=channels,
            encoded_image_string=png.getvalue(),
        )
        self._summary(step, Summary.Value(tag=name, image=image))

    def _summary(self, step, *values):
        self._write(step=step, summary=Summary(value=values))

    def _write(self, **content):
        event = Event(wall_time=time.time(), **content)
        self._records.write(event.SerializeToString())
