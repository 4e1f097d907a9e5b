"""Followers of one log in a process of their own; prints what they got and how late.

`python -m tests.bench.log_client '{"port": …, "path": …, "token": …, "followers": …, "seconds": …}'`
"""

import asyncio
import json
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})\d*(?:Z|\+00:00) ")
READ_BY = 5
"""Followers whose time stamps are read; all others only take what comes."""


def delays(data: bytes, at: datetime) -> list[float]:
    """Milliseconds from the time stamps in `data` until `at`."""
    written = (datetime.fromisoformat(stamp.decode()).replace(tzinfo=UTC) for stamp in STAMP.findall(data))
    return [(at - then).total_seconds() * 1000 for then in written]


async def main(given: dict[str, Any]) -> dict[str, Any]:
    late: list[float] = []
    until = time.perf_counter() + given["seconds"]
    rates = await asyncio.gather(*(_follow(given, late, n < READ_BY, until) for n in range(given["followers"])))
    return {"delays": late, "rates": rates}


async def _follow(given: dict[str, Any], late: list[float], is_read: bool, until: float) -> float:
    """Bytes a second, from the first to the last that came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", given["port"], limit=2**20)
    writer.write(
        f"GET {given['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token {given['token']}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    began, taken = 0.0, 0
    while (left := until - time.perf_counter()) > 0:
        try:
            data = await asyncio.wait_for(reader.read(2**18), left)
        except TimeoutError:
            break
        assert data, "the log ended"
        began, taken = (began, taken + len(data)) if began else (time.perf_counter(), 0)
        if is_read:
            late += delays(data, datetime.now(UTC))
    writer.close()
    return taken / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
