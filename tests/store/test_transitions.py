"""The state machine: fenced, fair, and never two owners."""

import threading
from datetime import timedelta

import pytest

from jobd.executor import Handle
from jobd.output.run_log import StoredLog, decode
from jobd.store import daemons, deletion, execs
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, ExecLog
from jobd.store.people import accounts
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, transitions, waiting
from jobd.store.queue.transitions import Result
from tests.store.rows import REGION, make_caller, make_exec, make_job, read

HANDLE = Handle("c0ffee", "sha256:1")


def claim(database: Database, daemon: str = "a", max_running: int = 32, at_most: int = 64) -> list[Exec]:
    return database.write_sync(claims.claim, daemon, REGION, max_running, at_most)


def test_an_exec_goes_from_waiting_to_its_end(database: Database, caller: Caller) -> None:
    made = make_exec(database, caller)
    (row,) = claim(database)
    assert (row.id, row.status, row.owner, row.holds_slot) == (made.id, "W", "a", True)
    assert database.write_sync(transitions.set_handle, row, HANDLE)
    assert database.write_sync(transitions.set_running, row, None)
    kept = StoredLog(b"x\x9c\x03\x00\x00\x00\x00\x01", 5)
    assert database.write_sync(transitions.end, row, Result("S", exit_code=0), kept)
    ended = read(database, row)
    assert ended is not None
    assert (ended.status, ended.exit_code, ended.owner, ended.holds_slot) == ("S", 0, None, False)
    assert (ended.image_digest, ended.log_bytes) == ("sha256:1", 5)
    assert ended.created_at <= ended.started_at <= ended.ended_at
    stored = database.read_sync(ExecLog.get, ExecLog.exec_seq == row.seq)
    assert list(decode(bytes(stored.frames))) == []


def test_an_exec_is_claimed_once(database: Database, caller: Caller) -> None:
    for _ in range(40):
        make_exec(database, caller)
    taken: list[str] = []

    def work(daemon: str) -> None:
        while rows := claim(database, daemon, max_running=100, at_most=3):
            taken.extend(row.id for row in rows)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 40


def test_max_running_holds_over_all_daemons(database: Database, caller: Caller) -> None:
    for _ in range(5):
        make_exec(database, caller)
    assert len(claim(database, "a", max_running=3)) == 3
    assert claim(database, "b", max_running=3) == []


def test_an_exec_that_is_pulled_for_holds_no_slot(database: Database, caller: Caller) -> None:
    make_exec(database, caller)
    make_exec(database, caller)
    (first,) = claim(database, max_running=1)
    assert database.write_sync(transitions.release_capacity, first)
    assert len(claim(database, max_running=1)) == 1


def test_ten_thousand_execs_of_one_namespace_delay_nobody_elses_first(database: Database, caller: Caller) -> None:
    busy = make_job(database, caller)
    for _ in range(50):
        make_exec(database, caller, busy)
    other = make_caller(database, "other")
    late = make_exec(database, other)
    assert late.id in {row.id for row in claim(database, max_running=2)}


def test_namespaces_have_their_turn_one_after_the_other(database: Database) -> None:
    for name in ("one", "three", "two"):
        caller = make_caller(database, name)
        for _ in range(2):
            make_exec(database, caller)
    turn, turns = "three", []
    for max_running in range(1, 7):
        taken = database.write_sync(claims.claim, "a", REGION, max_running, 64, turn)
        turn = claims.last_turn(taken, turn)
        turns.append(turn)
    assert turns == ["two", "one", "three"] * 2


