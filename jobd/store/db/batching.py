"""Writes of one kind that come while another is under way: they go together, as one statement.

One that comes alone goes alone, at once. PostgreSQL plans, commits and answers once for all that go together.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from jobd import daemon_log
from jobd.errors import ServiceUnavailable
from jobd.task_set import TaskSet

MAX_BATCH = 64
"""Writes that go together at the most."""
PATIENCE = 0.05
"""Seconds after which what came meanwhile waits no longer: one row that is locked must not hold up all others."""

_Call = tuple[tuple[Any, ...], "asyncio.Future[bool]"]


class Batching:
    """Batches writes of one kind. `alone(*args)` does one and returns whether it changed anything. `together(calls)`, a
    list of such arguments, tries several and returns of each whether it was done: what was not is done alone, so that
    what is wrong with one is nobody else's.
    """

    def __init__(
        self, alone: Callable[..., Awaitable[bool]], together: Callable[[list[tuple[Any, ...]]], Awaitable[list[bool]]]
    ) -> None:
        self._alone = alone
        self._together = together
        self._waiting: list[_Call] = []
        self._is_under_way = False
        self._tasks = TaskSet()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def write(self, *args: Any) -> bool:
        """At once where nothing is under way, else with the others that wait. Raises ServiceUnavailable."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # What a loop left that is over would be waited for in vain.
            self._loop, self._waiting, self._is_under_way = loop, [], False
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
            # It may have been committed: who asked finds out.
            for _, answer in calls:
                if not answer.done():
                    answer.set_exception(error)
            return
        except Exception:  # one of them cannot be written: which, is seen when each is tried alone
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
        except Exception as error:  # whoever waits is to have it
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(result)
