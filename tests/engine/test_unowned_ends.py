"""Ends of execs that nobody owned: plugins are told of each once, after its commit."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobd.errors import NotFound
from jobd.hookspecs import hookimpl
from jobd.store import deletion, execs
from jobd.store.db.tables import Exec
from jobd.store.queue import waiting
from tests.engine.conftest import Bench

pytestmark = pytest.mark.gen_test(timeout=30)

AGO = timedelta(hours=1)


class Watcher:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str | None, str]] = []

    @hookimpl
    def jobd_exec_ended(self, exec: Any, job: Any) -> None:
        self.seen.append((exec.id, exec.status, exec.reason, job.name))


@pytest.fixture
def watcher(bench: Bench) -> Watcher:
    watcher = Watcher()
    bench.plugins.register(watcher)
    return watcher


async def waiting_exec(bench: Bench) -> tuple[Any, Exec]:
    """One that nobody can take: its region is down."""
    bench.world.down = True
    engine = await bench.engine(bench.executor())
    return engine, await bench.trigger(engine)


async def told_of(bench: Bench, watcher: Watcher, *expected: tuple[str, str, str | None, str]) -> None:
    await bench.eventually(lambda: len(watcher.seen) >= len(expected), "the hook")
    assert sorted(watcher.seen) == sorted(expected)


async def test_one_that_is_cancelled_while_it_waits(bench: Bench, watcher: Watcher) -> None:
    engine, row = await waiting_exec(bench)
    await bench.stop_exec(engine, row)
    await told_of(bench, watcher, (row.id, "C", "cancelled", "test"))


async def test_one_that_waited_for_too_long(bench: Bench, watcher: Watcher) -> None:
    _, row = await waiting_exec(bench)
    older = Exec.update(created_at=datetime.now(UTC) - AGO).where(Exec.seq == row.seq)
    await bench.database.write(older.execute)
    await bench.database.write(waiting.fail_overdue, 60.0)
    await told_of(bench, watcher, (row.id, "F", "region_unavailable", "test"))


async def test_one_whose_slot_is_not_worth_starting_any_more(bench: Bench, watcher: Watcher) -> None:
    _, row = await waiting_exec(bench)
    late = Exec.update(start_before=datetime.now(UTC) - AGO, scheduled_for=row.created_at).where(Exec.seq == row.seq)
    await bench.database.write(late.execute)
    await bench.database.write(waiting.expire_slots)
    await told_of(bench, watcher, (row.id, "N", "missed", "test"))


async def test_one_that_is_replaced_while_it_waits(bench: Bench, watcher: Watcher) -> None:
    _, row = await waiting_exec(bench)
    await bench.database.write(execs.request_stop, Exec.seq == row.seq, "jobd", "replaced")
    await told_of(bench, watcher, (row.id, "C", "replaced", "test"))


async def test_one_that_is_deleted_while_it_waits(bench: Bench, watcher: Watcher) -> None:
    _, row = await waiting_exec(bench)
    await bench.database.write(deletion.delete_exec, bench.caller, row.job_id, row.id)
    await told_of(bench, watcher, (row.id, "C", "cancelled", "test"))


async def test_one_that_is_ended_by_force(bench: Bench, watcher: Watcher) -> None:
    engine = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(engine), "R")
    bench.world.down = True
    await bench.database.write(execs.force_end, bench.caller, row.job_id, row.id)
    await told_of(bench, watcher, (row.id, "F", "lost", "test"))


async def test_a_change_that_is_undone_tells_nobody(bench: Bench, watcher: Watcher) -> None:
    engine, row = await waiting_exec(bench)

    def stopped_and_undone() -> None:
        execs.stop(bench.caller, row.job_id, row.id)
        raise NotFound("undone")

    with pytest.raises(NotFound):
        await bench.database.write(stopped_and_undone)
    await bench.stop_exec(engine, row)
    await told_of(bench, watcher, (row.id, "C", "cancelled", "test"))


async def test_an_overdue_exec_that_is_lost_is_retried_where_its_job_says_so(bench: Bench) -> None:
    """It had a handle, so that it may have been started; nobody serves its region any more."""
    for retry_on, count in ((None, 0), ({"reasons": ["lost"]}, 1)):
        job = bench.job(max_retries=1, retry_on=retry_on)
        row = await bench.database.write(execs.create, bench.caller, job.id, {}, 1000)
        left = Exec.update(created_at=datetime.now(UTC) - AGO, handle="h", owner="gone").where(Exec.seq == row.seq)
        await bench.database.write(left.execute)
        await bench.database.write(waiting.fail_overdue, 60.0)
        ended = await bench.until(row, "F")
        retries = await bench.database.read(lambda row=row: Exec.select().where(Exec.retry_of == row.id).count())
        assert (ended.reason, retries) == ("lost", count)
