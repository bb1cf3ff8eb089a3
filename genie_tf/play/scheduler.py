"""Fair sharing of one thread's time between players."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple


class Scheduler:
    """Runs functions one at a time, so that all shares get the same amount of time.

    This is fair queueing: each share counts the seconds it has used, and the next turn
    goes to the share that would have used the least after it. Idle shares save up no
    time: a share that is new, or was idle, starts where the waiting ones are now.

    Args:
        clock: function that returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "genie-play")
        self._now = 0.0  # Seconds used by a share that was never idle.
        self._waiting: list[_Turn] = []
        self._is_running = False

    def _add(self, turn: "_Turn") -> None:
        self._waiting.append(turn)
        if not self._is_running:
            self._start_next()

    def _start_next(self) -> None:
        # The callers of finished ones have left.
        waiting = [turn for turn in self._waiting if not turn.result.done()]
        self._waiting = waiting
        self._is_running = bool(waiting)
        if waiting:
            self._now = max(self._now, min(turn.begin for turn in waiting))
            turn = min(waiting, key=lambda turn: turn.end)
            waiting.remove(turn)
            self._thread.submit(self._take, turn)

    def _take(self, turn: "_Turn") -> None:
        """Run a turn's function; called in the thread."""
        result, error, start = None, None, self._clock()
        try:
            result = turn.function()
        except BaseException as exception:
            error = exception
        seconds = self._clock() - start
        with contextlib.suppress(RuntimeError):  # The server may have ended.
            turn.loop.call_soon_threadsafe(self._finish, turn, seconds, result, error)

    def _finish(self, turn: "_Turn", seconds: float, result, error) -> None:
        share = turn.share
        share.seconds = seconds
        share.used = turn.begin + turn.cost * seconds
        self._start_next()
        if not self._is_running:
            self._now = max(self._now, share.used)
        if turn.result.done():
            return
        if error:
            turn.result.set_exception(error)
        else:
            turn.result.set_result(result)


class Share:
    """One player's part of a scheduler's time."""

    def __init__(self, scheduler: Scheduler):
        self.used = 0.0  # Seconds used, as `Scheduler` counts them.
        self.seconds = 0.0  # Duration of the last turn.
        self._scheduler = scheduler

    async def run(self, function: Callable, *arguments, cost: float = 1):
        """Run a function in the scheduler's thread when it is this share's turn.

        Canceling gives up the turn, unless it has begun.

        Args:
            function: does a small amount of work, such as one frame.
            *arguments: arguments of the function.
            cost: factor on the seconds charged; above 1 for work that can wait.

        Returns:
            The result of the function.
        """
        loop = asyncio.get_running_loop()
        begin = max(self._scheduler._now, self.used)
        turn = _Turn(
            share=self,
            function=lambda: function(*arguments),
            cost=cost,
            begin=begin,
            end=begin + cost * self.seconds,
            loop=loop,
            result=loop.create_future(),
        )
        self._scheduler._add(turn)
        return await turn.result


class _Turn(NamedTuple):
    share: Share
    function: Callable
    cost: float
    begin: float  # Seconds that the share has used before the turn.
    end: float  # Expected seconds after the turn.
    loop: asyncio.AbstractEventLoop
    result: asyncio.Future
