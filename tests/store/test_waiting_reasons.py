"""Why an exec waits: one sentence for each cause, the most telling one first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobd.store import daemons, execs
from jobd.store.callers import Caller
from jobd.store.db.database import Database
from jobd.store.db.tables import Daemon, Exec
from jobd.store.queue import claims, waiting_reasons
from jobd.store.queue.waiting_reasons import Served
from tests.store.rows import REGION, make_caller, make_exec, make_job

OPEN = {REGION: Served(max_running=2, outage=None)}


def reason(database: Database, row: Exec, served: dict[str, Served] = OPEN) -> str | None:
    fresh = database.read_sync(Exec.get, Exec.seq == row.seq)
    return database.read_sync(waiting_reasons.of_execs, [fresh], served, 15.0).get(row.seq)


def change(database: Database, row: Exec, **values: Any) -> None:
    database.write_sync(Exec.update(**values).where(Exec.seq == row.seq).execute)


def test_with_room_it_is_about_to_be_started(database: Database, caller: Caller) -> None:
    assert reason(database, make_exec(database, caller)) == "it is about to be started"


def test_in_a_full_region_it_has_a_place_in_the_line_of_its_namespace(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    rows = [make_exec(database, caller, job) for _ in range(5)]
    others = make_exec(database, make_caller(database, "other"))
    running = database.write_sync(claims.claim, "a", REGION, 2, 2)
    waiting = [row for row in rows if row.id not in {one.id for one in running}]
    places = ["1st", "2nd", "3rd", "4th", "5th"][: len(waiting)]
    assert [reason(database, row) for row in waiting] == [
        f"{place} in line in its namespace; {REGION} runs 2 of 2" for place in places
    ]
    if others.id not in {one.id for one in running}:
        assert reason(database, others) == f"1st in line in its namespace; {REGION} runs 2 of 2"


def test_a_place_far_behind_is_counted_no_further(
    database: Database, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_reasons, "MAX_COUNTED", 2)
    job = make_job(database, caller)
    rows = [make_exec(database, caller, job) for _ in range(5)]
    database.write_sync(claims.claim, "a", REGION, 1, 1)
    full = {REGION: Served(max_running=1, outage=None)}
    assert reason(database, rows[2], full) == f"2nd in line in its namespace; {REGION} runs 1 of 1"
    assert reason(database, rows[4], full) == (
        f"more than 2 of its namespace are before it in line; {REGION} runs 1 of 1"
    )


def test_a_region_that_is_down_is_told_before_anybody_wrote_it_down(database: Database, caller: Caller) -> None:
    down = {REGION: Served(2, "Docker cannot be reached")}
    assert reason(database, make_exec(database, caller), down) == f"region {REGION} is down: Docker cannot be reached"


def test_what_the_record_says_already_is_not_said_again(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    change(database, row, message="region BEIJING1 is down: no answer")
    assert reason(database, row) is None


def test_a_region_that_nobody_serves(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    assert reason(database, row, {}) == f"no daemon serves the region {REGION}"
    database.write_sync(daemons.register, "two", "host", 1, [REGION])
    assert reason(database, row, {}) == f"1st in line in its namespace; another daemon serves {REGION}"
    dead = Daemon.update(heartbeat_at=datetime.now(UTC) - timedelta(minutes=1))
    database.write_sync(dead.execute)
    assert reason(database, row, {}) == f"no daemon serves the region {REGION}"


def test_a_retry_says_when_it_starts(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    at = datetime(2099, 1, 1, 2, 3, 4, 567, tzinfo=UTC)
    change(database, row, not_before=at)
    assert reason(database, row) == "it is tried again at 2099-01-01T02:03:04Z"
    change(database, row, trigger_mode="R")
    assert reason(database, row) == "its retry starts at 2099-01-01T02:03:04Z"


def test_one_that_was_claimed_is_being_started_or_stopped(database: Database, caller: Caller) -> None:
    make_exec(database, caller)
    (row,) = database.write_sync(claims.claim, "a", REGION, 1, 1)
    assert reason(database, row) == "it is being started"
    database.write_sync(execs.request_stop, Exec.seq == row.seq, "u", "cancelled")
    assert reason(database, row) == "it is being stopped"


def test_nothing_is_asked_of_what_does_not_wait(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    change(database, row, status="S")
    assert reason(database, row, {}) is None
