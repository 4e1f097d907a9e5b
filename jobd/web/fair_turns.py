"""Limited concurrency, shared fairly: callers take turns, however many requests each of them has waiting."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from jobd.errors import ServiceUnavailable, TooManyRequests
from jobd.store.db.deadlines import departure

_Turn = asyncio.Future[None]


class FairTurns:
    """At most `at_once` turns at a time. When more than `max_waiting` wait, the newest of the caller with most waiting
    is refused; with None, none is. Not thread-safe: for the event loop only.
    """

    def __init__(self, at_once: int, max_waiting: int | None = None) -> None:
        self._free = at_once
        self._max_waiting = max_waiting
        self._waiting: dict[str, deque[_Turn]] = {}
        """By caller; the first is the one whose turn is next."""
        self._count = 0

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
        self._add(who, turn)
        if self._max_waiting is not None and self._count > self._max_waiting:
            self._refuse_one()
        leaving = departure.get()

        def leave() -> None:
            if self._remove(who, turn):
                turn.set_exception(ServiceUnavailable("the client went away before its turn"))

        if leaving is not None:
            leaving.follow(leave)
        try:
            await turn
        except asyncio.CancelledError:
            # Cancelled just after it got its turn: pass the turn on.
            if not self._remove(who, turn) and turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()
            raise
        finally:
            if leaving is not None:
                leaving.forget(leave)

    def _pass_on(self) -> None:
        while self._waiting:
            who = next(iter(self._waiting))
            turn = self._waiting[who][0]
            self._remove(who, turn)
            if who in self._waiting:
                self._waiting[who] = self._waiting.pop(who)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _refuse_one(self) -> None:
        most = max(self._waiting, key=lambda who: len(self._waiting[who]))
        turn = self._waiting[most][-1]
        self._remove(most, turn)
        if not turn.done():
            turn.set_exception(TooManyRequests("too many such requests at once; try again in a moment"))

    def _add(self, who: str, turn: _Turn) -> None:
        self._waiting.setdefault(who, deque()).append(turn)
        self._count += 1

    def _remove(self, who: str, turn: _Turn) -> bool:
        """Returns whether the turn was still waiting."""
        turns = self._waiting.get(who, deque())
        with suppress(ValueError):
            turns.remove(turn)
            self._count -= 1
            if not turns:
                del self._waiting[who]
            return True
        return False
