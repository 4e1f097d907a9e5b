"""The scheduler of a running engine: what comes due fires, once, and starting runs gives way to it."""

import asyncio
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest

from jobd.engine import dispatcher, scheduler
from jobd.errors import ServiceUnavailable
from jobd.store.db.clock import now
from jobd.store.db.database import Database
from jobd.store.db.one_statement import OneStatement
from jobd.store.db.tables import Exec, Job
from jobd.store.queue import armed_slots
from tests.engine.conftest import Bench

pytestmark = pytest.mark.gen_test(timeout=30)

JOBS = 40
APART = timedelta(milliseconds=25)


async def coming(bench: Bench) -> dict[int, datetime]:
    """Jobs whose one slot each comes soon, one after the other; when."""
    first = await bench.database.read(now) + timedelta(milliseconds=300)
    wanted = {}
    for number in range(JOBS):
        at = first + number * APART
        job = bench.job(schedule_mode=f"R1/{at.isoformat()}/PT1H", is_schedule_active=True)
        wanted[job.id] = at
    return wanted


async def fired(database: Database) -> list[tuple[int, datetime]]:
    rows = await database.read(lambda: list(Exec.select().order_by(Exec.seq)))
    return [(row.job_id, row.scheduled_for) for row in rows]


@pytest.fixture
def by_arming(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the execs that were made of armed slots."""
    ids: list[str] = []
    original = armed_slots.fire_armed

    def spied(*args: Any) -> Any:
        answer = original(*args)
        ids.extend(row.id for row in answer.execs)
        return answer

    monkeypatch.setattr(scheduler, "FIRE_ARMED", OneStatement(spied))
    return ids


async def test_slots_that_come_soon_are_armed_and_fire_once(bench: Bench, by_arming: list[str]) -> None:
    await bench.engine(bench.executor())
    wanted = await coming(bench)
    await bench.eventually(lambda: _are(fired(bench.database), len(wanted)))
    assert dict(await fired(bench.database)) == wanted
    assert bool(by_arming) is not bench.database.is_sqlite


async def test_slots_fire_though_none_can_be_armed(
    bench: Bench, by_arming: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> Any:
        raise ServiceUnavailable("the database is away")

    monkeypatch.setattr(armed_slots, "look_ahead", fails)
    monkeypatch.setattr(scheduler, "count_quota", _failing_beside_scans(scheduler.count_quota))
    await bench.engine(bench.executor())
    wanted = await coming(bench)
    await bench.eventually(lambda: _are(fired(bench.database), len(wanted)))
    assert (dict(await fired(bench.database)), by_arming) == (wanted, [])


async def test_few_are_launched_while_slots_fire_late(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    monkeypatch.setattr(engine._dispatcher, "_fires_late", lambda: True)
    most = 0

    def create(spec: Any) -> Any:
        nonlocal most
        most = max(most, engine._dispatcher.launching("BEIJING1"))
        return type(executor).create(executor, spec)

    monkeypatch.setattr(executor, "create", create)
    rows = await asyncio.gather(*(bench.trigger(engine, bench.job()) for _ in range(24)))
    await bench.eventually(lambda: engine._dispatcher.launching("BEIJING1") == 0)
    for row in rows:
        await bench.until(row, "R", "S")
    assert most == 4


async def test_launches_that_hang_keep_nobody_from_starting_while_slots_fire_late(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "YOUNG", 0.05)
    executor = bench.executor()
    engine = await bench.engine(executor)
    monkeypatch.setattr(engine._dispatcher, "_fires_late", lambda: True)
    release, hung = threading.Event(), []

    def create(spec: Any) -> Any:
        if len(hung) < 3:
            hung.append(spec.exec_id)
            release.wait(20)
        return type(executor).create(executor, spec)

    monkeypatch.setattr(executor, "create", create)
    rows = [await bench.trigger(engine, bench.job()) for _ in range(8)]
    await bench.eventually(lambda: len(hung) == 3)
    try:
        for row in rows:
            if row.id not in hung:
                await bench.until(row, "R", "S")
    finally:
        release.set()


async def test_what_is_armed_does_not_outlive_its_instant(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    wanted = await coming(bench)
    await bench.eventually(lambda: _are(fired(bench.database), len(wanted)))
    await bench.eventually(lambda: engine._scheduler._armed.first is None)


async def test_a_scheduler_that_is_stopped_fires_nothing_more(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    wanted = await coming(bench)
    await bench.eventually(lambda: _are(fired(bench.database), len(wanted) // 4))
    await engine._scheduler.stop()
    before = await fired(bench.database)
    await asyncio.sleep(10 * APART.total_seconds())
    assert await fired(bench.database) == before
    assert len(before) < len(wanted)


def _failing_beside_scans(original: Any) -> Any:
    """Fails where it is called outside of a scan's transaction."""

    def called(limit: int) -> Any:
        if Job._meta.database.in_transaction():
            return original(limit)
        raise ServiceUnavailable("the database is away")

    return called


async def _are(found: Any, count: int) -> bool:
    return len(await found) >= count
