"""Callers take turns: what one sends much of makes nobody else wait long, and is given up when its client goes away."""

import asyncio
import logging
import threading
from typing import Any

import pytest

from jobd.errors import ServiceUnavailable, TooManyRequests
from jobd.store.db.database import Database
from jobd.store.db.deadlines import Departure, departure
from jobd.web.fair_turns import FairTurns
from tests.api.server import JOB, Api

pytestmark = pytest.mark.gen_test(timeout=30)

SCHEDULED = {**JOB, "is_schedule_active": True, "schedule_mode": "0 0 * * *"}
SLOTS = {"schedule_mode": "0 0 * * *"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def passed(turns: FairTurns, who: str, order: list[str]) -> None:
    async with turns.turn(who):
        order.append(who)
        await asyncio.sleep(0)


async def waits(turns: FairTurns, who: str) -> None:
    """Returns when something of `who` waits for its turn."""
    while who not in turns._waiting:
        await asyncio.sleep(0.01)


async def waiting(turns: FairTurns, callers: list[str], order: list[str]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(passed(turns, who, order)) for who in callers]
    await asyncio.sleep(0)
    return tasks


async def test_callers_take_turns_however_much_each_asks_for() -> None:
    turns, order = FairTurns(1), []
    async with turns.turn("first"):
        tasks = await waiting(turns, ["a", "a", "a", "b", "c", "b"], order)
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c", "a", "b", "a"]


async def test_whoever_has_most_waiting_is_refused_for_one_that_is_too_many() -> None:
    turns, order = FairTurns(1, 3), []
    async with turns.turn("first"):
        tasks = await waiting(turns, ["a", "a", "a", "b", "c"], order)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a", "b", "c"]
    assert [type(result) for result in results[1:3]] == [TooManyRequests] * 2


async def test_a_turn_is_passed_on_by_whoever_is_cancelled_before_or_after_it_came() -> None:
    turns, order = FairTurns(1), []
    async with turns.turn("first"):
        before, after, last = await waiting(turns, ["a", "b", "c"], order)
        before.cancel()
    after.cancel()  # its turn has come, and it does not know yet
    await asyncio.gather(before, after, last, return_exceptions=True)
    assert order == ["c"]
    await asyncio.wait_for(passed(turns, "d", order), 5)


async def test_what_waits_is_given_up_when_its_client_goes_away() -> None:
    turns, order, leaving = FairTurns(1), [], Departure()
    async with turns.turn("first"):
        departure.set(leaving)
        (gone,) = await waiting(turns, ["a"], order)
        departure.set(None)
        leaving.leave()
        with pytest.raises(ServiceUnavailable):
            await gone
    assert order == []
    await asyncio.wait_for(passed(turns, "b", order), 5)


@pytest.mark.parametrize(
    ("name", "method", "path", "body", "status"),
    [
        ("bodies", "POST", "/v1/jobs", SCHEDULED, 201),
        ("schedules", "POST", "/v1/schedule/preview", SLOTS, 200),
    ],
)
async def test_one_tenant_s_flood_does_not_get_another_tenant_refused(
    api: Api, stranger: str, name: str, method: str, path: str, body: dict[str, Any], status: int
) -> None:
    work, go_on = getattr(api.services, name), threading.Event()
    blocked = asyncio.ensure_future(work.call("user chennanfei", go_on.wait))
    flood = [asyncio.ensure_future(work.call("user chennanfei", int)) for _ in range(150)]
    await asyncio.sleep(0)
    answer = asyncio.ensure_future(api.call(method, path, body, token=stranger))
    try:
        await waits(work._turns, "user stranger")
    finally:
        go_on.set()
    assert (await answer).status == status
    await asyncio.gather(blocked, *flood, return_exceptions=True)


async def test_a_tenant_s_list_waits_for_one_turn_of_another_s_not_for_all(api: Api, stranger: str) -> None:
    turns, may_end = api.services.lists, asyncio.Semaphore(0)

    async def hold() -> None:
        async with turns.turn("user chennanfei"):
            await may_end.acquire()

    flood = [asyncio.create_task(hold()) for _ in range(200)]
    answer = asyncio.create_task(api.call("GET", "/v1/jobs", token=stranger))
    await waits(turns, "user stranger")
    for _ in range(2):
        may_end.release()
    assert (await answer).status == 200
    for _ in flood:
        may_end.release()
    await asyncio.gather(*flood)


async def test_a_list_whose_client_goes_away_before_its_turn_is_not_read_and_no_error(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    turns, may_end = api.services.lists, asyncio.Event()

    async def hold() -> None:
        async with turns.turn("user stranger"):
            await may_end.wait()

    holding = [asyncio.create_task(hold()) for _ in range(4)]
    await asyncio.sleep(0)
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    with caplog.at_level(logging.INFO, "jobd"):
        writer.write(f"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token {api.token}\r\n\r\n".encode())
        await waits(turns, "user chennanfei")
        writer.transport.abort()
        while turns._waiting:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
    may_end.set()
    await asyncio.gather(*holding)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_client_that_goes_away_in_the_middle_of_a_page_is_no_error(
    api: Api, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(60):
        await api.job(runtime_vars={"A": "x" * 120_000})
    caplog.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = f"GET /v1/jobs?page_size=60 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token {api.token}\r\n\r\n"
    with caplog.at_level(logging.INFO, "jobd"):
        writer.write(head.encode())
        await reader.readexactly(100)
        writer.transport.abort()
        while not any(record.name == "jobd.access" for record in caplog.records):
            await asyncio.sleep(0.01)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
