"""Readers of logs who do not read: what they may take of the daemon, and what everybody else gets meanwhile."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jobd.api import logs as logs_api
from jobd.config.settings import Auth, Limits
from jobd.output.run_log import Batch
from jobd.store.people import accounts
from jobd.threads import Threads
from jobd.web import log_readers, log_stream
from jobd.web.log_stream import Events, Text, encoded
from tests.api.log_clients import LONG, Place, told
from tests.api.server import Api, settings_for

pytestmark = pytest.mark.gen_test(timeout=LONG)

BIG = 8 * 2**20
"""Bytes: more than a kernel takes for a client that does not read."""


@contextlib.asynccontextmanager
async def unread(place: Place, query: str = "", head: str = "") -> AsyncIterator[socket.socket]:
    """A client that asks for the log and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(client, ("127.0.0.1", place.api.port))
        request = f"GET {place.path}{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Token {place.api.token}\r\n{head}\r\n"
        await loop.sock_sendall(client, request.encode())
        yield client
    finally:
        client.close()


def handlers(place: Place) -> list[Any]:
    """The handlers of requests under way."""
    return list(place.api.services.requests._open)


async def all_wait_for_their_clients(place: Place, count: int) -> list[int]:
    """Bytes that each was sent, once no more of them can be."""
    before: list[int] = []

    def settled() -> bool:
        nonlocal before
        now = [handler.sent_bytes for handler in handlers(place)]
        is_settled = len(now) == count and all(now) and now == before
        before = now
        return is_settled

    await place.bench.eventually(settled, f"{count} answers to wait for their clients")
    return before


async def test_a_follower_that_does_not_read_is_sent_little(place: Place) -> None:
    await place.end(output=b"x" * BIG)
    async with unread(place, "?follow=1"), unread(place, "?follow=1", "Accept: text/event-stream\r\n"):
        for sent in await all_wait_for_their_clients(place, 2):
            assert sent < 2**20
        assert (await place.api.call("GET", "/healthz")).status == 200
    await place.bench.eventually(lambda: not handlers(place), "the answers to end with their clients")


async def test_a_caller_follows_no_more_logs_than_allowed_whatever_the_token(place: Place) -> None:
    database = place.bench.database
    settings = settings_for(place.api.services.settings.database.url, limits=Limits(followers_per_caller=2))
    second_token = await database.write(accounts.create_token, place.bench.caller.username, "second")
    admin = await database.write(accounts.create_user, "boss", is_admin=True)
    others_token = await database.write(accounts.create_token, admin.username, "other")
    limited = Api(database, settings, place.api.token, engine=place.bench.engines[0])
    limited_place = Place(place.bench, limited, place.executor, place.row)
    try:
        async with limited_place.follow() as first:
            async with limited_place.follow():
                limited.token = second_token
                answer = await limited_place.get("?follow=1")
                assert (answer.status, answer.error["code"]) == (429, "too_many_requests")
                assert "2 logs already" in answer.error["message"] and answer.headers["Retry-After"] == "5"
                limited.token = others_token
                async with limited_place.follow() as another:
                    assert another.status == 200
            limited.token = second_token
            await place.bench.eventually(lambda: limited.services.log_readers._shares["user chennanfei"].followed == 1)
            async with limited_place.follow() as again:
                assert (first.status, again.status) == (200, 200)
        await place.bench.eventually(lambda: not limited.services.log_readers._shares, "nothing to be left counted")
    finally:
        await limited.close()


async def test_without_users_followers_are_counted_by_address(place: Place) -> None:
    settings = settings_for(
        place.api.services.settings.database.url, limits=Limits(followers_per_caller=1), auth=Auth(mode="none")
    )
    limited = Api(place.bench.database, settings, None, engine=place.bench.engines[0])
    headers = {"X-Forwarded-For": "192.0.2.1"}
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", limited.port)
        host = f"127.0.0.1:{limited.port}"
        writer.write(f"GET {place.path}?follow=1 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        place.write(b"x")
        assert await asyncio.wait_for(reader.readline(), LONG) == b"HTTP/1.1 200 OK\r\n"
        assert (await limited.call("GET", f"{place.path}?follow=1")).status == 429
        await place.end()
        writer.close()
        await place.bench.eventually(lambda: not limited.services.log_readers._shares)
        assert (await limited.call("GET", f"{place.path}?follow=1", headers=headers)).status == 200
    finally:
        await limited.close()


async def test_a_followed_log_over_http_1_0_ends_with_its_connection_also_with_keep_alive(place: Place) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", place.api.port)
    head = f"GET {place.path}?follow=1 HTTP/1.0\r\nConnection: keep-alive\r\nAuthorization: Token {place.api.token}"
    writer.write(f"{head}\r\n\r\n".encode())
    place.write(b"begun ")
    answer = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LONG)).lower()
    assert b"keep-alive" not in answer and b"content-length" not in answer
    await place.end(output=b"ended")
    assert await asyncio.wait_for(reader.read(), LONG) == b"begun ended"
    writer.close()


