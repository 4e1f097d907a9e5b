"""What is counted of the database, and what its transactions count."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobd.store import census, daemons, execs
from jobd.store.db.database import Database, count
from jobd.store.db.tables import Exec, Job
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, transitions, waiting
from tests.store.rows import REGION, make_exec, make_job
from tests.store.test_slots import due, fire


def value(database: Database, name: str, **labels: Any) -> float:
    return database.metrics.registry.get_sample_value(name, labels) or 0.0


def test_an_empty_database_has_nothing(database: Database) -> None:
    taken = database.read_sync(census.take, 15.0)
    assert (taken.execs, taken.oldest_ready, taken.next_slot, taken.daemons) == ({}, {}, None, 0)


def test_live_execs_are_counted_by_region_and_state(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    rows = [make_exec(database, caller, job) for _ in range(3)]
    database.write_sync(claims.claim, "one", REGION, 1, 1)
    claimed = database.read_sync(Exec.get, Exec.owner == "one")
    database.write_sync(transitions.set_running, claimed, None)
    database.write_sync(daemons.register, "one", "here", 1, [REGION])
    taken = database.read_sync(census.take, 15.0)
    assert taken.execs == {(REGION, "waiting"): 2, (REGION, "running"): 1}
    assert taken.daemons == 1
    waiting = min(row.created_at for row in rows if row.id != claimed.id)
    assert taken.oldest_ready == {REGION: pytest.approx(waiting.timestamp())}


def test_an_exec_that_is_not_ready_has_waited_for_nothing(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    later = datetime.now(UTC) + timedelta(hours=1)
    database.write_sync(Exec.update(not_before=later, trigger_mode="R").where(Exec.id == row.id).execute)
    assert database.read_sync(census.take, 15.0).oldest_ready == {}
    since = datetime.now(UTC) - timedelta(minutes=1)
    database.write_sync(Exec.update(not_before=since).where(Exec.id == row.id).execute)
    assert database.read_sync(census.take, 15.0).oldest_ready == {REGION: pytest.approx(since.timestamp())}


def test_an_overdue_slot_is_seen(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=300)
    at = database.read_sync(Job.get, Job.id == job.id).next_fire_at
    assert database.read_sync(census.take, 15.0).next_slot == pytest.approx(at.timestamp())


def test_slots_are_counted_by_what_became_of_them(database: Database, caller: Caller) -> None:
    due(database, caller, ago=3600, period="PT10M", missed_run_policy="skip")
    due(database, caller, ago=1, period="PT1H")
    assert len(fire(database).execs) == 2
    assert value(database, "jobd_schedule_slots_total", outcome="fired") == 2
    assert value(database, "jobd_schedule_slots_total", outcome="missed") == 6
    assert value(database, "jobd_schedule_lateness_seconds_count") == 2
    assert value(database, "jobd_execs_created_total", region=REGION, trigger="schedule") == 2


def test_an_overlap_is_counted(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=1, period="PT1H", concurrency_policy="forbid")
    make_exec(database, caller, job)
    assert fire(database).execs == []
    assert value(database, "jobd_schedule_slots_total", outcome="overlap") == 1


def test_a_schedule_that_raises_is_counted(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=1)
    database.write_sync(Job.update(schedule_mode="nonsense").where(Job.id == job.id).execute)
    fire(database)
    assert value(database, "jobd_schedule_errors_total") == 1


def test_what_is_rolled_back_is_not_counted(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)

    def create_and_fail() -> None:
        execs.create(caller, job.id, {}, 100)
        count(lambda metrics: metrics.schedule_errors.inc())
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        database.write_sync(create_and_fail)
    make_exec(database, caller, job)
    assert value(database, "jobd_execs_created_total", region=REGION, trigger="manual") == 1
    assert value(database, "jobd_schedule_errors_total") == 0


def test_an_exec_that_waited_too_long_is_counted_as_not_run(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    past = datetime.now(UTC) - timedelta(minutes=1)
    changes = {"start_before": past, "scheduled_for": past, "trigger_mode": "S"}
    database.write_sync(Exec.update(**changes).where(Exec.id == row.id).execute)
    database.write_sync(waiting.expire_slots)
    assert value(database, "jobd_execs_ended_total", region=REGION, status="not_run", reason="missed") == 1


def test_an_exec_that_is_overdue_is_counted_as_failed(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    past = datetime.now(UTC) - timedelta(days=2)
    database.write_sync(Exec.update(created_at=past).where(Exec.id == row.id).execute)
    database.write_sync(waiting.fail_overdue, 86400)
    assert value(database, "jobd_execs_ended_total", region=REGION, status="failed", reason="region_unavailable") == 1


def test_a_database_that_is_away_is_counted_and_every_call_is_timed() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    try:
        with pytest.raises(Exception, match="cannot be reached"):
            database.read_sync(Job.get)
        assert value(database, "jobd_database_errors_total", kind="read") == 1
        assert value(database, "jobd_database_operation_duration_seconds_count", kind="read") == 1
    finally:
        database.close()
