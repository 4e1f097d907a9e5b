"""Limits for those who read logs: how many logs a caller follows, and how many bytes are held for it at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from jobd.errors import TooManyRequests
from jobd.loop_turns import Turns

MAX_PREPARED_AT_ONCE = 2
"""Whole logs that are read and rendered for one caller at once; its other requests wait."""
MAX_HELD = 64 * 2**20
"""Bytes of whole logs being sent to one caller, from which on a request for another is refused."""
RETRY_AFTER = 5.0
"""Seconds."""


class RenderedLog:
    """A whole log as it is sent; one copy in memory for all who are sent it."""

    def __init__(self, data: bytes) -> None:
        self.data = data


@dataclass
class _Share:
    """What is in progress for one caller."""

    followed: int = 0
    preparing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_PREPARED_AT_ONCE))
    sending: Counter[RenderedLog] = field(default_factory=Counter)
    users: int = 0

    @property
    def held(self) -> int:
        """Bytes of the logs that are being sent."""
        return sum(len(log.data) for log in self.sending)


class LogReaders:
    """A caller may follow `max_followed` logs at once. Not thread-safe: for the event loop only."""

    def __init__(self, max_followed: int) -> None:
        self.turns = Turns()
        """Turns on the event loop for those who are sent a whole log."""
        self._max_followed = max_followed
        self._shares: dict[str, _Share] = {}
        self._rendered: WeakValueDictionary[Hashable, RenderedLog] = WeakValueDictionary()
        self._rendering: dict[Hashable, asyncio.Task[RenderedLog]] = {}

    @contextmanager
    def following(self, caller: str) -> Iterator[None]:
        """Hold while a caller follows a log. Raises TooManyRequests."""
        with self._share(caller) as share:
            if share.followed >= self._max_followed:
                message = (
                    f"you follow {share.followed} logs already, the most allowed for one caller; close one of them"
                )
                raise TooManyRequests(message, RETRY_AFTER)
            share.followed += 1
            try:
                yield
            finally:
                share.followed -= 1

    @asynccontextmanager
    async def preparing(self, caller: str) -> AsyncIterator[None]:
        """Hold while a whole log is read and rendered for a caller; waits for the caller's earlier ones."""
        with self._share(caller) as share:
            async with share.preparing:
                yield

    @contextmanager
    def sending(self, caller: str, log: RenderedLog) -> Iterator[None]:
        """Hold while a caller is sent a whole log. Raises TooManyRequests when the caller has too many bytes unread."""
        with self._share(caller) as share:
            if share.held >= MAX_HELD and log not in share.sending:
                message = f"{share.held} bytes of logs that you requested are still unread; read those first"
                raise TooManyRequests(message, RETRY_AFTER)
            share.sending[log] += 1
            try:
                yield
            finally:
                share.sending[log] -= 1
                if not share.sending[log]:
                    del share.sending[log]

    async def rendered(self, key: Hashable, render: Callable[[], Awaitable[bytes]]) -> RenderedLog:
        """The log that `render` returns, or the one with the same `key` while it is still being sent to others."""
        log = self._rendered.get(key)
        if log is not None:
            return log
        rendering = self._rendering.get(key)
        if rendering is None:
            rendering = self._rendering[key] = asyncio.create_task(self._render(key, render))
            rendering.add_done_callback(lambda _: self._rendering.pop(key))
            # Retrieve its error, or asyncio logs it when all who waited have gone.
            rendering.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(rendering)

    async def _render(self, key: Hashable, render: Callable[[], Awaitable[bytes]]) -> RenderedLog:
        log = self._rendered[key] = RenderedLog(await render())
        return log

    @contextmanager
    def _share(self, caller: str) -> Iterator[_Share]:
        share = self._shares.setdefault(caller, _Share())
        share.users += 1
        try:
            yield share
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[caller]
