"""Statements that are written out give what peewee's own would."""

from datetime import timedelta

from jobd.store.db import clock, sql
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, Job
from jobd.store.people.accounts import Caller
from tests.store.rows import make_exec, make_job


def test_a_row_found_is_the_row_that_peewee_finds(database: Database, caller: Caller) -> None:
    job = make_job(database, caller, labels={"团队": "o'neill"}, mounts=[{"name": "data", "path": "/data"}])
    found = database.read_sync(sql.find, Job, "id = ?", job.id)
    assert found is not None
    assert found.__data__ == database.read_sync(Job.get_by_id, job.id).__data__


def test_no_row_is_none(database: Database) -> None:
    assert database.read_sync(sql.find, Job, "id = ?", 1) is None


def test_an_update_counts_the_rows_for_which_its_condition_holds(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    changes = {"runtime_vars": {"A": "?"}, "message": "100 %s", "not_before": row.created_at}
    assert database.write_sync(sql.update, Exec, changes, "id = ? AND status = ?", row.id, "R") == 0
    assert database.write_sync(sql.update, Exec, changes, "id = ? AND status = ?", row.id, "W") == 1
    stored = database.read_sync(Exec.get_by_id, row.seq)
    assert {name: getattr(stored, name) for name in changes} == changes


def test_all_rows_found_are_those_that_peewee_finds(database: Database, caller: Caller) -> None:
    jobs = [make_job(database, caller, name=f"job {n}") for n in range(3)]
    wanted = [job.id for job in jobs[1:]]
    where = f"id IN ({sql.marks(2)}) ORDER BY id"
    found = database.read_sync(sql.find_all, Job, where, *wanted)
    assert [row.__data__ for row in found] == [database.read_sync(Job.get_by_id, id).__data__ for id in wanted]
    names = database.read_sync(sql.find_all, Job, where, *wanted, only=("name",))
    assert [row.__data__ for row in names] == [{"name": "job 1"}, {"name": "job 2"}]
    assert database.read_sync(sql.count, Job, f"id IN ({sql.marks(2)})", *wanted) == 2
    assert database.read_sync(sql.count, Job, f"id IN ({sql.marks(0)})") == 0


def test_now_is_the_databases_clock_in_the_row_and_in_hand(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    found = database.write_sync(
        sql.change,
        row,
        {"message": "said", "started_at": sql.NOW},
        "seq = ?",
        row.seq,
        telling="term + 7",
    )
    assert found is not None
    changed, told = found
    assert told == 7
    stored = database.read_sync(Exec.get_by_id, row.seq)
    assert (stored.message, stored.started_at) == ("said", changed["started_at"])
    assert abs(database.read_sync(clock.now) - stored.started_at) < timedelta(minutes=1)
    assert database.write_sync(sql.change, row, {"started_at": sql.NOW}, "seq = ?", 0) is None


def test_a_taken_row_is_as_it_is_now(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    (taken,) = database.write_sync(sql.take, Exec, "term = term + 1, owner = ?", "seq = ?", "me", row.seq)
    assert (taken.term, taken.owner) == (1, "me")
    assert taken.__data__ == database.read_sync(Exec.get_by_id, row.seq).__data__
