"""Bounded number of concurrent tasks for clients."""

import asyncio
from collections import deque
from collections.abc import Coroutine


class WorkDropped(Exception):
    """Work was canceled, by newer work or because its client left."""


class WorkSlots:
    """Limits concurrent tasks without making clients wait.

    Args:
        count: maximum number of tasks. Beyond it, a new task cancels the oldest one:
            clients that are slow on purpose lose to those that finish quickly.
    """

    def __init__(self, count: int):
        self._count = count
        self._tasks: deque[asyncio.Task] = deque()

    async def run(self, work: Coroutine):
        """Return the result of `work`.

        Raises:
            WorkDropped: if the work was canceled.
        """
        if len(self._tasks) == self._count:
            self._tasks.popleft().cancel()
        task = asyncio.create_task(work)
        self._tasks.append(task)
        try:
            return await task
        except asyncio.CancelledError:
            raise WorkDropped from None
        finally:
            if task in self._tasks:
                self._tasks.remove(task)