@pytest.mark.parametrize("query", ["", "?timestamps=1"])
async def test_a_whole_log_is_held_once_for_all_clients_that_do_not_take_it(place: Place, query: str) -> None:
    await place.end(output=(b"x" * 1023 + b"\n") * (BIG // 1024))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(unread(place, query))
        sent = await all_wait_for_their_clients(place, 5)
        assert max(sent) < BIG
        (share,) = place.api.services.log_readers._shares.values()
        assert len(share.sending) == 1 and share.held >= BIG
        assert (await place.get(query)).body.count(b"\n") == BIG // 1024
    await place.bench.eventually(lambda: not place.api.services.log_readers._shares, "the answers to end")


async def test_ranges_of_a_log_are_sent_whole_to_who_takes_them(place: Place) -> None:
    output = bytes(range(256)) * (BIG // 256)
    await place.end(output=output)
    answer = await place.get(Range="bytes=5-5000004")
    assert (answer.status, answer.headers["Content-Length"]) == (206, "5000000")
    assert answer.body == output[5:5000005]
    assert (await place.get(Range=f"bytes={BIG - 3}-")).body == output[-3:]
    whole = await place.get()
    assert (whole.body, whole.headers["Content-Length"]) == (output, str(BIG))
    head = await place.api.call("HEAD", place.path)
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(BIG), b"")


async def test_who_leaves_much_untaken_gets_no_other_log_until_it_is_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_readers, "MAX_HELD", BIG)
    await place.end(output=b"x" * BIG)
    async with unread(place):
        await all_wait_for_their_clients(place, 1)
        answer = await place.get("?stream=stdout")
        assert (answer.status, answer.error["code"]) == (429, "too_many_requests")
        assert str(BIG) in answer.error["message"]
        assert (await place.get()).status == 200
    await place.bench.eventually(lambda: not handlers(place), "the answer to end with its client")
    assert (await place.get("?stream=stdout")).status == 200


async def test_a_client_that_takes_nothing_of_a_whole_log_is_cut_off(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_api, "SEND_TIMEOUT", 0.2)
    await place.end(output=b"x" * BIG)
    async with unread(place):
        await place.bench.eventually(lambda: handlers(place), "the request to begin")
        await place.bench.eventually(lambda: not handlers(place), "the answer to be given up")
        await place.bench.eventually(lambda: not place.api.services.log_readers._shares, "nothing to be held")


async def test_a_line_that_does_not_end_is_broken_where_lines_get_their_times(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_stream, "MAX_LINE", 1000)
    async with place.follow("&timestamps=1", accept="text/plain") as stream:
        place.write(b"x" * 1000)
        assert (await stream.line()).partition(" ")[2] == "x" * 1000 + "\n"
        await place.end(output=b"y\n")
        assert (await stream.rest()).partition(b" ")[2] == b"y\n"


async def test_much_is_encoded_once_in_a_thread_for_all_and_little_on_the_loop(place: Place) -> None:
    for number in range(2 * log_stream.MAX_PARTS_ON_LOOP):
        place.write(b"%d\n" % number, "stderr" if number % 2 else "stdout")
    await place.end()
    threads, calls = Threads(1, "test"), 0
    call = threads.call

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return call(*args)

    threads.call = counted  # type: ignore[method-assign]
    with place.bench.engines[0].follow(place.row, 0) as follower:
        piece = await follower.more(LONG)
    for make in (lambda: Events(None), lambda: Text(None, True), lambda: Text(None, False)):
        calls = 0
        whole = b"".join(make().parts(piece))
        assert await asyncio.gather(*(encoded(make(), piece, threads) for _ in range(3))) == [whole] * 3
        assert calls == (0 if make().count_parts(piece) == 1 else 1)
    calls = 0
    assert await encoded(Events(None), Batch(piece[:1]), threads) and calls == 0
    threads.close()


async def test_lines_written_together_come_in_one_event(place: Place) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(1000))
    await place.end(output=lines)
    async with place.follow() as stream:
        events = await stream.events()
    assert told(events) == lines and len(events) == 2
