"""Connections that share the loop fairly, however much has already arrived on one of them."""

from asyncio import Future
from collections.abc import Awaitable
from typing import Any, cast

from tornado.iostream import BaseIOStream, IOStream, SSLIOStream

from jobd.loop_turns import Turns

MAX_READS = 32
"""The maximum number of successive reads that need not wait for the network, which takes less than a millisecond. A
body in chunks of one byte takes three of them for each.
"""


class InTurn(BaseIOStream):
    """A connection that has more to read at once takes turns with the others that have, and share `turns`."""

    def __init__(self, *args: Any, turns: Turns, **more: Any) -> None:
        self._turns = turns
        self._reads = 0
        super().__init__(*args, **more)

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        # A head: handling a request is worth a turn.
        return self._in_turn(super().read_until_regex(regex, max_bytes), MAX_READS)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        return self._in_turn(super().read_until(delimiter, max_bytes))

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        return self._in_turn(super().read_bytes(num_bytes, partial))

    def _in_turn(self, reading: Awaitable[bytes], worth: int = 1) -> Awaitable[bytes]:
        if not cast("Future[bytes]", reading).done():
            self._reads = 0
            return reading
        self._reads += worth
        if self._reads < MAX_READS:
            return reading
        self._reads = 0
        return self._after_others(reading)

    async def _after_others(self, reading: Awaitable[bytes]) -> bytes:
        await self._turns.wait()
        return await reading


class PlainStream(InTurn, IOStream):
    pass


class TlsStream(InTurn, SSLIOStream):
    pass
