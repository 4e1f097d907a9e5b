"""What clients get while somebody else holds the database, and what becomes of the writes of those who left."""

import asyncio
import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from jobd.api import logs
from jobd.store.db import database as door
from jobd.store.db import deadlines
from jobd.store.db.database import Database
from jobd.store.people import accounts
from tests.api.server import Api, settings_for

pytestmark = pytest.mark.gen_test(timeout=60)


@pytest.fixture
def api(io_loop: IOLoop, sqlite_url: str) -> Iterator[Api]:
    database = Database(sqlite_url)
    database.write_sync(accounts.create_user, "chennanfei")
    token = database.write_sync(accounts.create_token, "chennanfei", "test")
    opened = Api(database.for_clients(), settings_for(sqlite_url), token)
    yield opened
    io_loop.run_sync(opened.close)
    database.close()


@pytest.fixture
def lock(sqlite_url: str) -> Iterator[sqlite3.Connection]:
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    yield holder
    holder.close()


@contextlib.contextmanager
def busy_readers(api: Api) -> Iterator[None]:
    """While all threads that read for clients have something else to do."""
    gate = threading.Event()
    others = [asyncio.ensure_future(api.services.database.read(gate.wait, 30)) for _ in range(8)]
    try:
        yield
    finally:
        gate.set()
    assert others


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def test_triggers_behind_a_lock_are_503_and_never_done(
    api: Api, lock: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "MAX_WAIT", 2.0)
    monkeypatch.setattr(door, "PROBE_PATIENCE", 1.0)
    job = await api.job()
    assert (await api.call("GET", "/readyz")).status == 200
    lock.execute("BEGIN IMMEDIATE")
    triggers = [asyncio.ensure_future(api.call("POST", f"/v1/jobs/{job['id']}/execs")) for _ in range(8)]
    ready = await api.call("GET", "/readyz")
    assert (ready.status, ready.error["message"][:42]) == (503, "the database is locked by another program;")
    assert (await api.call("GET", f"/v1/jobs/{job['id']}")).status == 200
    assert [(await trigger).status for trigger in triggers] == [503] * 8
    lock.execute("ROLLBACK")
    assert (await api.call("POST", "/v1/jobs", {"name": "n", "docker_image_repo": "busybox"})).status == 201
    assert (await api.call("GET", f"/v1/execs?job={job['id']}")).json["count"] == 0
    assert api.engine.created == []


async def test_a_trigger_whose_client_went_away_while_it_waited_is_not_done(api: Api, lock: sqlite3.Connection) -> None:
    job = await api.job()
    body = json.dumps({"runtime_vars": {"N": "1"}}).encode()
    lock.execute("BEGIN IMMEDIATE")
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = (
        f"POST /v1/jobs/{job['id']}/execs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {api.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    await until(lambda: len(api.services.requests) == 1)
    writer.close()
    await until(lambda: len(api.services.requests) == 0)
    lock.execute("ROLLBACK")
    await api.exec(job["id"], runtime_vars={"N": "2"})
    found = (await api.call("GET", f"/v1/execs?job={job['id']}")).json["results"]
    assert [exec_["runtime_vars"]["N"] for exec_ in found] == ["2"]


async def test_a_scrape_gets_its_census_though_the_one_that_asked_first_went_away(api: Api) -> None:
    with busy_readers(api):
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: len(api.services.requests) == 1)
        second = asyncio.ensure_future(api.call("GET", "/metrics"))
        await until(lambda: len(api.services.requests) == 2)
        writer.close()
        await until(lambda: len(api.services.requests) == 1)
    assert b"jobd_database_up 1.0" in (await second).body


async def test_a_follower_gets_the_last_lines_though_the_one_that_came_first_went_away(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await api.job()
    path = f"/v1/jobs/{job['id']}/execs/{(await api.exec(job['id']))['id']}/logs?follow=1&tail=1"
    usual, busy = logs.Logs._last_lines, contextlib.ExitStack()

    async def behind_others(handler: logs.Logs, *args: Any) -> bytes:
        busy.enter_context(busy_readers(api))
        return await usual(handler, *args)

    monkeypatch.setattr(logs.Logs, "_last_lines", behind_others)
    with busy:
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {api.token}\r\n\r\n"
        writer.write(head.encode())
        await until(lambda: len(api.services.openings) == 1)
        reading = next(iter(api.services.openings.values()))
        writer.close()
        await until(lambda: len(api.services.requests) == 0)
    assert (await reading)[0] == b""
