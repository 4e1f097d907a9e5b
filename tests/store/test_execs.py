"""Execs as users see them: snapshots, overrides, repeated triggers, force."""

import threading
from datetime import timedelta

import pytest

from jobd.errors import IdempotencyMismatch, StateConflict, TooManyRequests
from jobd.store import deletion, execs, jobs
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, IdempotencyKey
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, transitions
from tests.store.rows import REGION, ROOM, make_caller, make_exec, make_job, read


def test_an_exec_keeps_the_job_as_it_was(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    made = make_exec(database, caller, job)
    database.write_sync(jobs.update, caller, job.id, {"command": "other", "runtime_vars": {}})
    kept = read(database, made)
    assert kept is not None
    assert (kept.command, kept.runtime_vars) == ("bash", {"DB_HOST": "localhost"})


def test_overrides_hold_for_one_run_and_variables_are_merged(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    made = make_exec(database, caller, job, command="env", runtime_vars={"MORE": "1"})
    assert (made.command, made.runtime_vars) == ("env", {"DB_HOST": "localhost", "MORE": "1"})
    assert make_exec(database, caller, job).command == "bash"


def test_a_rerun_is_the_same_snapshot_again(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    made = make_exec(database, caller, job, command="env")
    again = database.write_sync(execs.rerun, caller, job.id, made.id, ROOM)
    assert (again.command, again.trigger_mode, again.status) == ("env", "M", "W")
    assert again.id != made.id


def test_a_full_namespace_takes_no_more(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    for _ in range(2):
        database.write_sync(execs.create, caller, job.id, {}, 2)
    with pytest.raises(TooManyRequests):
        database.write_sync(execs.create, caller, job.id, {}, 2)
    other = make_caller(database, "other")
    make_exec(database, other)


def test_a_repeated_trigger_makes_one_exec(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    made = [database.write_sync(execs.create, caller, job.id, {"command": "a"}, ROOM, "key").id for _ in range(3)]
    assert len(set(made)) == 1
    assert database.write_sync(execs.create, caller, job.id, {"command": "a"}, ROOM, "other").id != made[0]
    with pytest.raises(IdempotencyMismatch):
        database.write_sync(execs.create, caller, job.id, {"command": "b"}, ROOM, "key")


def test_a_key_is_the_callers_own_and_lasts_a_day(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    first = database.write_sync(execs.create, caller, job.id, {}, ROOM, "key")
    admin = Caller("root", None)
    assert database.write_sync(execs.create, admin, job.id, {}, ROOM, "key").id != first.id
    yesterday = first.created_at - timedelta(hours=25)
    database.write_sync(IdempotencyKey.update(created_at=yesterday).execute)
    assert database.write_sync(execs.create, caller, job.id, {}, ROOM, "key").id != first.id
    database.write_sync(execs.drop_old_keys)
    assert database.read_sync(IdempotencyKey.select().count) == 1


def test_concurrent_repeats_make_one_exec(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    made: list[str] = []

    def trigger() -> None:
        made.append(database.write_sync(execs.create, caller, job.id, {}, ROOM, "key").id)

    threads = [threading.Thread(target=trigger) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_the_key_of_a_deleted_exec_makes_no_second(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    first = database.write_sync(execs.create, caller, job.id, {}, ROOM, "key")
    database.write_sync(deletion.delete_exec, caller, job.id, first.id)
    with pytest.raises(StateConflict):
        database.write_sync(execs.create, caller, job.id, {}, ROOM, "key")


def test_force_ends_the_record_and_fences_its_owner(database: Database, caller: Caller) -> None:
    made = make_exec(database, caller)
    (row,) = database.write_sync(claims.claim, "a", REGION, 10, 10)
    database.write_sync(transitions.set_running, row, None)
    ended = database.write_sync(execs.force_end, caller, made.job_id, made.id)
    assert (ended.status, ended.reason) == ("F", "lost")
    assert not database.write_sync(transitions.end, row, transitions.Result("S"), None)
    with pytest.raises(StateConflict):
        database.write_sync(execs.force_end, caller, made.job_id, made.id)
    assert database.read_sync(Exec.select().count) == 1
