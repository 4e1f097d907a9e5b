"""Clients that send far ahead: they wait for themselves, and what they left behind when they went is dropped."""

import asyncio

import pytest

from tests.api.server import Api
from tests.loop_rounds import rounds

pytestmark = pytest.mark.gen_test(timeout=60)

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def answered(api: Api) -> float:
    return api.services.database.metrics.http_requests.labels("/healthz", "GET", "200")._value.get()


async def test_requests_of_a_client_that_is_gone_are_not_answered(api: Api) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(HEALTH * 1000)
    writer.transport.abort()
    while not api.services.connections:
        await asyncio.sleep(0)
    while api.services.connections:
        await asyncio.sleep(0)
    # Of the first, nobody can know yet that the client is gone.
    assert answered(api) < 10


async def test_requests_that_are_sent_ahead_are_answered(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(HEALTH * 100 + HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert (await reader.read()).count(b"HTTP/1.1 200 OK") == 101
    writer.close()


async def test_many_bodies_in_chunks_of_a_byte_let_others_have_their_turn(api: Api) -> None:
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token {api.token}\r\n"
    head += "Content-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"1\r\n[\r\n" * 2000

    async def send() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(head.encode() + body + b"0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer

    with rounds() as seen:
        answers = await asyncio.gather(*(send() for _ in range(20)))
    assert all(answer.startswith(b"HTTP/1.1 400 ") for answer in answers)
    # 120,000 reads: with all that there is of each connection in a round it takes some 60 rounds.
    assert len(seen) > 500
