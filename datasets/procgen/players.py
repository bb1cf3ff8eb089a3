"""Processes that play Procgen levels.

Not threads: threads would spend a quarter of their time waiting for
the interpreter lock. Each process is a new interpreter, because multiprocessing would
import the user's script again.
"""

import collections
import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, BinaryIO

import numpy as np

from genie_tf.datasets.procgen.levels import (
    Episode,
    Settings,
    divide_levels,
    play_levels,
)
from genie_tf.datasets.procgen.policies import PolicyError, make_policy

# Program of a player process. Without TFDS, as registering datasets takes a second.
_COMMAND = """import sys
sys.path[:] = {path}
sys.modules["tensorflow_datasets"] = None
import genie_tf.datasets
del sys.modules["tensorflow_datasets"]
from genie_tf.datasets.procgen.players import serve
serve()
"""


def play_in_processes(
    settings: Settings, level_seeds: Sequence[int], num_workers: int
) -> Iterator[list[Episode]]:
    """Play many levels in several processes.

    Args:
        settings: how to play.
        level_seeds: seeds of the levels.
        num_workers: number of processes.

    Yields:
        The episodes of each level, in the order of `level_seeds`.

    Raises:
        PolicyError: if the policy cannot be created, or does not return valid actions.
    """
    parts = divide_levels(settings, level_seeds)

    def play(part):
        # Read to the end; otherwise `Players` would end the process.
        (episodes,) = players.play(settings, [part])
        return episodes

    with Players() as players:
        pool = futures.ThreadPoolExecutor(num_workers)
        waiting = collections.deque()
        try:
            for part in parts:
                waiting.append(pool.submit(play, part))
                # Just far enough ahead to keep the workers busy: a level of 1,000 steps
                # takes 2 MB, and there can be 10,000 levels.
                if len(waiting) > 2 * num_workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            players.end()  # Do not make a stopped caller wait.
            pool.shutdown(cancel_futures=True)


def count_workers(dataset: str) -> int:
    """Return the number of player processes: by default, one per core.

    An environment variable, such as COINRUN_WORKERS for "coinrun", sets another number.

    Raises:
        ValueError: if the variable is not a positive number.
    """
    variable = f"{dataset.upper()}_WORKERS"
    text = os.environ.get(variable)
    if text is None:
        return len(os.sched_getaffinity(0))
    if not text.isdecimal() or not int(text):
        raise ValueError(
            f"{variable} must be a number of 1 or more; received {text!r}."
        )
    return int(text)


class Players:
    """Processes that play levels, one per concurrent call of `play`.

    Use it in a `with` statement, which ends the processes.
    """

    def __init__(self):
        self._idle = []
        self._all = []
        self._ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        for process in self._all:
            _end(process)

    def end(self) -> None:
        """Kill the processes, so that a `play` in another thread fails."""
        self._ended = True
        for process in self._all:
            process.kill()

    def play(
        self, settings: Settings, parts: Sequence[Sequence[int]]
    ) -> Iterator[list[list[Episode]]]:
        """Yield the `play_levels` of parts, played in one process ahead of the caller.

        Args:
            settings: how to play.
            parts: groups of levels that are played in lockstep.

        Raises:
            PolicyError: if the policy cannot be created, or does not return valid
                actions.
            ChildProcessError: if the process was killed, or cannot play.
        """
        try:
            process = self._idle.pop()
        except IndexError:
            process = _start()
            self._all.append(process)
            if self._ended:  # `end` may have run just before the append.
                process.kill()
        try:
            for part, next_part in itertools.pairwise([None, *parts, None]):
                if next_part is not None:
                    request = {"settings": settings, "levels": list(next_part)}
                    process.stdin.write(json.dumps(request).encode() + b"\n")
                    process.stdin.flush()
                if part is not None:
                    yield _receive(process.stdout)
        except (EOFError, BrokenPipeError) as error:
            code = process.wait()
            reason = (
                "there may be too little memory for this many processes"
                if code < 0
                else "see its output above"
            )
            raise ChildProcessError(
                f"A process that played {settings.game} ended with code {code}: {reason}."
            ) from error
        except BaseException:  # Including a caller that stops early.
            _end(process)
            raise
        self._idle.append(process)


def _start() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # The caller gets Ctrl-C and ends this process.
    )


def _end(process: subprocess.Popen) -> None:
    with contextlib.suppress(BrokenPipeError), process:
        process.kill()


def _receive(file: BinaryIO) -> list[list[Episode]]:
    """Read episodes written by `_send_levels`.

    Raises:
        PolicyError: if the message reports an error.
        EOFError: if the message is incomplete.
    """
    size = int.from_bytes(file.read(8), "little")
    message = file.read(size)
    if not size or len(message) < size:
        raise EOFError
    arrays = iter(np.load(io.BytesIO(message)).values())
    answer = json.loads(str(next(arrays)))
    if "error" in answer:
        raise PolicyError(answer["error"])
    levels = []
    for level in answer["levels"]:
        levels.append([])
        for fields in level:
            sizes, frames, actions, rewards = itertools.islice(arrays, 4)
            ends = np.cumsum(sizes)
            parts = [bytes(frames[i:j]) for i, j in zip(ends - sizes, ends)]
            levels[-1].append(
                Episode(**fields, frames=parts, actions=actions, rewards=rewards)
            )
    return levels


def _send(file: BinaryIO, answer: Mapping[str, Any], arrays: Sequence = ()) -> None:
    """Write the size of an .npz file, 8 bytes, and the file."""
    message = io.BytesIO()
    np.savez(message, json.dumps(answer), *arrays)
    file.write(message.tell().to_bytes(8, "little"))
    file.write(message.getvalue())
    file.flush()


def _send_levels(file: BinaryIO, levels: list[list[Episode]]) -> None:
    arrays = []
    for episode in itertools.chain(*levels):
        sizes = list(map(len, episode.frames))
        frames = np.frombuffer(b"".join(episode.frames), np.uint8)
        arrays += sizes, frames, episode.actions, episode.rewards
    columns = "frames", "actions", "rewards"
    fields = [
        [
            {k: v for k, v in episode._asdict().items() if k not in columns}
            for episode in level
        ]
        for level in levels
    ]
    _send(file, {"levels": fields}, arrays)


def serve() -> None:
    """Play levels requested on standard input until it is closed."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    file = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Printed text must not mix with episodes.
    policy = policy_settings = None
    for line in sys.stdin:
        request = json.loads(line)
        settings = Settings(*request["settings"])
        try:
            if settings != policy_settings:
                policy = make_policy(
                    settings.policy, settings.game, settings.policy_arguments
                )
                policy_settings = settings
            _send_levels(file, play_levels(settings, request["levels"], policy))
        except PolicyError as error:
            _send(file, {"error": str(error)})
