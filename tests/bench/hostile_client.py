"""A client that sends one request over many connections at once, and reads each answer to its end; prints the statuses.

`python -m tests.bench.hostile_client PORT FILE COUNT ROUNDS LEAVES`: FILE holds the request's bytes, with Connection:
close; 1 for LEAVES: the clients go away as soon as they have sent it.
"""

import asyncio
import json
import sys
from pathlib import Path


async def main(port: int, request: bytes, count: int, rounds: int, leaves: int) -> list[int]:
    statuses = []
    for _ in range(rounds):
        statuses += await asyncio.gather(*(_one(port, request, bool(leaves)) for _ in range(count)))
        if leaves:
            # What the daemon still does for them is looked at, too.
            await asyncio.sleep(1)
    return statuses


async def _one(port: int, request: bytes, leaves: bool) -> int:
    """The answer's status; 0 when the connection was ended without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b""
    try:
        writer.write(request)
        if leaves:
            await writer.drain()
            writer.transport.abort()
            return 0
        head = await reader.readline()
        while await reader.read(2**20):
            pass
    except ConnectionError:
        pass
    finally:
        writer.close()
    return int(head.split()[1]) if head else 0


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), *map(int, sys.argv[3:6])))))
