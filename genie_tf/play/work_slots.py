"""A bounded number of tasks that clients ask for."""

import asyncio
from collections import deque
from collections.abc import Coroutine


class WorkDropped(Exception):
    """Work was ended, for newer work or because whoever asked for it has left."""


class WorkSlots:
    """Bounds how much work is done at a time, without letting anybody wait.

    Args:
        count: when so much is being done, the oldest gives way to what is new. Those who
            mean well are done sooner than those who are slow on purpose.
    """

    def __init__(self, count: int):
        self._count = count
        self._tasks: deque[asyncio.Task] = deque()

    async def run(self, work: Coroutine):
        """Return the result of work.

        Raises:
            WorkDropped: if it was ended.
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
