"""Statements that are written out give what peewee's own would."""

from jobd.store import statements
from jobd.store.accounts import Caller
from jobd.store.database import Database
from jobd.store.tables import Exec, Job
from tests.store.rows import make_exec, make_job


def test_a_row_found_is_the_row_that_peewee_finds(database: Database, caller: Caller) -> None:
    job = make_job(database, caller, labels={"团队": "o'neill"}, mounts=[{"name": "data", "path": "/data"}])
    found = database.read_sync(statements.find, Job, "id = ?", job.id)
    assert found is not None
    assert found.__data__ == database.read_sync(Job.get_by_id, job.id).__data__


def test_no_row_is_none(database: Database) -> None:
    assert database.read_sync(statements.find, Job, "id = ?", 1) is None


def test_an_update_counts_the_rows_for_which_its_condition_holds(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    changes = {"runtime_vars": {"A": "?"}, "message": "100 %s", "not_before": row.created_at}
    assert database.write_sync(statements.update, Exec, changes, "id = ? AND status = ?", row.id, "R") == 0
    assert database.write_sync(statements.update, Exec, changes, "id = ? AND status = ?", row.id, "W") == 1
    stored = database.read_sync(Exec.get_by_id, row.seq)
    assert {name: getattr(stored, name) for name in changes} == changes