def test_within_a_namespace_the_oldest_goes_first(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    made = [make_exec(database, caller, job).id for _ in range(4)]
    assert [row.id for row in claim(database, max_running=2)] == made[:2]


def test_a_former_owner_changes_nothing(database: Database, caller: Caller) -> None:
    make_exec(database, caller)
    (late,) = claim(database, "a")
    (taken,) = database.write_sync(claims.take_over, "b", REGION, ["b"])
    assert not database.write_sync(transitions.set_handle, late, HANDLE)
    assert not database.write_sync(transitions.end, late, Result("F", "start_failed"), None)
    assert database.write_sync(transitions.set_handle, taken, HANDLE)


def test_an_owner_that_lost_an_exec_and_got_it_back_is_fenced_from_its_old_self(
    database: Database, caller: Caller
) -> None:
    make_exec(database, caller)
    (old,) = claim(database, "a")
    database.write_sync(claims.take_over, "b", REGION, ["b"])
    (new,) = database.write_sync(claims.take_over, "a", REGION, ["a"])
    assert not database.write_sync(transitions.set_running, old, None)
    assert database.write_sync(transitions.set_running, new, None)


def test_a_live_daemon_keeps_what_it_owns(database: Database, caller: Caller) -> None:
    make_exec(database, caller)
    claim(database, "a")
    assert database.write_sync(claims.take_over, "b", REGION, ["a", "b"]) == []


@pytest.mark.parametrize("reason", transitions.RETRIED)
def test_a_failure_is_followed_by_its_retry(database: Database, caller: Caller, reason: str) -> None:
    job = make_job(database, caller, max_retries=2, retry_delay=10)
    make_exec(database, caller, job, command="true")
    (row,) = claim(database)
    database.write_sync(transitions.end, row, Result("F", reason), None)
    retry = database.read_sync(Exec.get, Exec.retry_of == row.id)
    assert (retry.trigger_mode, retry.attempt, retry.command, retry.status) == ("R", 2, "true", "W")
    assert timedelta(seconds=8) < retry.not_before - retry.created_at <= timedelta(seconds=10)
    assert claim(database) == []


@pytest.mark.parametrize("reason", transitions.MAY_BE_RETRIED)
def test_a_job_names_the_failures_after_which_it_is_retried(database: Database, caller: Caller, reason: str) -> None:
    for retry_on, is_retried in (
        (None, reason != "lost"),
        ({"reasons": [reason]}, True),
        ({"reasons": [other for other in transitions.MAY_BE_RETRIED if other != reason]}, False),
    ):
        make_exec(database, caller, make_job(database, caller, max_retries=1, retry_delay=0, retry_on=retry_on))
        (row,) = claim(database)
        database.write_sync(transitions.end, row, Result("F", reason), None)
        retries = database.read_sync(lambda row=row: list(Exec.select().where(Exec.retry_of == row.id)))
        assert [retry.retry_on for retry in retries] == ([retry_on] if is_retried else [])
        database.write_sync(Exec.delete().execute)


def test_the_delay_of_a_retry_doubles_and_the_last_failure_stays(database: Database, caller: Caller) -> None:
    job = make_job(database, caller, max_retries=2, retry_delay=10)
    row = make_exec(database, caller, job)
    for delay in (10, 20):
        database.write_sync(Exec.update(not_before=None).execute)
        (row,) = claim(database)
        database.write_sync(transitions.end, row, Result("F", "exit_code", exit_code=1), None)
        retry = database.read_sync(Exec.get, Exec.retry_of == row.id)
        assert (retry.not_before - retry.created_at).total_seconds() == delay
    database.write_sync(Exec.update(not_before=None).execute)
    (row,) = claim(database)
    database.write_sync(transitions.end, row, Result("F", "exit_code", exit_code=1), None)
    assert database.read_sync(Exec.select().count) == 3


@pytest.mark.parametrize("result", [Result("F", "lost"), Result("C", "cancelled"), Result("S")])
def test_what_is_lost_cancelled_or_well_is_not_retried(database: Database, caller: Caller, result: Result) -> None:
    make_exec(database, caller, make_job(database, caller, max_retries=3))
    (row,) = claim(database)
    database.write_sync(transitions.end, row, result, None)
    assert database.read_sync(Exec.select().count) == 1


def test_a_stop_of_what_nobody_owns_ends_it_at_once(database: Database, caller: Caller) -> None:
    made = make_exec(database, caller)
    stopped = database.write_sync(execs.stop, caller, made.job_id, made.id)
    assert (stopped.status, stopped.reason) == ("C", "cancelled")
    assert stopped.ended_at is not None
    assert claim(database) == []


def test_a_stop_of_what_is_owned_reaches_its_owner(database: Database, caller: Caller) -> None:
    made = make_exec(database, caller)
    claim(database, "a")
    stopped = database.write_sync(execs.stop, caller, made.job_id, made.id)
    assert stopped.status == "W"
    assert [row.id for row in database.read_sync(claims.stops_requested, "a")] == [made.id]
    assert database.read_sync(claims.stops_requested, "b") == []


def test_an_exec_put_back_keeps_its_place_and_says_why(database: Database, caller: Caller) -> None:
    make_exec(database, caller)
    (row,) = claim(database)
    database.write_sync(transitions.requeue, row, "the region is down\x00")
    waiting = read(database, row)
    assert waiting is not None
    assert (waiting.owner, waiting.holds_slot, waiting.message) == (None, False, "the region is down\ufffd")
    assert len(claim(database)) == 1


def test_what_waited_too_long_fails_as_region_unavailable(database: Database, caller: Caller) -> None:
    made = make_exec(database, caller)
    assert database.write_sync(waiting.fail_overdue, 3600) == []
    database.write_sync(Exec.update(created_at=made.created_at - timedelta(hours=2)).execute)
    (failed,) = database.write_sync(waiting.fail_overdue, 3600)
    assert (failed.status, failed.reason) == ("F", "region_unavailable")


def test_a_replacing_exec_waits_for_the_end_of_the_one_before(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    make_exec(database, caller, job)
    (first,) = claim(database)
    second = make_exec(database, caller, job)
    database.write_sync(Exec.update(replaces=True).where(Exec.id == second.id).execute)
    assert claim(database) == []
    database.write_sync(transitions.end, first, Result("C", "replaced"), None)
    assert [row.id for row in claim(database)] == [second.id]


def test_callers_of_a_namespace_see_only_their_own(database: Database, caller: Caller) -> None:
    made = make_exec(database, caller)
    stranger = make_caller(database, "stranger")
    with pytest.raises(execs.NotFound):
        database.read_sync(execs.get, stranger, made.job_id, made.id)
    admin = accounts.caller_of(database.write_sync(accounts.create_user, "root", None, True))
    assert database.read_sync(execs.get, admin, made.job_id, made.id).id == made.id


def test_no_retry_follows_once_its_end_was_asked_for(database: Database, caller: Caller) -> None:
    """The owner has not heard of it yet: its row in hand is as old as its claim."""
    made = make_exec(database, caller, make_job(database, caller, max_retries=3))
    (row,) = claim(database)
    database.write_sync(deletion.delete_job, caller, made.job_id)
    assert database.write_sync(transitions.end, row, Result("F", "exit_code", exit_code=1), None)
    assert database.read_sync(Exec.get_or_none, Exec.retry_of == row.id) is None


def test_what_waits_again_after_its_end_was_asked_for_is_cancelled_at_once(database: Database, caller: Caller) -> None:
    made = make_exec(database, caller)
    (row,) = claim(database)
    database.write_sync(execs.stop, caller, made.job_id, made.id)
    assert database.write_sync(transitions.requeue, row, "the region is down", 1.0)
    ended = read(database, made)
    assert ended is not None
    assert (ended.status, ended.reason) == ("C", "cancelled")


def test_a_row_in_hand_does_not_run_ahead_of_its_transaction(database: Database, caller: Caller) -> None:
    make_exec(database, caller)
    (row,) = claim(database)

    def undone() -> None:
        assert transitions.set_handle(row, HANDLE)
        raise KeyError

    with pytest.raises(KeyError):
        database.write_sync(undone)
    assert row.handle is None
    assert database.write_sync(transitions.set_handle, row, HANDLE)
    assert row.handle == HANDLE.id


def test_a_message_that_is_no_text_can_be_stored(database: Database, caller: Caller) -> None:
    make_exec(database, caller)
    (row,) = claim(database)
    assert database.write_sync(transitions.end, row, Result("F", "start_failed", "\udce4\x00"), None)
    ended = read(database, row)
    assert ended is not None
    assert ended.message == "?\ufffd"


@pytest.mark.parametrize(("handle", "reason"), [(None, "region_unavailable"), (HANDLE, "lost")])
def test_what_a_daemon_left_in_a_region_that_nobody_serves_ends(
    database: Database, caller: Caller, handle: Handle | None, reason: str
) -> None:
    make_exec(database, caller)
    database.write_sync(daemons.register, "a", "host", 1, [REGION])
    (row,) = claim(database)
    if handle is not None:
        assert database.write_sync(transitions.set_handle, row, handle)
    assert database.write_sync(waiting.fail_overdue, 3600) == []
    database.write_sync(lambda: Exec.update(created_at=row.created_at - timedelta(hours=2)).execute())
    assert database.write_sync(waiting.fail_overdue, 3600) == []
    database.write_sync(daemons.register, "a", "host", 1, ["ANOTHER"])
    (ended,) = database.write_sync(waiting.fail_overdue, 3600)
    assert (ended.status, ended.reason, ended.owner) == ("F", reason, None)
