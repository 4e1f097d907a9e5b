"""Connections: how many there may be, whose gives way, and how long one lives that nobody uses."""

import asyncio
import contextlib
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest

from jobd.web import connections as rules
from jobd.web import server as listening
from jobd.web.connections import Connections
from tests.api.server import Api

LONG = 30.0
"""Seconds."""
pytestmark = pytest.mark.gen_test(timeout=LONG)


class Client:
    """One connection, and what is sent on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def send(self, text: str) -> None:
        self._writer.write(text.encode())
        await self._writer.drain()

    async def get(self, path: str, token: str | None = None) -> bytes:
        """The head of the answer; its body is read, too."""
        who = f"Authorization: Token {token}\r\n" if token else ""
        await self.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{who}\r\n")
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), LONG)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self.reader.readexactly(int(length.partition(b":")[2]))
        return head

    async def is_closed(self) -> bool:
        """Waits until it is."""
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(65536), LONG):
                pass
        return True

    @property
    def is_open(self) -> bool:
        return not self.reader.at_eof()

    def close(self) -> None:
        self._writer.close()


Connect = Callable[[Api], Any]


@pytest.fixture
def connect(io_loop: Any) -> Iterator[Connect]:
    opened: list[Client] = []

    async def connect(api: Api) -> Client:
        opened.append(Client(*await asyncio.open_connection("127.0.0.1", api.port)))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


async def eventually(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.01)


async def test_whoever_comes_when_all_are_taken_is_served_and_an_idle_one_gives_way(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.services.connections, "capacity", 10)
    idle = [await connect(api) for _ in range(30)]
    await eventually(lambda: len(api.services.connections) == 10)
    newest = await connect(api)
    assert (await newest.get("/healthz")).startswith(b"HTTP/1.1 200")
    assert await idle[0].is_closed()
    assert len(api.services.connections) <= 10


async def test_a_callers_idle_connection_outlives_those_of_nobody(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.services.connections, "capacity", 5)
    known = await connect(api)
    await known.get("/v1/jobs", api.token)
    others = [await connect(api) for _ in range(20)]
    assert await others[0].is_closed()
    assert (await known.get("/v1/jobs", api.token)).startswith(b"HTTP/1.1 200")


async def test_a_callers_idle_connection_gives_way_when_there_is_none_of_nobody(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.services.connections, "capacity", 3)
    clients = [await connect(api) for _ in range(3)]
    for client in clients:
        await client.get("/v1/jobs", api.token)
    await eventually(lambda: api.services.connections.anonymous == 0)
    newest = await connect(api)
    assert (await newest.get("/v1/jobs", api.token)).startswith(b"HTTP/1.1 200")
    assert await clients[0].is_closed()
    assert clients[1].is_open and clients[2].is_open


async def test_connections_with_requests_under_way_give_way_to_nobody_who_then_waits(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(api.services.connections, "capacity", 2)
    monkeypatch.setattr(listening, "PAUSE", 0.01)
    busy = [await connect(api) for _ in range(2)]
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Token {api.token}\r\n"
    for client in busy:
        await client.send(f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n")
    await eventually(lambda: len(api.services.connections) == 2 and api.services.connections.is_full)
    newest = await connect(api)
    answer = asyncio.create_task(newest.get("/healthz"))
    await eventually(lambda: "new connections have to wait" in caplog.text)
    assert not answer.done()
    await busy[0].send("{}")
    assert (await answer).startswith(b"HTTP/1.1 200")
    assert caplog.text.count("new connections have to wait") == 1


ASK = """
import socket, sys
print('ready', flush=True)
input()
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as client:
    client.sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n')
    print(client.recv(100).split(b'\\r')[0].decode(), flush=True)
"""
"""A client in a process of its own, which says when it is ready and is told when to ask."""


@contextlib.asynccontextmanager
async def no_descriptors_left() -> AsyncIterator[None]:
    """No file can be opened in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, hard))
        with contextlib.suppress(OSError):
            while True:
                spare.append(os.dup(0))
        yield
    finally:
        for descriptor in spare:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_nothing_is_accepted_for_a_moment_and_it_is_told_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = []
    monkeypatch.setattr(listening, "PAUSE", 0.05)
    monkeypatch.setattr(api._server, "_on_pause", lambda: pauses.append(1))
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASK, str(api.port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    stdin, stdout = cast(asyncio.StreamWriter, client.stdin), cast(asyncio.StreamReader, client.stdout)
    assert await asyncio.wait_for(stdout.readline(), LONG) == b"ready\n"
    async with no_descriptors_left():
        stdin.write(b"\n")
        await eventually(lambda: len(pauses) >= 3)
    assert await asyncio.wait_for(stdout.readline(), LONG) == b"HTTP/1.1 200 OK\n"
    await client.wait()
    assert caplog.text.count("new connections have to wait") == 1
    assert "Exception" not in caplog.text


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "GET /healthz HTTP/1.1\r\nX-",
        "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Token wrong\r\nContent-Length: 100\r\n\r\n{",
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_nobodys_connection_does_not_live_long_whatever_is_sent_on_it(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    monkeypatch.setattr(rules, "ANONYMOUS_TIMEOUT", 0.3)
    known = await connect(api)
    await known.get("/v1/jobs", api.token)
    client = await connect(api)
    await client.send(sent)
    assert await client.is_closed()
    assert (await known.get("/v1/jobs", api.token)).startswith(b"HTTP/1.1 200")


async def test_nobodys_connection_that_sends_its_head_in_drops_does_not_live_long(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "ANONYMOUS_TIMEOUT", 0.3)
    client = await connect(api)

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            await client.send("GET /healthz HTTP/1.1\r\n")
            while True:
                await client.send("X: x\r\n")
                await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    assert await client.is_closed()
    dripping.cancel()


async def test_a_callers_connection_lives_for_a_time_between_requests(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "IDLE_TIMEOUT", 0.3)
    client = await connect(api)
    await client.get("/v1/jobs", api.token)
    assert await client.is_closed()
    assert len(api.services.connections) == 0


class Stream:
    """What `Connections` needs of a stream."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


async def test_an_address_with_many_connections_takes_them_from_itself() -> None:
    now = 0.0
    closed: list[str] = []
    connections = Connections(10, closed.append, lambda: now)
    few, many = [Stream() for _ in range(3)], [Stream() for _ in range(50)]
    for stream in few:
        connections.opened(cast(Any, stream), "192.0.2.1")
    for number, stream in enumerate(many):
        now += 1
        # One customer has a whole network of addresses.
        connections.opened(cast(Any, stream), f"2001:db8::{number:x}")
    assert not any(stream.is_closed for stream in few)
    assert [stream.is_closed for stream in many] == [True] * 43 + [False] * 7
    assert closed == ["evicted"] * 43 and len(connections) == 10
    for stream in (*few, *many):
        connections.closed(cast(Any, stream))
    assert (len(connections), connections.anonymous) == (0, 0)
