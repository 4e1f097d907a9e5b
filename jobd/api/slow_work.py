"""Work that takes longer the more a caller sends: in one thread, piece after piece, away from the loop.

A piece is Python, of which other threads get their share, or one call of a library that lets no other thread run: so
pieces come one at a time, each is bounded by what may be asked, and after each the thread rests as long as it worked.
Whatever is sent, at least every other moment is the loop's.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from jobd import journal
from jobd.errors import TooManyRequests
from jobd.threads import Threads

Result = TypeVar("Result")

LEAST_REST = 0.001
"""Seconds of work after which there is a rest."""


class SlowWork:
    """`max_waiting` None: nobody is refused."""

    def __init__(self, name: str, max_waiting: int | None = None) -> None:
        self._threads = Threads(1, name)
        self._max_waiting = max_waiting
        self._waiting = 0
        self._rests_until = 0.0

    async def call(self, fn: Callable[..., Result], *args: Any) -> Result:
        """What `fn` answers or raises. Raises TooManyRequests when too many wait already."""
        if self._max_waiting is not None and self._waiting >= self._max_waiting:
            raise TooManyRequests("too many such requests at once; try again in a moment")
        self._waiting += 1
        try:
            answer: Result = await self._threads.call(journal.carried(self._work), fn, args)
        finally:
            self._waiting -= 1
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
