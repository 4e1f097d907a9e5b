"""Writes of a kind that come while another is under way go together, and none pays for what is wrong with another."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from jobd.errors import ServiceUnavailable
from jobd.executor import Handle, LogChunk
from jobd.keyring import Keyring
from jobd.output import run_log
from jobd.output.run_log import StoredLog
from jobd.store.db.batching import Batching
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, ExecLog
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, transitions
from jobd.store.queue.transitions import Result, Transitions
from tests.store.rows import REGION, make_exec, make_hook, make_job, outbox_rows, read

pytestmark = pytest.mark.gen_test(timeout=30)

COUNT = 12
TOGETHER = (transitions.set_handles, transitions.set_all_running, transitions.end_all_without_subscribers)


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """SQLite commits writes together in its own way."""
    return postgres_url


@pytest.fixture
def together(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many went together, each time that some did."""
    sizes: list[int] = []
    original = database.write_sync

    def spied(fn: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(fn, "__wrapped__", fn) in TOGETHER:
            sizes.append(len(args[0]))
        return original(fn, *args, **kwargs)

    monkeypatch.setattr(database, "write_sync", spied)
    return sizes


def claimed(database: Database, caller: Caller, count: int = COUNT, **values: Any) -> list[Exec]:
    job = make_job(database, caller, **values)
    for _ in range(count):
        make_exec(database, caller, job)
    return database.write_sync(claims.claim, "one", REGION, 1000, 1000)


def steps(database: Database) -> Transitions:
    return Transitions(database, Keyring(Path("unused")))


async def each(step: Callable[..., Awaitable[bool]], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
    return await asyncio.gather(*(step(*call) for call in calls), return_exceptions=True)


def output(text: str) -> StoredLog:
    return run_log.keep([LogChunk(datetime.now(UTC), "stdout", text.encode())], 1_000_000)


async def test_a_whole_life_goes_together(database: Database, caller: Caller, together: list[int]) -> None:
    rows = claimed(database, caller)
    assert (
        await each(steps(database).set_handle, ((row, Handle(row.id, "sha256:1"), {}) for row in rows))
        == [True] * COUNT
    )
    assert await each(steps(database).set_running, ((row, None) for row in rows)) == [True] * COUNT
    ends = [(row, Result("S", exit_code=0), output(f"输出 {row.id}\n")) for row in rows]
    assert await each(steps(database).end, ends) == [True] * COUNT
    assert together == [COUNT - 1] * 3
    for row in rows:
        stored = read(database, row)
        assert stored.__data__ == row.__data__
        assert (stored.status, stored.handle, stored.image_digest, stored.owner) == ("S", row.id, "sha256:1", None)
        assert stored.created_at <= stored.started_at <= stored.ended_at
        frames = database.read_sync(lambda seq=row.seq: bytes(ExecLog.get(ExecLog.exec_seq == seq).frames))
        assert run_log.as_text(run_log.decode(frames)) == f"输出 {row.id}\n".encode()
        assert stored.log_bytes == len(f"输出 {row.id}\n".encode())


async def running(database: Database, caller: Caller, **values: Any) -> list[Exec]:
    rows = claimed(database, caller, **values)
    await each(steps(database).set_running, ((row, None) for row in rows))
    return rows


SUCCESS = Result("S", exit_code=0)


async def test_who_is_fenced_out_is_told_so_and_the_others_go_on(database: Database, caller: Caller) -> None:
    rows = claimed(database, caller)
    database.write_sync(Exec.update(term=Exec.term + 1).where(Exec.seq == rows[5].seq).execute)
    database.write_sync(Exec.update(owner="two").where(Exec.seq == rows[7].seq).execute)
    moved = await each(steps(database).set_running, ((row, None) for row in rows))
    assert [n for n, is_moved in enumerate(moved) if not is_moved] == [5, 7]
    assert [row.status for row in rows].count("R") == COUNT - 2


async def test_what_cannot_be_stored_of_one_is_that_ones_fault(database: Database, caller: Caller) -> None:
    rows = await running(database, caller)
    ends = [(row, Result("F", "exit_code", exit_code=2**40 if row is rows[4] else 3), None) for row in rows]
    ended = await each(steps(database).end, ends)
    assert isinstance(ended[4], Exception)
    assert [ended[n] for n in range(COUNT) if n != 4] == [True] * (COUNT - 1)
    assert [read(database, row).status for row in rows].count("F") == COUNT - 1


async def test_whoever_waits_for_an_end_is_told(database: Database, caller: Caller, together: list[int]) -> None:
    rows = await running(database, caller)
    watched = await running(database, caller, name="watched")
    make_hook(database, caller, watched[0].job_id)
    assert await each(steps(database).end, ((row, SUCCESS, None) for row in [*rows, *watched])) == [True] * 2 * COUNT
    assert max(together) == 2 * COUNT - 1
    assert {row.exec_id for row in outbox_rows(database)} == {row.id for row in watched}


async def test_a_failure_is_followed_by_its_retry(database: Database, caller: Caller) -> None:
    rows = await running(database, caller, max_retries=1)
    ends = ((row, Result("F", "exit_code", exit_code=3), None) for row in rows)
    assert await each(steps(database).end, ends) == [True] * COUNT
    retries = database.read_sync(lambda: [row.retry_of for row in Exec.select().where(Exec.attempt == 2)])
    assert sorted(retries) == sorted(row.id for row in rows)


async def test_a_row_that_another_keeps_holds_up_no_other(
    database: Database, database_url: str, caller: Caller
) -> None:
    rows = await running(database, caller)
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM execs WHERE seq = %s FOR UPDATE", (rows[3].seq,))
        ends = asyncio.ensure_future(each(steps(database).end, ((row, SUCCESS, None) for row in rows)))
        while sum(row.status == "S" for row in rows) < COUNT - 1:
            await asyncio.sleep(0.01)
        assert (rows[3].status, ends.done()) == ("R", False)
        connection.rollback()
    assert await ends == [True] * COUNT


async def test_much_output_goes_alone(database: Database, caller: Caller) -> None:
    rows = await running(database, caller)
    much = run_log.keep([LogChunk(datetime.now(UTC), "stdout", os.urandom(200_000))], 1_000_000)
    ends = [(row, SUCCESS, much if row is rows[2] else output("x\n")) for row in rows]
    assert database.write_sync(transitions.end_all_without_subscribers, ends) == [row is not rows[2] for row in rows]
    assert await steps(database).end(*ends[2])
    assert database.read_sync(ExecLog.select().count) == COUNT


async def test_one_that_is_slow_holds_up_no_other() -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    async def alone(number: int) -> bool:
        if number == 0:
            await gate.wait()
        return True

    async def together(calls: list[tuple[Any, ...]]) -> list[bool]:
        if (5,) in calls:
            begun.set()
            await gate.wait()
        return [True] * len(calls)

    batching = Batching(alone, together)
    slow = [asyncio.ensure_future(batching.write(0))]
    assert await asyncio.gather(*(batching.write(number) for number in (1, 2, 3))) == [True] * 3
    slow += [asyncio.ensure_future(batching.write(number)) for number in (0, 5, 6)]
    await begun.wait()
    assert await batching.write(7) is True
    assert not any(write.done() for write in slow)
    gate.set()
    assert await asyncio.gather(*slow) == [True] * 4


async def test_a_lost_answer_is_no_answer_for_all_that_went_together() -> None:
    gate, done = asyncio.Event(), []

    async def alone(number: int) -> bool:
        await gate.wait()
        done.append(number)
        return True

    async def together(calls: list[tuple[Any, ...]]) -> list[bool]:
        raise ServiceUnavailable("the database is away")

    batching = Batching(alone, together)
    writes = [asyncio.ensure_future(batching.write(number)) for number in range(4)]
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert (answers[0], done) == (True, [0])
    assert [type(answer) for answer in answers[1:]] == [ServiceUnavailable] * 3
    assert await batching.write(9) is True


async def test_who_does_not_wait_any_longer_disturbs_nobody() -> None:
    gate = asyncio.Event()

    async def alone(number: int) -> bool:
        await gate.wait()
        return True

    async def together(calls: list[tuple[Any, ...]]) -> list[bool]:
        return [number % 2 == 0 for (number,) in calls]

    batching = Batching(alone, together)
    writes = [asyncio.ensure_future(batching.write(number)) for number in range(6)]
    await asyncio.sleep(0)
    for number in (0, 3, 4):
        writes[number].cancel()
    gate.set()
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [number for number, answer in enumerate(answers) if answer is True] == [1, 2, 5]
    assert await batching.write(9) is True
