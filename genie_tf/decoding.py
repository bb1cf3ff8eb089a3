"""Decodes files of strangers in other processes, which can be ended.

A picture of 100 kB can take minutes to decode, and a damaged one can crash its decoder.
Here both cost a worker: a process without TensorFlow, whose computing time and memory
are limited. Idle workers are kept, so that the next picture starts at once.
"""

import contextlib
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from genie_tf.pictures import FITS, read_picture

MAX_PROMPT_BYTES = 16 * 2**20

_MAX_MEMORY = 3 * 2**30  # Bytes of addresses.
# On a busy machine, a worker has so many times its computing time.
_PATIENCE = 4
_START_SECONDS = 60
_MAX_IDLE = 4
# Threads that decoders of numbers start would only take memory.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def decode_prompt_image(
    content: bytes,
    height: int,
    width: int,
    fit: str = "crop",
    seconds: float = 5.0,
    name: str = "The prompt image",
) -> np.ndarray:
    """Reads a picture of unknown origin as a frame: see `pictures.read_picture`.

    Several threads may call this at the same time: each gets a worker.

    Args:
        content: the bytes of a PNG, JPEG or GIF file, 16 MiB at most.
        height, width: size of the frame, in pixels.
        fit: "crop" or "pad".
        seconds: computing time that decoding may take. On a busy machine it is ended
            after four times as long.
        name: of the picture, the first words of an error.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: if the content cannot be decoded within these limits, or there is no
            such `fit`.
    """
    if fit not in FITS:
        raise ValueError(f"`fit` must be one of {', '.join(FITS)}; received {fit}.")
    try:
        if len(content) > MAX_PROMPT_BYTES:
            raise ValueError("it has more than 16 MiB")
        form = {"height": height, "width": width, "fit": fit}
        ((_, frame),) = _decode("picture", form, content, seconds)
    except ValueError as error:
        raise ValueError(f"{name} cannot be used: {error}.") from error
    return frame


def _decode(
    kind: str, arguments: dict, content: bytes, seconds: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields what a worker decodes: frames, each with its time in seconds.

    Args:
        kind: name of the decoder, one of `_DECODERS`.
        arguments: its arguments, besides the content.
        content: bytes to decode.
        seconds: computing time that each frame may take.

    Raises:
        ValueError: if decoding fails, takes too long or crashes; a part of a sentence.
    """
    worker = _take_worker()
    try:
        worker.socket.settimeout(_PATIENCE * seconds)
        request = {"kind": kind, "arguments": arguments, "seconds": seconds}
        _send(worker.stream, request, content)
        while True:
            answer, pixels = _receive(worker.stream)
            if "shape" not in answer:
                break
            yield (
                answer["time"],
                np.frombuffer(pixels, np.uint8).reshape(answer["shape"]),
            )
    except TimeoutError:
        worker.end()
        raise ValueError(_too_long(seconds)) from None
    except (OSError, EOFError):
        code = worker.end()
        if code == -signal.SIGPROF:
            raise ValueError(_too_long(seconds)) from None
        raise ValueError("decoding it crashes") from None
    except BaseException:  # The caller wants no more frames, or Ctrl-C.
        worker.end()
        raise
    if len(_idle) < _MAX_IDLE:
        _idle.append(worker)
    else:
        worker.end()
    if answer.get("error"):
        raise ValueError(answer["error"])


def _too_long(seconds: float) -> str:
    return f"decoding it takes more than {seconds:g} s of computing"


# Workers, as the process sees them that uses them.


class _Worker:
    """A process that runs `_serve`, and the socket to talk to it."""

    def __init__(self):
        self.socket, theirs = socket.socketpair()
        with theirs:
            # It finds modules where this process does. The folder of the script and
            # `__main__` do not matter, unlike with `multiprocessing`.
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c"),
                    "import sys; sys.path[:] = sys.argv[1:]; "
                    "from genie_tf import decoding; decoding._serve()",
                    *sys.path,
                ],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C is for the program that uses it.
            )
        self.stream = self.socket.makefile("rwb")
        self.socket.settimeout(_START_SECONDS)
        try:
            _receive(self.stream)
        except (OSError, EOFError) as error:
            self.end()
            raise RuntimeError("The process that decodes does not start.") from error

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """Ends the process; returns its exit code, or minus the signal that ended it."""
        self.socket.close()
        with contextlib.suppress(OSError):
            self.stream.close()
        # One that crashes is about to end by itself, and then says by which signal.
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(0.1)
        self._process.kill()
        return self._process.wait()


_idle: list[_Worker] = []
# The workers of a process do not belong to its forks.
os.register_at_fork(after_in_child=_idle.clear)


def _take_worker() -> _Worker:
    with contextlib.suppress(IndexError):
        while True:
            worker = _idle.pop()
            if worker.is_alive():
                return worker
            worker.end()
    return _Worker()


# Messages are a line of JSON, and bytes. Nothing that comes back is run.


def _send(stream: io.BufferedRWPair, message: dict, content: bytes = b"") -> None:
    stream.write(json.dumps({**message, "bytes": len(content)}).encode() + b"\n")
    stream.write(content)
    stream.flush()


def _receive(stream: io.BufferedRWPair) -> tuple[dict, bytes]:
    """Raises EOFError if the other side has ended."""
    line = stream.readline()
    if not line:
        raise EOFError
    message = json.loads(line)
    content = stream.read(message["bytes"])
    if len(content) < message["bytes"]:
        raise EOFError
    return message, content


# The worker itself.


def _decode_picture(content: bytes, **form) -> Iterator[tuple[float, np.ndarray]]:
    yield 0.0, read_picture(io.BytesIO(content), **form)


_DECODERS = {"picture": _decode_picture}


def _serve() -> None:
    """Decodes what the socket at standard input asks for, until that is closed."""
    stream = socket.socket(fileno=0).makefile("rwb")
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _send(stream, {})
    # Libraries that crash write to standard error.
    os.dup2(1, 2)
    while True:
        request, content = _receive(stream)
        error = ""
        try:
            # Unless a frame is ready in time, the signal ends the process.
            signal.setitimer(signal.ITIMER_PROF, request["seconds"])
            frames = _DECODERS[request["kind"]](content, **request["arguments"])
            for time, frame in frames:
                signal.setitimer(signal.ITIMER_PROF, 0)
                _send(stream, {"time": time, "shape": frame.shape}, frame.tobytes())
                signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        except ValueError as problem:
            error = str(problem)
        except MemoryError:
            error = f"decoding it takes more than {_MAX_MEMORY >> 30} GiB of memory"
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(stream, {"error": error})
