"""Limited concurrency, shared fairly: callers take turns, however many requests each of them has waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jobd.errors import ServiceUnavailable, TooManyRequests
from jobd.fair_queue import FairQueue
from jobd.store.db.deadlines import departure

_Turn = asyncio.Future[None]


class FairTurns:
    """At most `at_once` turns at a time. When more than `max_waiting` wait, the newest of the caller with most waiting
    is refused; with None, none is. Not thread-safe: for the event loop only.
    """

    def __init__(self, at_once: int, max_waiting: int | None = None) -> None:
        self._free = at_once
        self._max_waiting = max_waiting
        self._waiting: FairQueue[_Turn] = FairQueue()

    @asynccontextmanager
    async def turn(self, who: str) -> AsyncIterator[None]:
        """Wait for a turn of `who` and hold it. Raises TooManyRequests when refused, and ServiceUnavailable when the
        client disconnects while it waits.
        """
        await self._begin(who)
        try:
            yield
        finally:
            self._pass_on()

    async def _begin(self, who: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._waiting.put(who, turn)
        if self._max_waiting is not None and len(self._waiting) > self._max_waiting:
            self._refuse_one()
        leaving = departure.get()

        def leave() -> None:
            if self._waiting.remove(who, turn):
                turn.set_exception(ServiceUnavailable("the client went away before its turn"))

        if leaving is not None:
            leaving.follow(leave)
        try:
            await turn
        except asyncio.CancelledError:
            # Cancelled just after it got its turn: pass the turn on.
            if (
                not self._waiting.remove(who, turn)
                and turn.done()
                and not turn.cancelled()
                and turn.exception() is None
            ):
                self._pass_on()
            raise
        finally:
            if leaving is not None:
                leaving.forget(leave)

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.get()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _refuse_one(self) -> None:
        who, turn = self._waiting.newest_of_longest()
        self._waiting.remove(who, turn)
        if not turn.done():
            turn.set_exception(TooManyRequests("too many such requests at once; try again in a moment"))
