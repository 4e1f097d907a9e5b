"""Work that takes longer the more a caller sends: in one thread, piece after piece, away from the loop.

A piece is Python, of which other threads get their share, or one call of a library that lets no other thread run: so
pieces come one at a time, each is bounded by what may be asked, and after each the thread rests as long as it worked.
Whatever is sent, at least every other moment is the loop's. Callers take turns: who sends much waits for himself.
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
"""Seconds of work after which there is a rest."""


class SlowWork:
    """`max_waiting` None: nobody is refused."""

    def __init__(self, name: str, max_waiting: int | None = None) -> None:
        self._threads = Threads(1, name)
        self._turns = FairTurns(1, max_waiting)
        self._rests_until = 0.0

    async def call(self, who: str, fn: Callable[..., Result], *args: Any) -> Result:
        """What `fn` answers or raises, for a request of `who`. Raises TooManyRequests when too many wait already, and
        ServiceUnavailable when the request's client goes away before.
        """
        async with self._turns.turn(who):
            answer: Result = await self._threads.call(daemon_log.with_log_context(self._work), fn, args)
        return answer

    def close(self) -> None:
        """Forget what waits."""
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
