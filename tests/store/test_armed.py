"""Armed slots: made by one statement at their instant, or left to a scan when anything is not as it was."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobd.store import deletion, jobs
from jobd.store.db.clock import now
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, Job
from jobd.store.people.accounts import Caller
from jobd.store.queue import armed_slots, due_slots
from jobd.store.queue.armed_slots import ArmedSlot
from jobd.store.queue.due_slots import Fired, Rules
from jobd.store.queue.quota import NamespaceQuota
from tests.store.rows import make_job

RULES = Rules(late_after=60, waiting_per_namespace=100_000)
SOON = timedelta(milliseconds=500)


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """On SQLite no slot is armed."""
    return postgres_url


def coming(database: Database, caller: Caller, ahead: timedelta = SOON, times: str = "", **values: Any) -> Job:
    """A job whose first slot is `ahead` of the database's clock."""
    start = database.read_sync(now) + ahead
    text = f"R{times}/{start.isoformat()}/PT1H"
    return make_job(database, caller, schedule_mode=text, is_schedule_active=True, **values)


def look(database: Database, seconds: float = 1.0) -> list[ArmedSlot]:
    return database.read_sync(armed_slots.look_ahead, None, seconds).slots


def fire(database: Database, due: list[ArmedSlot], first_armed: datetime | None = None) -> Fired:
    return database.write_sync(armed_slots.fire_armed, due, NamespaceQuota(100, {}), first_armed)


def wait_until(database: Database, at: datetime) -> None:
    while (left := (at - database.read_sync(now)).total_seconds()) >= 0:
        time.sleep(left + 0.001)


def reread(database: Database, job: Job) -> Job:
    return database.read_sync(Job.get, Job.id == job.id)


def everything(database: Database) -> list[Exec]:
    return database.read_sync(lambda: list(Exec.select().order_by(Exec.seq)))


def test_an_armed_slot_fires_at_its_instant_and_once(database: Database, caller: Caller) -> None:
    job = coming(database, caller)
    due = look(database)
    fired = fire(database, due)
    assert (fired.execs, fired.at < due[0].at) == ([], True)
    wait_until(database, due[0].at)
    fired = fire(database, due)
    (row,) = everything(database)
    assert [made.id for made in fired.execs] == [row.id]
    assert row.created_at == fired.execs[0].created_at == fired.at >= row.scheduled_for == due[0].at
    assert reread(database, job).next_fire_at == due[0].at + timedelta(hours=1)
    assert fired.next_in == pytest.approx(3600, abs=10)
    assert fire(database, due).execs == []
    assert database.write_sync(due_slots.fire_due, RULES).execs == []


def test_what_it_makes_is_what_a_scan_makes(database: Database, caller: Caller) -> None:
    values = {"labels": {"team": "构建"}, "runtime_vars": {"A": "1"}, "starting_deadline": 30, "max_retries": 2}
    coming(database, caller, **values)
    due = look(database)
    later = coming(database, caller, **values)
    wait_until(database, due[0].at)
    fire(database, due)
    wait_until(database, later.next_fire_at)
    database.write_sync(due_slots.fire_due, RULES)
    by_arming, by_scan = (dict(row.__data__) for row in everything(database))
    for row in (by_arming, by_scan):
        assert row.pop("start_before") - row.pop("scheduled_for") == timedelta(seconds=30)
        for own in ("seq", "id", "job_id", "created_at"):
            del row[own]
    assert by_arming == by_scan


@pytest.mark.parametrize("change", ["edited", "deleted", "switched off", "fired by another"])
def test_what_is_not_as_it_was_is_left_to_a_scan(database: Database, caller: Caller, change: str) -> None:
    job = coming(database, caller)
    due = look(database)
    wait_until(database, due[0].at)
    if change == "edited":
        database.write_sync(jobs.update, caller, job.id, {"command": "other"})
    elif change == "deleted":
        database.write_sync(deletion.delete_job, caller, job.id)
    elif change == "switched off":
        database.write_sync(jobs.update, caller, job.id, {"is_schedule_active": False})
    else:
        database.write_sync(due_slots.fire_due, RULES)
    before = [row.id for row in everything(database)]
    assert fire(database, due).execs == []
    assert [row.id for row in everything(database)] == before


def test_a_slot_that_is_very_late_is_left_to_a_scan(database: Database, caller: Caller) -> None:
    coming(database, caller)
    due = look(database)
    latest = timedelta(milliseconds=20)
    wait_until(database, due[0].at + latest)
    fired = database.write_sync(armed_slots.fire_armed, due, NamespaceQuota(100, {}), None, latest)
    assert (fired.execs, fired.more) == ([], True)


def test_only_jobs_whose_runs_may_overlap_are_armed(database: Database, caller: Caller) -> None:
    for policy in ("forbid", "replace"):
        coming(database, caller, concurrency_policy=policy)
    assert look(database) == []


def test_a_schedule_that_raises_is_not_armed(database: Database, caller: Caller) -> None:
    job = coming(database, caller)
    database.write_sync(Job.update(schedule_mode="nonsense").where(Job.id == job.id).execute)
    assert look(database) == []


