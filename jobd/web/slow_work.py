"""Work that takes longer the more a caller sends: done in one thread instead of on the event loop.

Some of it is a single call of a library in which no other thread runs. So only one piece of work runs at a time, the
limits on requests bound each, and after each the thread rests for as long as it worked: whatever is sent, the event
loop gets at least half of the time. Callers take turns, so one who sends much delays only himself.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from jobd import daemon_log
from jobd.threads import Threads
from jobd.web.fair_turns import FairTurns

Result = TypeVar("Result")

LEAST_REST = 0.001
"""Seconds of work after which the thread rests."""


class SlowWork:
    """At most `max_waiting` pieces of work wait; with None there is no limit."""

    def __init__(self, name: str, max_waiting: int | None = None) -> None:
        self._threads = Threads(1, name)
        self._turns = FairTurns(1, max_waiting)
        self._rests_until = 0.0

    async def call(self, who: str, fn: Callable[..., Result], *args: Any) -> Result:
        """Call `fn` when it is the turn of `who`, and return or raise what it does. Raises TooManyRequests when too
        many wait already, and ServiceUnavailable when the client disconnects before.
        """
        async with self._turns.turn(who):
            answer: Result = await self._threads.call(daemon_log.with_log_context(self._work), fn, args)
        return answer

    def close(self) -> None:
        """Drop the work that waits."""
        self._threads.close(wait=False)

    def _work(self, fn: Callable[..., Result], args: tuple[Any, ...]) -> Result:
        rest = self._rests_until - time.monotonic()
        if rest > 0:
            # Not time.sleep: under libfaketime, which tests set clocks by, it raises EINVAL.
            threading.Event().wait(rest)
        began = time.thread_time()
        try:
            return fn(*args)
        finally:
            worked = time.thread_time() - began
            if worked > LEAST_REST:
                self._rests_until = time.monotonic() + worked
