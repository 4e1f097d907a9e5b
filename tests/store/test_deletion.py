"""Deleting hides at once, stops what is live, and purges what has ended."""

import pytest

from jobd.errors import NotFound
from jobd.output.run_log import StoredLog
from jobd.store import deletion, execs, jobs
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, ExecLog, Job
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, transitions
from jobd.store.queue.transitions import Result
from tests.store.rows import REGION, make_caller, make_exec, make_job, read


def test_a_job_takes_its_records_and_logs_with_it(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    make_exec(database, caller, job)
    (row,) = database.write_sync(claims.claim, "a", REGION, 10, 10)
    database.write_sync(transitions.end, row, Result("S"), StoredLog(b"frames", 6))
    database.write_sync(deletion.delete_job, caller, job.id)
    for table in (Job, Exec, ExecLog):
        assert database.read_sync(table.select().count) == 0


def test_a_live_exec_is_hidden_and_purged_after_its_end(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    made = make_exec(database, caller, job)
    (row,) = database.write_sync(claims.claim, "a", REGION, 10, 10)
    database.write_sync(deletion.delete_job, caller, job.id)
    with pytest.raises(NotFound):
        database.read_sync(jobs.get, caller, job.id)
    with pytest.raises(NotFound):
        database.read_sync(execs.get, caller, job.id, made.id)
    assert [asked.id for asked in database.read_sync(claims.stops_requested, "a")] == [made.id]
    database.write_sync(transitions.end, row, Result("C", "cancelled"), None)
    database.write_sync(deletion.purge_exec, row.seq)
    assert read(database, made) is None
    assert database.read_sync(Job.select().count) == 0


def test_a_waiting_exec_of_a_deleted_job_never_runs(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    make_exec(database, caller, job)
    database.write_sync(deletion.delete_job, caller, job.id)
    assert database.write_sync(claims.claim, "a", REGION, 10, 10) == []


def test_the_other_execs_of_a_job_stay(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    first, second = make_exec(database, caller, job), make_exec(database, caller, job)
    database.write_sync(deletion.delete_exec, caller, job.id, first.id)
    assert read(database, first) is None
    assert read(database, second) is not None


def test_a_stranger_deletes_nothing(database: Database, caller: Caller) -> None:
    made = make_exec(database, caller)
    stranger = make_caller(database, "stranger")
    with pytest.raises(NotFound):
        database.write_sync(deletion.delete_job, stranger, made.job_id)
    with pytest.raises(NotFound):
        database.write_sync(deletion.delete_exec, stranger, made.job_id, made.id)
    assert read(database, made) is not None


def test_what_was_left_deleted_is_purged_by_the_minute(database: Database, caller: Caller) -> None:
    made = make_exec(database, caller)
    (row,) = database.write_sync(claims.claim, "a", REGION, 10, 10)
    database.write_sync(deletion.delete_exec, caller, made.job_id, made.id)
    database.write_sync(transitions.end, row, Result("C", "cancelled"), None)
    database.write_sync(deletion.purge_all)
    assert read(database, made) is None
    assert database.read_sync(Job.select().count) == 1
