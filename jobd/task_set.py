"""Tasks that nobody awaits: kept alive until they are done, and cancelled or waited for together."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class TaskSet:
    """Used in the loop's thread alone. A task has to log what it raises by itself."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many tasks are in progress."""
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancel all tasks, and return at once."""
        for task in self._tasks:
            task.cancel()

    async def wait(self, patience: float | None = None) -> None:
        """Wait until no task is in progress, including those that others start meanwhile; at most
        `patience` seconds.
        """
        loop = asyncio.get_running_loop()
        until = None if patience is None else loop.time() + patience
        while self._tasks and (until is None or loop.time() < until):
            await asyncio.wait(self._tasks, timeout=None if until is None else until - loop.time())
