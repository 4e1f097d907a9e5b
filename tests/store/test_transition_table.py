"""The table of transitions in docs/architecture.md, done line by line."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest

from jobd.errors import StateConflict
from jobd.executor import Handle
from jobd.statuses import ExecStatus
from jobd.store import execs
from jobd.store.db.clock import now
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, due_slots, transitions, waiting
from jobd.store.queue.due_slots import Rules
from jobd.store.queue.transitions import Result
from tests.architecture_page import table, words
from tests.store.rows import REGION, make_exec, make_job, read
from tests.store.test_slots import due

STATUSES = {status.name.lower(): status for status in ExecStatus}
ENDED = ["succeeded", "failed", "cancelled", "not_run"]
RULES = Rules(late_after=60, waiting_per_namespace=100_000)
LINES = [
    (source, source if targets == "the same" else target, function)
    for sources, targets, by, _ in table("The states of an exec", "from")
    for source in sources.split(", ")
    for target in targets.split(", ")
    for function in words(by)
]
ELSEWHERE = {"armed_slots.fire_armed"}
"""Tested by tests/store/test_armed.py: it is for PostgreSQL alone."""

Do = Callable[[Database, Caller, Exec, str], object]


def state(row: Exec) -> str:
    if row.status != ExecStatus.WAITING:
        return ExecStatus(row.status).name.lower()
    return "waiting" if row.owner is None else "claimed" if row.handle is None else "created"


def in_state(database: Database, caller: Caller, wanted: str) -> Exec:
    """An exec that came there as execs do."""
    row = make_exec(database, caller)
    if wanted == "waiting":
        return row
    if wanted == "not_run":
        _wait_past_slot(database, row)
        database.write_sync(waiting.expire_slots)
        return row
    (row,) = database.write_sync(claims.claim, "a", REGION, 32, 64)
    if wanted in ("created", "running", *ENDED):
        assert database.write_sync(transitions.set_handle, row, Handle("c0ffee"))
    if wanted in ("running", *ENDED):
        assert database.write_sync(transitions.set_running, row, None)
    if wanted in ENDED:
        assert database.write_sync(transitions.end, row, Result(STATUSES[wanted]), None)
    return row


def _wait_past_slot(database: Database, row: Exec) -> None:
    late = database.read_sync(now) - timedelta(seconds=1)
    slot = {"start_before": late, "scheduled_for": late}
    database.write_sync(Exec.update(slot).where(Exec.seq == row.seq, Exec.status == "W").execute)


def _cancel(database: Database, caller: Caller, row: Exec) -> None:
    asked = Exec.update(stop_requested_at=row.created_at, stop_reason="cancelled").where(Exec.seq == row.seq)
    database.write_sync(asked.execute)
    database.write_sync(execs.cancel_unowned, Exec.seq == row.seq)


def _expire(database: Database, row: Exec) -> None:
    _wait_past_slot(database, row)
    database.write_sync(waiting.expire_slots)


def _force(database: Database, caller: Caller, row: Exec) -> None:
    with suppress(StateConflict):  # it has ended
        database.write_sync(execs.force_end, caller, row.job_id, row.id)


DO: dict[str, Do] = {
    "claims.claim": lambda database, caller, row, to: database.write_sync(claims.claim, "a", REGION, 32, 64),
    "claims.take_over": lambda database, caller, row, to: database.write_sync(claims.take_over, "b", REGION, ["b"]),
    "claims.retake": lambda database, caller, row, to: database.write_sync(claims.retake, "a", [row.seq]),
    "execs.cancel_unowned": lambda database, caller, row, to: _cancel(database, caller, row),
    "execs.force_end": lambda database, caller, row, to: _force(database, caller, row),
    "waiting.fail_overdue": lambda database, caller, row, to: database.write_sync(waiting.fail_overdue, 0),
    "waiting.expire_slots": lambda database, caller, row, to: _expire(database, row),
    "transitions.set_handle": lambda database, caller, row, to: database.write_sync(
        transitions.set_handle, row, Handle("c0ffee")
    ),
    "transitions.set_running": lambda database, caller, row, to: database.write_sync(
        transitions.set_running, row, None
    ),
    "transitions.release_capacity": lambda database, caller, row, to: database.write_sync(
        transitions.release_capacity, row
    ),
    "transitions.requeue": lambda database, caller, row, to: database.write_sync(transitions.requeue, row),
    "transitions.set_message": lambda database, caller, row, to: database.write_sync(
        transitions.set_message, row, "why"
    ),
    "transitions.set_timed_out": lambda database, caller, row, to: database.write_sync(transitions.set_timed_out, row),
    "transitions.end": lambda database, caller, row, to: database.write_sync(
        transitions.end, row, Result(STATUSES[to]), None
    ),
}
MAKE: dict[str, Callable[[Database, Caller], object]] = {
    "execs.create": make_exec,
    "execs.rerun": lambda database, caller: _rerun(database, caller),
    "transitions.retry": lambda database, caller: _fail_with_a_retry(database, caller),
    "due_slots.fire_due": lambda database, caller: _fire(database, caller),
}


def _rerun(database: Database, caller: Caller) -> None:
    row = in_state(database, caller, "succeeded")
    database.write_sync(execs.rerun, caller, row.job_id, row.id, 100)


def _fail_with_a_retry(database: Database, caller: Caller) -> None:
    make_exec(database, caller, make_job(database, caller, max_retries=1))
    (row,) = database.write_sync(claims.claim, "a", REGION, 32, 64)
    assert database.write_sync(transitions.end, row, Result("F", "exit_code"), None)


def _fire(database: Database, caller: Caller) -> None:
    due(database, caller, ago=3600, times="40", missed_run_policy="run_once")
    database.write_sync(due_slots.fire_due, RULES)


def test_the_table_has_the_functions_that_are_tried_here_and_no_others() -> None:
    assert {function for _, _, function in LINES} - ELSEWHERE == {*DO, *MAKE}


@pytest.mark.parametrize(("source", "target", "function"), [line for line in LINES if line[2] in DO])
def test_a_line_of_the_table_is_what_happens(
    source: str, target: str, function: str, database: Database, caller: Caller
) -> None:
    row = in_state(database, caller, source)
    before = read(database, row)
    assert before is not None and state(before) == source
    DO[function](database, caller, row, target)
    after = read(database, row)
    assert after is not None and state(after) == target
    assert before.__data__ != after.__data__


@pytest.mark.parametrize(("target", "function"), [line[1:] for line in LINES if line[2] in MAKE])
def test_an_exec_begins_as_the_table_says(target: str, function: str, database: Database, caller: Caller) -> None:
    MAKE[function](database, caller)
    assert target in [state(row) for row in database.read_sync(lambda: list(Exec.select()))]


@pytest.mark.parametrize("ended", ENDED)
def test_an_ended_exec_changes_no_more(ended: str, database: Database, caller: Caller) -> None:
    live = in_state(database, caller, "created" if ended != "not_run" else "waiting")
    before_it_ended = read(database, live)
    assert before_it_ended is not None
    if ended == "not_run":
        _expire(database, live)
    else:
        database.write_sync(transitions.end, live, Result(STATUSES[ended]), None)
    kept = read(database, live)
    assert kept is not None and state(kept) == ended
    for function in DO:
        for target in ("succeeded", "failed"):
            DO[function](database, caller, before_it_ended, target)
    now_there = read(database, live)
    assert now_there is not None and (now_there.status, now_there.owner, now_there.term) == (
        kept.status,
        kept.owner,
        kept.term,
    )
