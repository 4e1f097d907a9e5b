"""Old and surplus records go, in batches; live ones never."""

from datetime import timedelta

from jobd.output.run_log import StoredLog
from jobd.store import retention
from jobd.store.db.clock import now
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, ExecLog, Job
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, transitions
from jobd.store.queue.transitions import Result
from tests.store.rows import REGION, make_exec, make_job


def ended(database: Database, caller: Caller, job: Job, count: int) -> list[Exec]:
    for _ in range(count):
        make_exec(database, caller, job)
    rows = database.write_sync(claims.claim, "a", REGION, 1000, 1000)
    for row in rows:
        database.write_sync(transitions.end, row, Result("S"), StoredLog(b"frames", 6))
    return rows


def ids(database: Database) -> set[str]:
    return {row.id for row in database.read_sync(lambda: list(Exec.select(Exec.id)))}


def test_the_newest_execs_of_each_job_are_kept_with_their_logs(database: Database, caller: Caller) -> None:
    usual, special = make_job(database, caller), make_job(database, caller, execs_kept=1)
    first, second = ended(database, caller, usual, 4), ended(database, caller, special, 3)
    waiting = make_exec(database, caller, usual)
    assert database.write_sync(retention.drop_surplus, 2, 0) == (4, None)
    assert ids(database) == {row.id for row in [*first[2:], second[2], waiting]}
    assert database.read_sync(ExecLog.select().count) == 3


def test_slots_that_did_not_run_do_not_count(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    rows = ended(database, caller, job, 3)
    database.write_sync(Exec.update(status="N").where(Exec.id == rows[2].id).execute)
    database.write_sync(retention.drop_surplus, 2, 0)
    assert len(ids(database)) == 3


def test_surplus_goes_in_batches(database: Database, caller: Caller, monkeypatch) -> None:
    monkeypatch.setattr(retention, "EXECS_AT_ONCE", 2)
    monkeypatch.setattr(retention, "JOBS_AT_ONCE", 1)
    one, two = make_job(database, caller), make_job(database, caller)
    ended(database, caller, one, 4)
    ended(database, caller, two, 2)
    assert database.write_sync(retention.drop_surplus, 1, 0) == (2, 0)
    assert database.write_sync(retention.drop_surplus, 1, 0) == (1, one.id)
    assert database.write_sync(retention.drop_surplus, 1, one.id) == (1, two.id)
    assert database.write_sync(retention.drop_surplus, 1, two.id) == (0, None)
    assert len(ids(database)) == 2


def test_only_jobs_that_ran_since_are_looked_at(database: Database, caller: Caller, monkeypatch) -> None:
    monkeypatch.setattr(retention, "RECENT_AT_ONCE", 1)
    rested, *ran = (make_job(database, caller) for _ in range(3))
    long_ago = [row.id for row in ended(database, caller, rested, 2)]
    since = database.read_sync(now)
    hour_ago = since - timedelta(hours=1)
    database.write_sync(Exec.update(ended_at=hour_ago).where(Exec.id.in_(long_ago)).execute)
    for job in ran:
        ended(database, caller, job, 2)
    first, second = (job.id for job in ran)
    assert database.write_sync(retention.drop_surplus, 1, 0, since) == (1, first)
    assert database.write_sync(retention.drop_surplus, 1, first, since) == (1, second)
    assert database.write_sync(retention.drop_surplus, 1, second, since) == (0, None)
    assert len(ids(database)) == 4
    assert set(long_ago) <= ids(database)


def test_what_ended_too_long_ago_goes(database: Database, caller: Caller) -> None:
    old, young = ended(database, caller, make_job(database, caller), 2)
    waiting = make_exec(database, caller)
    long_ago = old.created_at - timedelta(days=91)
    database.write_sync(Exec.update(ended_at=long_ago).where(Exec.id == old.id).execute)
    database.write_sync(Exec.update(created_at=long_ago).where(Exec.id == waiting.id).execute)
    assert database.write_sync(retention.drop_old, 90 * 86400) == 1
    assert ids(database) == {young.id, waiting.id}
