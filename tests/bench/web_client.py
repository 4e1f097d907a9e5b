"""A client that keeps connections busy, for machines without wrk; prints answered requests a second.

`python -m tests.bench.web_client '{"url": …, "headers": …, "body": …, "seconds": …, "connections": …}'`
"""

import asyncio
import json
import re
import sys
import time
from typing import Any
from urllib.parse import urlsplit

LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)


async def main(given: dict[str, Any]) -> float:
    url = urlsplit(given["url"])
    body = json.dumps(given["body"]).encode() if given["body"] else b""
    headers = {"Host": url.netloc, "Content-Type": "application/json", "Content-Length": len(body), **given["headers"]}
    path = f"{url.path}?{url.query}" if url.query else url.path
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    request = head.encode() + b"\r\n" + body
    began = time.perf_counter()
    until = began + given["seconds"]
    work = (_one(str(url.hostname), url.port or 80, request, until) for _ in range(given["connections"]))
    answered = sum(await asyncio.gather(*work))
    return answered / (time.perf_counter() - began)


async def _one(host: str, port: int, request: bytes, until: float) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    answered = 0
    while time.perf_counter() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        assert head.startswith(b"HTTP/1.1 2") and length, head
        await reader.readexactly(int(length[1]))
        answered += 1
    writer.close()
    await writer.wait_closed()
    return answered


if __name__ == "__main__":
    print(asyncio.run(main(json.loads(sys.argv[1]))))
