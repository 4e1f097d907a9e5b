"""Schedules after a clock that was ahead: they go on at once, and no slot runs twice or is missed for it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobd.store import deletion, jobs
from jobd.store.db.clock import now
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, Job
from jobd.store.people.accounts import Caller
from jobd.store.queue import due_slots, rearming
from jobd.store.queue.due_slots import Rules
from jobd.store.queue.rearming import Rearmed
from tests.store.rows import make_exec, make_job

RULES = Rules(late_after=60, waiting_per_namespace=100_000)
HOUR = timedelta(hours=1)
NOTHING = timedelta()


def scheduled(database: Database, caller: Caller, mode: str, **values: Any) -> Job:
    return make_job(database, caller, schedule_mode=mode, is_schedule_active=True, **values)


def every_minute(database: Database, caller: Caller, **values: Any) -> Job:
    """A job with a slot at each whole minute."""
    return scheduled(database, caller, "R/2026-01-01T00:00:00Z/PT1M", **values)


def put(database: Database, job: Job, **columns: Any) -> None:
    database.write_sync(Job.update(**columns).where(Job.id == job.id).execute)


def reread(database: Database, job: Job) -> Job:
    return database.read_sync(Job.get, Job.id == job.id)


def armed_anew(database: Database, since: datetime | None = None, back: timedelta = NOTHING) -> Rearmed:
    """What the engine does, batch after batch."""
    jobs_changed, ahead = 0, []
    next_job: int | None = 0
    while next_job is not None:
        late = database.read_sync(rearming.armed_too_late, next_job, since or database.read_sync(now), back)
        next_job = late.next_job
        if late.schedules:
            rearmed = database.write_sync(rearming.rearm, late.schedules)
            jobs_changed, ahead = jobs_changed + rearmed.jobs, ahead + rearmed.ahead
    return Rearmed(jobs_changed, ahead)


def fired_by(database: Database, job: Job, at: datetime, **columns: Any) -> None:
    """A slot of the job that has run."""
    values = {**due_slots.execs.fresh(job.id, "S", job.created_by, at), **due_slots.execs.snapshot(job), **columns}
    database.write_sync(Exec.create, **{"status": "S", "scheduled_for": at, "ended_at": at, **values})


def run_at(database: Database, job: Job, at: datetime) -> list[datetime]:
    """Which slots of the job make execs when the clock shows `at`: as then, its rows moved instead of the clock."""
    back = at - database.read_sync(now)
    found = reread(database, job)
    moved = {
        name: value - back for name in ("next_fire_at", "decided_until") if (value := getattr(found, name)) is not None
    }
    start = datetime(2026, 1, 1, tzinfo=UTC) - back
    put(database, job, schedule_mode=f"R/{start.isoformat()}/PT1M", **moved)
    micros = back // timedelta(microseconds=1)
    of_slots = {name: getattr(Exec, name) - micros for name in ("scheduled_for", "missed_from", "missed_to")}
    database.write_sync(Exec.update(**of_slots).execute)
    made = database.write_sync(due_slots.fire_due, RULES).execs
    database.write_sync(Exec.update(**{name: getattr(Exec, name) + micros for name in of_slots}).execute)
    return [row.scheduled_for + back for row in made]


@pytest.mark.parametrize("mode", ["R/2026-01-01T00:00:00Z/PT1M", "* * * * *", "R100/2100-01-01T00:00:00Z/P1D"])
def test_a_schedule_that_waits_for_a_wrong_time_goes_on(database: Database, caller: Caller, mode: str) -> None:
    job = scheduled(database, caller, mode)
    right = job.next_fire_at
    put(database, job, next_fire_at=right + 3 * HOUR)
    rearmed = armed_anew(database, since=right - timedelta(seconds=1))
    assert (rearmed.jobs, rearmed.ahead) == (1, [])
    found = reread(database, job)
    assert (found.next_fire_at, found.decided_until) == (right, right + 3 * HOUR)
    assert found.schedule_error is None


def test_a_schedule_that_is_armed_right_stays_as_it_is(database: Database, caller: Caller) -> None:
    job, overdue = every_minute(database, caller), every_minute(database, caller)
    put(database, overdue, next_fire_at=overdue.next_fire_at - 3 * HOUR)
    off, gone = every_minute(database, caller), every_minute(database, caller)
    database.write_sync(jobs.update, caller, off.id, {"is_schedule_active": False})
    database.write_sync(deletion.delete_job, caller, gone.id)
    before = database.read_sync(lambda: list(Job.select().order_by(Job.id).dicts()))
    assert armed_anew(database, since=job.next_fire_at - timedelta(seconds=1)) == Rearmed(0, [])
    assert database.read_sync(lambda: list(Job.select().order_by(Job.id).dicts())) == before


def test_a_finite_schedule_that_ended_by_a_wrong_clock_goes_on(database: Database, caller: Caller) -> None:
    start = database.read_sync(now) - timedelta(minutes=5)
    job = scheduled(database, caller, f"R10/{start.isoformat()}/PT1M")
    right = job.next_fire_at
    put(database, job, next_fire_at=None)
    ended = scheduled(database, caller, f"R2/{start.isoformat()}/PT1M")
    assert armed_anew(database, since=right - timedelta(seconds=1)).jobs == 1
    assert reread(database, job).next_fire_at == right
    assert reread(database, ended).next_fire_at is None


def test_a_schedule_that_stopped_by_its_own_fault_stays_stopped(database: Database, caller: Caller) -> None:
    job = every_minute(database, caller)
    put(database, job, next_fire_at=None, schedule_error="no such day")
    assert armed_anew(database).jobs == 0
    assert reread(database, job).schedule_error == "no such day"


def test_a_schedule_that_raises_keeps_no_other_from_going_on(database: Database, caller: Caller) -> None:
    wrong, job = every_minute(database, caller), every_minute(database, caller)
    put(database, wrong, schedule_mode="nonsense", next_fire_at=wrong.next_fire_at + HOUR)
    put(database, job, next_fire_at=job.next_fire_at + HOUR)
    assert armed_anew(database).jobs == 1


def test_what_somebody_changes_meanwhile_is_theirs(database: Database, caller: Caller) -> None:
    job = every_minute(database, caller)
    put(database, job, next_fire_at=job.next_fire_at + HOUR)
    late = database.read_sync(rearming.armed_too_late, 0, database.read_sync(now), NOTHING)
    database.write_sync(jobs.update, caller, job.id, {"schedule_mode": "R/PT1H"})
    changed = reread(database, job)
    assert database.write_sync(rearming.rearm, late.schedules) == Rearmed(0, [])
    assert reread(database, job).__data__ == changed.__data__


def test_all_jobs_are_looked_at_batch_after_batch(
    database: Database, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rearming, "JOBS_AT_ONCE", 2)
    for _ in range(5):
        job = every_minute(database, caller)
        put(database, job, next_fire_at=job.next_fire_at + HOUR)
    assert armed_anew(database).jobs == 5


def test_slots_that_ran_ahead_are_named(database: Database, caller: Caller) -> None:
    job = every_minute(database, caller)
    first, last = job.next_fire_at + HOUR, job.next_fire_at + 2 * HOUR
    for at in (job.next_fire_at - HOUR, first, last):
        fired_by(database, job, at)
    put(database, job, next_fire_at=last + timedelta(minutes=1))
    rearmed = armed_anew(database)
    (ahead,) = rearmed.ahead
    assert (ahead.job_id, ahead.count, ahead.first, ahead.last) == (job.id, 2, first, last)
    error = reread(database, job).schedule_error
    assert error.startswith("ran ahead of its time: 2 slots of ")
    for at in (first, last):
        assert at.strftime("%Y-%m-%dT%H:%M:%SZ") in error
    metric = database.metrics.registry.get_sample_value
    assert metric("jobd_schedule_slots_total", {"outcome": "ahead"}) == 2
    assert metric("jobd_schedules_rearmed_total") == 1
    assert armed_anew(database).ahead == [], "it is told once"
    database.write_sync(jobs.update, caller, job.id, {"schedule_mode": "R/PT1H"})
    assert (reread(database, job).schedule_error, reread(database, job).decided_until) == (None, None)


def test_a_job_that_ran_ahead_and_came_to_its_end_goes_on_a_second_time(database: Database, caller: Caller) -> None:
    job = every_minute(database, caller)
    put(database, job, next_fire_at=None, schedule_error=f"{rearming.RAN_AHEAD}: a slot of yesterday")
    assert armed_anew(database).jobs == 1


@pytest.mark.parametrize("policy", ["allow", "forbid", "replace"])
def test_a_slot_that_ran_ahead_does_not_run_again(database: Database, caller: Caller, policy: str) -> None:
    job = every_minute(database, caller, concurrency_policy=policy)
    slot = job.next_fire_at
    fired_by(database, job, slot)
    put(database, job, next_fire_at=slot + HOUR)
    armed_anew(database, since=slot - timedelta(seconds=1))
    assert run_at(database, job, slot + timedelta(seconds=1)) == []
    assert database.read_sync(Exec.select().count) == 1
    assert reread(database, job).next_fire_at > database.read_sync(now), "it goes on"


@pytest.mark.parametrize("policy", ["forbid", "replace"])
def test_a_run_ahead_that_still_runs_is_not_in_its_own_slots_way(
    database: Database, caller: Caller, policy: str
) -> None:
    job = every_minute(database, caller, concurrency_policy=policy)
    slot = job.next_fire_at
    fired_by(database, job, slot, status="R", ended_at=None)
    put(database, job, next_fire_at=slot + HOUR)
    armed_anew(database, since=slot - timedelta(seconds=1))
    assert run_at(database, job, slot + timedelta(seconds=1)) == []
    (row,) = database.read_sync(lambda: list(Exec.select()))
    assert (row.status, row.stop_requested_at) == ("R", None)


def test_replace_stops_what_runs_for_a_slot_that_did_not_run_ahead(database: Database, caller: Caller) -> None:
    job = every_minute(database, caller, concurrency_policy="replace")
    slot = job.next_fire_at
    running = make_exec(database, caller, job)
    put(database, job, next_fire_at=slot + HOUR)
    armed_anew(database, since=slot - timedelta(seconds=1))
    assert run_at(database, job, slot + timedelta(seconds=1)) == [slot]
    assert database.read_sync(Exec.get, Exec.id == running.id).status == "C"


@pytest.mark.parametrize("policy", ["skip", "run_once", "run_all"])
def test_none_of_the_slots_that_the_wrong_clock_decided_on_is_missed(
    database: Database, caller: Caller, policy: str
) -> None:
    job = every_minute(database, caller, missed_run_policy=policy)
    slot = job.next_fire_at
    put(database, job, next_fire_at=slot + 2 * HOUR)
    armed_anew(database, since=slot - timedelta(seconds=1))
    ran = run_at(database, job, slot + HOUR + timedelta(seconds=1))
    assert ran == [slot + HOUR - timedelta(minutes=k) for k in (0,)], "only what is not missed yet"
    assert database.read_sync(Exec.select().where(Exec.status == "N").count) == 0


def test_what_is_missed_after_that_follows_its_policy(database: Database, caller: Caller) -> None:
    job = every_minute(database, caller, missed_run_policy="run_once")
    slot = job.next_fire_at
    put(database, job, next_fire_at=slot + HOUR)
    armed_anew(database, since=slot - timedelta(seconds=1))
    ran = run_at(database, job, slot + 2 * HOUR + timedelta(seconds=30))
    assert ran == [slot + 2 * HOUR - timedelta(minutes=1), slot + 2 * HOUR]
    (record,) = database.read_sync(lambda: list(Exec.select().where(Exec.status == "N")))
    assert record.missed_count == 59, "the hour that the wrong clock decided on is not among them"


def test_a_record_of_slots_to_come_says_what_it_is(database: Database, caller: Caller) -> None:
    job = every_minute(database, caller)
    at = job.next_fire_at
    span = {"missed_count": 60, "missed_from": at, "missed_to": at + HOUR}
    fired_by(database, job, at, status="N", reason="missed", **span)
    put(database, job, next_fire_at=at + HOUR)
    armed_anew(database)
    (record,) = database.read_sync(lambda: list(Exec.select()))
    assert "clock that was ahead" in record.message


def passed_over(database: Database, job: Job, first: datetime, slots: int, reason: str = "missed") -> None:
    """A record of slots that did not run, a minute apart."""
    last = first + timedelta(minutes=slots - 1)
    span = {"missed_count": slots, "missed_from": first, "missed_to": last, "reason": reason}
    fired_by(database, job, first, status="N", **span)


def spans(database: Database) -> list[tuple[datetime, datetime, int]]:
    """Of the records of slots that did not run: first, last, how many."""
    rows = database.read_sync(lambda: list(Exec.select().where(Exec.status == "N").order_by(Exec.missed_from)))
    assert all(row.scheduled_for == row.missed_from for row in rows)
    assert len({row.id for row in rows}) == len(rows)
    return [(row.missed_from, row.missed_to, row.missed_count) for row in rows]


@pytest.mark.parametrize("place", range(3))
def test_a_slot_that_runs_after_all_leaves_the_record_that_says_it_did_not(
    database: Database, caller: Caller, place: int
) -> None:
    """A record of three slots; the others of it stay recorded."""
    minute = timedelta(minutes=1)
    job = every_minute(database, caller)
    slot = job.next_fire_at
    of_record = [slot + minute * (n - place) for n in range(3)]
    passed_over(database, job, of_record[0], 3)
    put(database, job, next_fire_at=slot + HOUR)
    armed_anew(database, since=slot - timedelta(seconds=1))
    assert run_at(database, job, slot + timedelta(seconds=1)) == [slot]
    single = [(at, at, 1) for at in of_record if at != slot]
    assert spans(database) == (
        single if place == 1 else [(of_record[0 if place else 1], of_record[1 if place else 2], 2)]
    )


def test_a_record_of_which_every_slot_runs_after_all_is_gone(database: Database, caller: Caller) -> None:
    job = every_minute(database, caller)
    slot = job.next_fire_at
    passed_over(database, job, slot, 1)
    put(database, job, next_fire_at=slot + HOUR)
    armed_anew(database, since=slot - timedelta(seconds=1))
    assert run_at(database, job, slot + timedelta(seconds=1)) == [slot]
    assert spans(database) == []


@pytest.mark.parametrize("policy", ["forbid", "replace"])
def test_a_slot_that_is_passed_over_again_has_its_record_already(
    database: Database, caller: Caller, policy: str
) -> None:
    minute = timedelta(minutes=1)
    job = every_minute(database, caller, concurrency_policy=policy)
    slot = job.next_fire_at
    make_exec(database, caller, job)
    passed_over(database, job, slot, 3, reason="overlap")
    put(database, job, next_fire_at=slot + HOUR)
    armed_anew(database, since=slot - timedelta(seconds=1))
    ran = run_at(database, job, slot + 2 * minute + timedelta(seconds=1))
    if policy == "forbid":
        assert (ran, spans(database)) == ([], [(slot, slot + 2 * minute, 3)])
    else:
        assert (ran, spans(database)) == ([slot + 2 * minute], [(slot, slot + minute, 2)])


def test_a_slot_that_ran_ahead_is_not_said_to_be_missed_where_there_is_no_room(
    database: Database, caller: Caller
) -> None:
    job = every_minute(database, caller)
    slot = job.next_fire_at - timedelta(minutes=1)
    fired_by(database, job, slot)
    put(database, job, next_fire_at=slot, decided_until=slot + HOUR)
    full = Rules(late_after=60, waiting_per_namespace=0)
    assert database.write_sync(due_slots.fire_due, full).execs == []
    assert spans(database) == []


def test_an_anchor_set_by_a_clock_that_was_ahead_is_brought_back(database: Database, caller: Caller) -> None:
    job = scheduled(database, caller, "R3/PT1H")
    anchor, wrong = job.schedule_anchor, job.schedule_anchor + 5 * HOUR
    put(database, job, schedule_anchor=wrong, next_fire_at=wrong + HOUR)
    armed_anew(database, back=5 * HOUR)
    found = reread(database, job)
    assert (found.schedule_anchor, found.next_fire_at) == (anchor, anchor + HOUR)


def test_an_anchor_of_which_nobody_knows_how_far_it_was_ahead_does_not_fire_again(
    database: Database, caller: Caller
) -> None:
    job = scheduled(database, caller, "R3/PT1H")
    wrong = job.schedule_anchor + 5 * HOUR
    fired_by(database, job, wrong)
    put(database, job, schedule_anchor=wrong, next_fire_at=wrong + HOUR)
    at = database.read_sync(now)
    armed_anew(database)
    found = reread(database, job)
    assert at <= found.schedule_anchor <= at + timedelta(seconds=10)
    assert found.next_fire_at == found.schedule_anchor + HOUR
    assert database.write_sync(due_slots.fire_due, RULES).execs == []


def test_a_clock_from_before_there_was_the_database_moves_no_anchor(database: Database, caller: Caller) -> None:
    job = scheduled(database, caller, "R3/PT1H")
    wrong = job.schedule_anchor + 5 * HOUR
    put(database, job, schedule_anchor=wrong, next_fire_at=wrong + HOUR)
    database.write_sync(database._peewee.execute_sql, "UPDATE installation SET created_at = created_at + 3600000000")
    armed_anew(database)
    assert reread(database, job).schedule_anchor == wrong
