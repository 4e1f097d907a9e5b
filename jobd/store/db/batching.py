"""Batches writes of one kind: those that come while another is in progress are sent together, as one statement.

A write that comes alone is sent at once. PostgreSQL plans, commits and answers only once for a whole batch.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from jobd import daemon_log
from jobd.errors import ServiceUnavailable
from jobd.task_set import TaskSet

MAX_BATCH = 64
"""The maximum number of writes in a batch."""
PATIENCE = 0.05
"""Seconds after which waiting writes are sent although another is still in progress: one locked row must not hold up
all others.
"""

_Call = tuple[tuple[Any, ...], "asyncio.Future[bool]"]


class Batching:
    """Batches writes of one kind. `alone(*args)` does one write and returns whether it changed anything.
    `together(calls)` gets a list of such arguments and returns for each whether it was done. Those that were not done
    are tried again alone, so that what is wrong with one does not affect the others. Used in one event loop.
    """

    def __init__(
        self, alone: Callable[..., Awaitable[bool]], together: Callable[[list[tuple[Any, ...]]], Awaitable[list[bool]]]
    ) -> None:
        self._alone = alone
        self._together = together
        self._waiting: list[_Call] = []
        self._is_under_way = False
        self._tasks = TaskSet()

    async def write(self, *args: Any) -> bool:
        """Write at once if no other write is in progress, else with the next batch. Raises ServiceUnavailable."""
        loop = asyncio.get_running_loop()
        if not self._is_under_way:
            self._is_under_way = True
            late = loop.call_later(PATIENCE, self._go_on)
            try:
                return await self._alone(*args)
            finally:
                late.cancel()
                self._go_on()
        answer: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((args, answer))
        return await answer

    def _go_on(self) -> None:
        calls, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        self._is_under_way = bool(calls)
        if calls:
            self._tasks.spawn(self._write(calls))

    async def _write(self, calls: list[_Call]) -> None:
        daemon_log.clear_log_context()  # a batch belongs to no single exec
        done = [False] * len(calls)
        late = asyncio.get_running_loop().call_later(PATIENCE, self._go_on)
        try:
            if len(calls) > 1:
                done = await self._together([args for args, _ in calls])
        except ServiceUnavailable as error:
            # The batch may have been committed; whoever asked has to find out.
            for _, answer in calls:
                if not answer.done():
                    answer.set_exception(error)
            return
        except Exception:  # one of them is at fault; trying each alone shows which
            done = [False] * len(calls)
        finally:
            late.cancel()
            self._go_on()
        left = [call for call, is_done in zip(calls, done, strict=True) if not is_done]
        for (_, answer), is_done in zip(calls, done, strict=True):
            if is_done and not answer.done():
                answer.set_result(True)
        await asyncio.gather(*(self._write_alone(*call) for call in left))

    async def _write_alone(self, args: tuple[Any, ...], answer: "asyncio.Future[bool]") -> None:
        try:
            result = await self._alone(*args)
        except Exception as error:  # raised where the write is awaited
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(result)
