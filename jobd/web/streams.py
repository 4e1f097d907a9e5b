"""Clients' connections: what a client had sent that is gone is not read any more, nobody would get the answers."""

from collections.abc import Awaitable

from tornado.iostream import StreamClosedError

from jobd.fair_streams import PlainStream


class Stream(PlainStream):
    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._refuse_when_closed()
        return super().read_until_regex(regex, max_bytes)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._refuse_when_closed()
        return super().read_until(delimiter, max_bytes)

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        self._refuse_when_closed()
        return super().read_bytes(num_bytes, partial)

    def _refuse_when_closed(self) -> None:
        # tornado goes on with what it has in its buffer.
        if self.closed():
            raise StreamClosedError

    async def _after_others(self, reading: Awaitable[bytes]) -> bytes:
        await self._turns.wait()
        self._refuse_when_closed()
        return await reading
