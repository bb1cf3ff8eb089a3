"""Decodes images and videos in other processes, which can be ended.

A picture of 100 kB can take minutes to decode, and a damaged video can crash its decoder.
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

from genie_tf.media.image_reader import read_image

_MAX_MEMORY = 3 * 2**30  # Bytes of addresses.
# On a busy machine, a worker has so many times its computing time.
_PATIENCE = 4
_START_SECONDS = 60
_MAX_IDLE = 4
# Threads that decoders of numbers start would only take memory.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def decode(
    kind: str, arguments: dict, seconds: float, content: bytes = b""
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield what a worker decodes: times, durations and frames.

    Args:
        kind: name of the decoder, one of `_DECODERS`.
        arguments: its arguments, besides the content.
        seconds: computing time that each frame may take.
        content: bytes to decode.

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
            # It decodes the next frame while this one is used.
            _send(worker.stream, {"more": True})
            frame = np.frombuffer(pixels, np.uint8).reshape(answer["shape"])
            yield answer["time"], answer["seconds"], frame
    except GeneratorExit:  # The caller needs no more frames.
        worker.socket.settimeout(1)
        with contextlib.suppress(OSError, EOFError):
            while "shape" in _receive(worker.stream)[0]:
                _send(worker.stream, {"more": False})
            _keep(worker)
            return
        worker.end()
        return
    except TimeoutError:
        worker.end()
        raise ValueError(_too_long(seconds)) from None
    except (OSError, EOFError):
        took_too_long = worker.end() == -signal.SIGPROF
        raise ValueError(
            _too_long(seconds) if took_too_long else "decoding it crashes"
        ) from None
    except BaseException:  # Ctrl-C.
        worker.end()
        raise
    _keep(worker)
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
                    "from genie_tf.media import decoder_process; decoder_process._serve()",
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
        """End the process; returns its exit code, or minus the signal that ended it."""
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


def _keep(worker: _Worker) -> None:
    if len(_idle) < _MAX_IDLE:
        _idle.append(worker)
    else:
        worker.end()


# Messages are a line of JSON, and bytes. Nothing that comes back is run.


def _send(stream: io.BufferedRWPair, message: dict, content: bytes = b"") -> None:
    stream.write(json.dumps({**message, "bytes": len(content)}).encode() + b"\n")
    stream.write(content)
    stream.flush()


def _receive(stream: io.BufferedRWPair) -> tuple[dict, bytes]:
    """Raise EOFError if the other side has ended."""
    line = stream.readline()
    if not line:
        raise EOFError
    message = json.loads(line)
    content = stream.read(message["bytes"])
    if len(content) < message["bytes"]:
        raise EOFError
    return message, content


# The worker itself.


def _decode_image(
    content: bytes, file: str | None = None, **form
) -> Iterator[tuple[float, float, np.ndarray]]:
    yield 0.0, 0.0, read_image(file or io.BytesIO(content), **form)


def _decode_video(
    content: bytes, **arguments
) -> Iterator[tuple[float, float, np.ndarray]]:
    from genie_tf.media.video_reader import read_frames  # Not everybody has PyAV.

    yield from read_frames(**arguments)


_DECODERS = {"image": _decode_image, "video": _decode_video}


def _serve() -> None:
    """Decode what the socket at standard input asks for, until that is closed."""
    stream = socket.socket(fileno=0).makefile("rwb")
    with contextlib.suppress(ValueError):  # There is a lower limit.
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Libraries that crash write to standard error.
    os.dup2(1, 2)
    with contextlib.suppress(EOFError, OSError):  # The program may end at any time.
        _send(stream, {})
        while True:
            request, content = _receive(stream)
            error = _answer(stream, request, content)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(stream, {"error": error})


def _answer(stream: io.BufferedRWPair, request: dict, content: bytes) -> str:
    """Send the frames that are asked for; returns what is wrong with them, if so."""
    # Unless the next frame is ready in time, the signal ends the process.
    signal.setitimer(signal.ITIMER_PROF, request["seconds"])
    try:
        frames = _DECODERS[request["kind"]](content, **request["arguments"])
        for time, seconds, frame in frames:
            signal.setitimer(signal.ITIMER_PROF, 0)
            answer = {"time": time, "seconds": seconds, "shape": frame.shape}
            _send(stream, answer, frame.tobytes())
            if not _receive(stream)[0]["more"]:
                break
            signal.setitimer(signal.ITIMER_PROF, request["seconds"])
    except ValueError as error:
        return str(error)
    except MemoryError:
        return f"decoding it takes more than {_MAX_MEMORY >> 30} GiB of memory"
    except Exception as error:  # Of a library that is too old, or of damaged content.
        return f"decoding it fails ({error!r})"
    return ""
