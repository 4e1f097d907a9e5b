"""Followers of one log in a process of their own; prints what they got and how late.

All come at once. Lines written before the last of them follows are told apart from those after: the first are late for
a hundred requests, the second for a hundred followers. Bytes are counted for all from then on; time stamps are read by
`READ_BY` of them alone, for reading 100 MB/s of them would make this process what is late.

`python -m tests.bench.log_client '{"port": …, "path": …, "token": …, "followers": …, "seconds": …}'`
"""

import asyncio
import json
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any, cast

STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})\d*(?:Z|\+00:00) ")
READ_BY = 5
"""Followers whose time stamps are read; all others only take what comes."""
_TAKEN = memoryview(bytearray(2**18))
"""Where all followers receive, one after the other: nothing stays there."""


def delays(data: bytes, at: datetime) -> list[float]:
    """Milliseconds from the time stamps in `data` until `at`."""
    written = (datetime.fromisoformat(stamp.decode()).replace(tzinfo=UTC) for stamp in STAMP.findall(data))
    return [(at - then).total_seconds() * 1000 for then in written]


class _Follower(asyncio.BufferedProtocol):
    def __init__(self, request: bytes, is_read: bool) -> None:
        self.follows: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.taken = 0
        self.late: list[tuple[float, float]] = []
        """When a line was written, in seconds since the Unix epoch, and how late it came, in milliseconds."""
        self._request = request
        self._is_read = is_read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _TAKEN

    def buffer_updated(self, nbytes: int) -> None:
        if not self.follows.done():
            assert bytes(_TAKEN[:12]) == b"HTTP/1.1 200", bytes(_TAKEN[:nbytes])
            self.follows.set_result(None)
        self.taken += nbytes
        if self._is_read:
            now = datetime.now(UTC)
            late = delays(bytes(_TAKEN[:nbytes]), now)
            self.late += [(now.timestamp() - milliseconds / 1000, milliseconds) for milliseconds in late]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.follows.done():
            self.follows.set_exception(error or EOFError("the connection ended before the answer"))
        self.taken = 0


async def main(given: dict[str, Any]) -> dict[str, Any]:
    """`began`: when the last came, in seconds since the Unix epoch; `rates` in bytes a second, 0 for a log that ended;
    milliseconds of delay of lines written until then, `coming`, and from then on, `delays`.
    """
    loop = asyncio.get_running_loop()
    request = (
        f"GET {given['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token {given['token']}\r\n\r\n".encode()
    )
    made = [_Follower(request, number < READ_BY) for number in range(given["followers"])]
    await asyncio.gather(*(loop.create_connection(lambda one=one: one, "127.0.0.1", given["port"]) for one in made))
    await asyncio.gather(*(one.follows for one in made))
    began, before = time.time(), [one.taken for one in made]
    await asyncio.sleep(given["seconds"])
    took = time.time() - began
    late = [pair for one in made for pair in one.late]
    return {
        "began": began,
        "rates": [max(one.taken - taken, 0) / took for one, taken in zip(made, before, strict=True)],
        "coming": [milliseconds for written, milliseconds in late if written < began],
        "delays": [milliseconds for written, milliseconds in late if written >= began],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
