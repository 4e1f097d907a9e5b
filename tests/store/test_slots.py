"""Due slots become execs: each once, missed ones by rule, overlapping ones by policy."""

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobd.store import jobs
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, Job
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, due_slots, transitions, waiting
from jobd.store.queue.due_slots import Fired, Rules
from tests.store.rows import REGION, make_exec, make_job

RULES = Rules(late_after=60, waiting_per_namespace=100_000)


def text(start: datetime, period: str = "PT1S", times: str = "") -> str:
    return f"R{times}/{start.isoformat()}/{period}"


def due(database: Database, caller: Caller, ago: float, period: str = "PT1S", times: str = "", **values: Any) -> Job:
    """A job whose schedule was set when its first slot came, `ago` seconds before now."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=ago)
    values = {"schedule_mode": text(start, period, times), "is_schedule_active": True, **values}
    job = make_job(database, caller, **values)
    database.write_sync(Job.update(next_fire_at=start).where(Job.id == job.id).execute)
    return job


def fire(database: Database, rules: Rules = RULES) -> Fired:
    return database.write_sync(due_slots.fire_due, rules)


def records(database: Database, status: str) -> list[Exec]:
    return database.read_sync(lambda: list(Exec.select().where(Exec.status == status).order_by(Exec.seq)))


def reread(database: Database, job: Job) -> Job:
    return database.read_sync(Job.get, Job.id == job.id)


def test_a_due_slot_becomes_a_waiting_exec_and_the_job_moves_on(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=1, period="PT1H")
    (row,) = fire(database).execs
    assert (row.status, row.trigger_mode, row.created_by) == ("W", "S", "chennanfei")
    assert row.scheduled_for == reread(database, job).next_fire_at - timedelta(hours=1)
    assert fire(database).execs == []


def test_late_slots_all_run(database: Database, caller: Caller) -> None:
    due(database, caller, ago=10)
    assert len(fire(database).execs) in (11, 12)


def test_a_finite_schedule_ends(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=5, times="2")
    assert len(fire(database).execs) == 2
    ended = reread(database, job)
    assert (ended.next_fire_at, ended.is_schedule_active) == (None, True)


@pytest.mark.parametrize(("policy", "run"), [("skip", 0), ("run_once", 1), ("run_all", 40)])
def test_missed_slots_follow_their_policy(database: Database, caller: Caller, policy: str, run: int) -> None:
    due(database, caller, ago=3600, times="40", missed_run_policy=policy)
    rows = fire(database).execs
    assert len(rows) == run
    unrun = records(database, "N")
    assert sum(row.missed_count for row in unrun) == 40 - run
    if policy == "run_once":
        (record,) = unrun
        assert rows[0].scheduled_for - record.missed_to == timedelta(seconds=1)
        assert (record.reason, record.scheduled_for) == ("missed", record.missed_from)
        assert record.missed_to - record.missed_from == timedelta(seconds=38)


@pytest.mark.parametrize("count", [1, 5, 100_000])
@pytest.mark.parametrize(("policy", "most"), [("skip", 0), ("run_once", 1), ("run_all", 1000)])
def test_a_daemon_that_was_away_counts_what_it_missed(
    database: Database, caller: Caller, policy: str, most: int, count: int
) -> None:
    job = due(database, caller, ago=count + 3600, times=str(count), missed_run_policy=policy)
    run = sorted(fire(database).execs, key=lambda row: row.scheduled_for)
    assert len(run) == min(most, count)
    first = datetime.fromisoformat(str(job.schedule_mode).split("/")[1])
    if run:
        newest = first + timedelta(seconds=count - 1)
        assert [row.scheduled_for for row in run] == [
            newest - timedelta(seconds=back) for back in reversed(range(len(run)))
        ]
    unrun = records(database, "N")
    if count <= most:
        assert unrun == []
        return
    (record,) = unrun
    assert record.missed_count == count - len(run)
    assert record.missed_from == first
    assert record.missed_to == first + timedelta(seconds=count - len(run) - 1)


def test_a_slot_past_its_starting_deadline_is_not_run(database: Database, caller: Caller) -> None:
    due(database, caller, ago=3600, times="40", missed_run_policy="run_all", starting_deadline=3580)
    rows = fire(database).execs
    assert len(rows) in (19, 20, 21)
    assert records(database, "N")[0].missed_count == 40 - len(rows)


def test_a_slot_that_waits_past_its_starting_deadline_is_not_run(database: Database, caller: Caller) -> None:
    due(database, caller, ago=0, period="PT1H", starting_deadline=30)
    (row,) = fire(database).execs
    overdue = row.scheduled_for - timedelta(seconds=1)
    database.write_sync(Exec.update(start_before=overdue).execute)
    assert database.write_sync(claims.claim, "a", REGION, 10, 10) == []
    database.write_sync(waiting.expire_slots)
    (record,) = records(database, "N")
    assert (record.reason, record.missed_count, record.missed_from) == ("missed", 1, row.scheduled_for)


def test_forbid_leaves_a_record_instead_of_a_second_run(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=0, period="PT1H", concurrency_policy="forbid")
    make_exec(database, caller, job)
    assert fire(database).execs == []
    (record,) = records(database, "N")
    assert (record.reason, record.missed_count) == ("overlap", 1)


def test_consecutive_overlaps_share_one_record(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=30, concurrency_policy="forbid")
    make_exec(database, caller, job)
    fire(database)
    first = reread(database, job).next_fire_at
    database.write_sync(Job.update(next_fire_at=first - timedelta(seconds=1)).execute)
    fire(database)
    (record,) = records(database, "N")
    assert record.missed_count >= 32
    assert record.missed_to > record.missed_from


def test_replace_stops_the_live_one_and_queues_the_newest(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=0, period="PT1H", concurrency_policy="replace")
    make_exec(database, caller, job)
    (live,) = database.write_sync(claims.claim, "a", REGION, 10, 10)
    (row,) = fire(database).execs
    (asked,) = database.read_sync(claims.stops_requested, "a")
    assert (asked.id, asked.stop_reason) == (live.id, "replaced")
    assert database.write_sync(claims.claim, "a", REGION, 10, 10) == []
    database.write_sync(transitions.end, live, transitions.Result("C", "replaced"), None)
    assert [r.id for r in database.write_sync(claims.claim, "a", REGION, 10, 10)] == [row.id]


def test_a_full_namespace_gets_records_instead_of_execs(database: Database, caller: Caller) -> None:
    due(database, caller, ago=10)
    rows = fire(database, Rules(late_after=60, waiting_per_namespace=3)).execs
    assert len(rows) == 3
    assert sum(row.missed_count for row in records(database, "N")) >= 8


def test_a_schedule_that_raises_stops_itself_and_nothing_else(database: Database, caller: Caller) -> None:
    broken, sound = due(database, caller, ago=1), due(database, caller, ago=1, times="1")
    database.write_sync(Job.update(schedule_mode="R/nonsense").where(Job.id == broken.id).execute)
    (row,) = fire(database).execs
    assert row.job_id == sound.id
    stopped = reread(database, broken)
    assert stopped.next_fire_at is None
    assert stopped.schedule_error
    assert stopped.is_schedule_active


def test_a_stored_schedule_that_is_refused_now_stops_itself_and_says_why(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=1)
    mode = "R/P1D/2026-12-24T00:00:00Z"
    database.write_sync(Job.update(schedule_mode=mode, schedule_anchor=None).where(Job.id == job.id).execute)
    assert fire(database).execs == []
    stopped = reread(database, job)
    assert stopped.next_fire_at is None
    assert "number of runs 'R'" in stopped.schedule_error
    renamed = database.write_sync(jobs.update, caller, job.id, {"name": "other"})
    assert renamed.schedule_error == stopped.schedule_error
    database.write_sync(jobs.update, caller, job.id, {"schedule_mode": "R3/P1D/2999-12-24T00:00:00Z"})
    assert reread(database, job).schedule_error is None


def test_a_deleted_job_fires_nothing(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=1)
    database.write_sync(Job.update(deleted_at=job.created_at).execute)
    assert fire(database).execs == []


def test_more_due_jobs_than_a_batch_are_told_of(database: Database, caller: Caller) -> None:
    for _ in range(3):
        due(database, caller, ago=1, times="1")
    small = Rules(late_after=60, waiting_per_namespace=100, batch=2)
    assert [fire(database, small).more for _ in range(2)] == [True, False]
    assert len(records(database, "W")) == 3


def test_every_slot_fires_once_whoever_scans(database: Database, caller: Caller) -> None:
    for _ in range(30):
        due(database, caller, ago=5, times="3")
    small = Rules(late_after=60, waiting_per_namespace=100_000, batch=4)

    def work() -> None:
        for _ in range(12):
            fire(database, small)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fired = Counter((row.job_id, row.scheduled_for) for row in records(database, "W"))
    assert len(fired) == 90
    assert set(fired.values()) == {1}


def test_slots_before_the_schedule_was_switched_on_count_but_do_not_fire(database: Database, caller: Caller) -> None:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=90)
    job = make_job(database, caller, schedule_mode=text(start, "PT1M", "3"), is_schedule_active=True)
    assert job.next_fire_at == start + timedelta(minutes=2)


def test_a_form_without_a_start_fires_when_it_is_switched_on(database: Database, caller: Caller) -> None:
    job = make_job(database, caller, schedule_mode="R2/PT1H", is_schedule_active=False)
    assert job.next_fire_at is None
    on = database.write_sync(jobs.update, caller, job.id, {"is_schedule_active": True})
    assert on.next_fire_at == on.schedule_anchor == on.updated_at
    assert len(fire(database).execs) == 1
    assert reread(database, job).next_fire_at == on.schedule_anchor + timedelta(hours=1)


def test_an_edit_of_something_else_moves_no_slot(database: Database, caller: Caller) -> None:
    job = make_job(database, caller, schedule_mode="R/PT1H", is_schedule_active=True)
    changed = database.write_sync(jobs.update, caller, job.id, {"name": "other"})
    assert (changed.schedule_anchor, changed.next_fire_at) == (job.schedule_anchor, job.next_fire_at)


def test_a_scan_says_how_long_until_the_next_slot(database: Database, caller: Caller) -> None:
    assert fire(database).next_in is None
    make_job(database, caller, schedule_mode="R/PT1H", is_schedule_active=True)
    fire(database)
    next_in = fire(database).next_in
    assert next_in is not None
    assert 3590 < next_in <= 3600


def test_a_slot_that_comes_due_again_fires_no_second_time_and_stops_no_other(
    database: Database, caller: Caller
) -> None:
    """The clock was set back, and the schedule was switched on again meanwhile."""
    job = due(database, caller, ago=1, period="PT1H")
    (row,) = fire(database).execs
    database.write_sync(Job.update(next_fire_at=row.scheduled_for).where(Job.id == job.id).execute)
    due(database, caller, ago=1, period="PT1H")
    (other,) = fire(database).execs
    assert other.job_id != job.id
    assert reread(database, job).next_fire_at > row.scheduled_for


def test_a_schedule_that_fails_in_an_unforeseen_way_stops_itself_alone(database: Database, caller: Caller) -> None:
    job = due(database, caller, ago=3600, period="PT1S")
    database.write_sync(Job.update(missed_run_policy="as in a later version").where(Job.id == job.id).execute)
    due(database, caller, ago=1, period="PT1H")
    assert len(fire(database).execs) == 1
    stopped = reread(database, job)
    assert (stopped.next_fire_at, bool(stopped.schedule_error)) == (None, True)