def test_the_last_slot_of_a_finite_schedule_ends_it(database: Database, caller: Caller) -> None:
    job = coming(database, caller, times="1")
    due = look(database)
    wait_until(database, due[0].at)
    fired = fire(database, due)
    assert len(fired.execs) == 1
    assert (reread(database, job).next_fire_at, fired.next_in) == (None, None)


def test_it_says_whether_anything_else_is_due(database: Database, caller: Caller) -> None:
    coming(database, caller)
    due = look(database)
    other = coming(database, caller, ahead=timedelta(seconds=-1))
    wait_until(database, due[0].at)
    database.write_sync(Job.update(next_fire_at=due[0].at).where(Job.id == other.id).execute)
    fired = fire(database, due, first_armed=due[0].at)
    assert (len(fired.execs), fired.more) == (1, False), "what is due now is armed, too"
    fired = fire(database, due)
    assert (fired.execs, fired.more) == ([], True)


def test_daemons_that_armed_the_same_slots_fire_each_once(database: Database, caller: Caller) -> None:
    start = database.read_sync(now) + timedelta(seconds=1)
    job = make_job(database, caller, schedule_mode=f"R/{start.isoformat()}/PT1H", is_schedule_active=True)
    copy = {name: value for name, value in job.__data__.items() if name != "id"}
    database.write_sync(Job.insert_many([copy] * 199).execute)
    armed_by = [look(database, 2.0) for _ in range(4)]
    assert [len(due) for due in armed_by] == [200] * 4
    wait_until(database, start)
    together, made = threading.Barrier(4), []

    def work(due: list[ArmedSlot]) -> None:
        together.wait()
        for some in range(0, 200, 7):
            made.extend(row.id for row in fire(database, due[some : some + 7]).execs)

    threads = [threading.Thread(target=work, args=(due,)) for due in armed_by]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made += [row.id for row in database.write_sync(due_slots.fire_due, RULES).execs]
    rows = everything(database)
    assert sorted(made) == sorted(row.id for row in rows)
    assert len({row.job_id for row in rows}) == len(rows) == 200


def test_slots_are_taken_in_their_order_and_only_where_there_is_room(database: Database, caller: Caller) -> None:
    first = coming(database, caller).id
    second = coming(database, caller)
    waiting = armed_slots.Armed()
    waiting.add(database.read_sync(armed_slots.look_ahead, None, 1.0))
    assert waiting.take_due(NamespaceQuota(100, {})) == []
    wait_until(database, second.next_fire_at)
    taken = waiting.take_due(NamespaceQuota(1, {}))
    assert [slot.row.job_id for slot in taken] == [first]
    waiting.put_back(taken)
    assert [slot.row.job_id for slot in waiting.take_due(NamespaceQuota(100, {}))] == [first]
    assert waiting.first is None


def test_the_room_of_a_namespace_is_counted_before_it_is_refused(database: Database, caller: Caller) -> None:
    ago = datetime.now(UTC) - timedelta(seconds=5)
    for _ in range(3):
        job = make_job(database, caller, schedule_mode=f"R1/{ago.isoformat()}/PT1H", is_schedule_active=True)
        database.write_sync(Job.update(next_fire_at=ago).where(Job.id == job.id).execute)
    rules = Rules(late_after=60, waiting_per_namespace=2)
    stale = NamespaceQuota(2, {"chennanfei": 2})
    fired = database.write_sync(due_slots.fire_due, rules, stale)
    assert len(fired.execs) == 2, "the count was old: there was room for two"
    assert fired.quota is stale


def test_what_a_scan_decided_is_armed_no_longer(database: Database, caller: Caller) -> None:
    first, second = coming(database, caller), coming(database, caller, ahead=2 * SOON)
    waiting = armed_slots.Armed()
    waiting.add(database.read_sync(armed_slots.look_ahead, None, 5.0))
    wait_until(database, first.next_fire_at)
    waiting.forget(database.write_sync(due_slots.fire_due, RULES).at)
    assert waiting.first == second.next_fire_at


def test_nothing_stays_armed_when_the_clock_is_set_back(database: Database, caller: Caller) -> None:
    coming(database, caller)
    waiting = armed_slots.Armed()
    ahead = database.read_sync(armed_slots.look_ahead, None, 5.0)
    waiting.add(ahead)
    waiting.add(armed_slots.Ahead([], ahead.until - timedelta(hours=1), ahead.clock))
    assert waiting.first is None


def test_a_slot_that_a_wrong_clock_has_decided_on_is_left_to_a_scan(database: Database, caller: Caller) -> None:
    job = coming(database, caller)
    due = look(database)
    slot = due[0].at
    decided = Job.update(decided_until=slot + timedelta(hours=1)).where(Job.id == job.id)
    database.write_sync(decided.execute)
    assert look(database) == [], "not armed"
    wait_until(database, slot)
    fired = fire(database, due)
    assert (fired.execs, fired.more) == ([], True), "nor fired where it was armed before"
    assert [row.scheduled_for for row in database.write_sync(due_slots.fire_due, RULES).execs] == [slot]
