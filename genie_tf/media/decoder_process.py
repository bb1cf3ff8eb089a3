"""Decoding of images and videos in worker processes.

A 100 kB image can take minutes to decode, and a damaged video can crash its decoder. Here
both cost only a worker: a process without TensorFlow, with limited CPU time and memory.
Idle workers are kept, so that the next file does not wait for a process to start.
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

_MAX_MEMORY = 3 * 2**30  # Bytes of address space.
_PATIENCE = 4  # Wall time per CPU time limit, for busy machines.
_START_SECONDS = 60
_MAX_IDLE = 4
# More threads and memory arenas would only take memory.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def decode(
    kind: str, arguments: dict, seconds: float, content: bytes = b""
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Decode in a worker and yield times, durations and frames.

    Args:
        kind: name of the decoder, one of `_DECODERS`.
        arguments: arguments of the decoder, without the content.
        seconds: limit for the CPU time of each frame, in seconds.
        content: bytes to decode.

    Raises:
        ValueError: if decoding fails, takes too long or crashes. The message is a
            clause without a period.
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
            # The worker decodes the next frame while the caller uses this one.
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
    return f"decoding it takes more than {seconds:g} s of CPU time"


# Workers, from the side of the calling process.


class _Worker:
    """Process that runs `_serve`, and the socket connected to it."""

    def __init__(self):
        self.socket, theirs = socket.socketpair()
        with theirs:
            # The worker gets this process's module path, and unlike with
            # `multiprocessing` does not import `__main__`.
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
                start_new_session=True,  # Ctrl-C must reach only the calling program.
            )
        self.stream = self.socket.makefile("rwb")
        self.socket.settimeout(_START_SECONDS)
        try:
            _receive(self.stream)
        except (OSError, EOFError) as error:
            self.end()
            raise RuntimeError("The decoder process does not start.") from error

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """End the process; return its exit code, or minus the signal that ended it."""
        self.socket.close()
        with contextlib.suppress(OSError):
            self.stream.close()
        # A crashing process is about to end, and then its exit code is the signal.
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(0.1)
        self._process.kill()
        return self._process.wait()


_idle: list[_Worker] = []
# Forks must not use their parent's workers.
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


# A message is a line of JSON followed by bytes. Nothing in a message is executed.


def _send(stream: io.BufferedRWPair, message: dict, content: bytes = b"") -> None:
    stream.write(json.dumps({**message, "bytes": len(content)}).encode() + b"\n")
    stream.write(content)
    stream.flush()


def _receive(stream: io.BufferedRWPair) -> tuple[dict, bytes]:
    """Return the next message and its bytes; raise EOFError if the other side ended."""
    line = stream.readline()
    if not line:
        raise EOFError
    message = json.loads(line)
    content = stream.read(message["bytes"])
    if len(content) < message["bytes"]:
        raise EOFError
    return message, content


# Code of the worker.


def _decode_image(
    content: bytes, file: str | None = None, **form
) -> Iterator[tuple[float, float, np.ndarray]]:
    yield 0.0, 0.0, read_image(file or io.BytesIO(content), **form)


def _decode_video(
    content: bytes, **arguments
) -> Iterator[tuple[float, float, np.ndarray]]:
    from genie_tf.media.video_reader import read_frames  # PyAV is optional.

    yield from read_frames(**arguments)


_DECODERS = {"image": _decode_image, "video": _decode_video}


def _serve() -> None:
    """Answer requests from the socket at standard input until it is closed."""
    stream = socket.socket(fileno=0).makefile("rwb")
    with contextlib.suppress(ValueError):  # A lower limit is already set.
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Hide what crashing libraries write to standard error.
    os.dup2(1, 2)
    with contextlib.suppress(EOFError, OSError):  # The program can end at any time.
        _send(stream, {})
        while True:
            request, content = _receive(stream)
            error = _answer(stream, request, content)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(stream, {"error": error})


def _answer(stream: io.BufferedRWPair, request: dict, content: bytes) -> str:
    """Send the requested frames; return the error message, "" if none."""
    # The signal ends the process if the next frame is not ready in time.
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
    except Exception as error:  # An outdated library, or damaged content.
        return f"decoding it fails ({error!r})"
    return ""
