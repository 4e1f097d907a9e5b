"""The database's clock, held against one that nobody can set; and what daemons saw of both."""

from datetime import UTC, datetime, timedelta

import pytest

from jobd.store import daemons
from jobd.store.db import clock
from jobd.store.db.clock import NO_JUMP, Reading
from jobd.store.db.database import Database
from jobd.store.db.tables import Daemon, Job
from jobd.store.people.accounts import Caller
from jobd.store.queue import due_slots
from jobd.store.queue.due_slots import Rules
from tests.store.rows import make_job

AT = datetime(2026, 11, 27, 10, tzinfo=UTC)
RULES = Rules(late_after=60, waiting_per_namespace=100)


def reading(seconds: float, before: float, after: float) -> Reading:
    return Reading(AT + timedelta(seconds=seconds), before, after)


@pytest.mark.parametrize(
    ("later", "jump"),
    [
        (reading(10, 110, 110), 0),
        (reading(3610, 110, 110), 3600),
        (reading(-3590, 110, 110), -3600),
        (reading(10, 109, 115), 0),
        (reading(20, 105, 110), 10),
        (reading(1, 105, 110), -4),
    ],
)
def test_a_jump_is_what_cannot_have_passed(later: Reading, jump: float) -> None:
    assert reading(0, 100, 100).jump_to(later) == timedelta(seconds=jump)


def test_a_clock_that_goes_evenly_is_reckoned(database: Database) -> None:
    first = database.read_sync(clock.read)
    second = database.read_sync(clock.read)
    assert first.jump_to(second) == NO_JUMP
    assert abs(first.reckoned(second.after) - second.at) < timedelta(seconds=1)


def test_a_machine_that_has_the_databases_clock_is_not_off_it(database: Database) -> None:
    _, offset = database.read_sync(clock.own_offset)
    assert abs(offset) < timedelta(seconds=2)
    assert not database.is_sqlite or offset == NO_JUMP


def test_a_daemon_knows_after_a_restart_what_the_clock_showed(database: Database) -> None:
    assert database.read_sync(daemons.last_seen, "a") == daemons.Seen(None, None)
    term = database.write_sync(daemons.register, "a", "host", 1, [])
    database.write_sync(daemons.heartbeat, "a", term)
    database.write_sync(daemons.leave, "a", term)
    seen, now = database.read_sync(daemons.last_seen, "a"), database.read_sync(clock.read)
    assert seen.own is not None
    assert seen.latest == seen.own.at
    assert abs(seen.own.jump_to(now)) < timedelta(seconds=1)
    assert database.read_sync(daemons.last_seen, "another") == daemons.Seen(seen.latest, None)


def test_what_another_start_of_the_machine_counted_says_nothing(database: Database) -> None:
    database.write_sync(daemons.register, "a", "host", 1, [])
    database.write_sync(Daemon.update(boot_id="another").execute)
    assert database.read_sync(daemons.last_seen, "a").own is None


@pytest.mark.parametrize(("jump", "fires"), [(0, True), (59, True), (61, False), (-61, False)])
def test_a_scan_fires_nothing_by_a_clock_that_jumped_far(
    database: Database, caller: Caller, jump: float, fires: bool
) -> None:
    believed = database.read_sync(clock.read)
    start = believed.at - timedelta(seconds=1)
    job = make_job(database, caller, schedule_mode=f"R1/{start.isoformat()}/PT1H", is_schedule_active=True)
    database.write_sync(Job.update(next_fire_at=start).where(Job.id == job.id).execute)
    before = Reading(believed.at - timedelta(seconds=jump), believed.before, believed.after)
    fired = database.write_sync(due_slots.fire_due, RULES, None, before)
    assert (len(fired.execs), fired.has_jumped) == (int(fires), not fires)
    assert (database.read_sync(Job.get, Job.id == job.id).next_fire_at is None) is fires
