"""Streams of clients' connections: when a client has disconnected, nothing more that it sent is read, since nobody
would get the responses.
"""

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
        # Tornado itself would go on with what is in its buffer.
        if self.closed():
            raise StreamClosedError

    async def _after_others(self, reading: Awaitable[bytes]) -> bytes:
        await self._turns.wait()
        self._refuse_when_closed()
        return await reading
