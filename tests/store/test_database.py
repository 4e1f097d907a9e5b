"""The one door: migrations, transactions, threads, and a database that is away."""

import threading
from pathlib import Path

import pytest
from playhouse.schema_diff import SchemaDiff, diff_models

from jobd.errors import ConfigError, ServiceUnavailable
from jobd.store import accounts, tables
from jobd.store import database as door
from jobd.store.accounts import Caller
from jobd.store.database import Database
from jobd.store.tables import Job, User
from tests.store.rows import make_job


def test_the_migrations_make_the_tables_that_the_models_describe(database: Database) -> None:
    difference: SchemaDiff = database.read_sync(lambda: diff_models(Job._meta.database, list(tables.ALL)))
    assert not difference.create_tables
    assert not difference.add_columns
    assert not difference.drop_columns


def test_migrating_again_changes_nothing(database: Database) -> None:
    assert database.migrate() == []
    assert database.pending() == []


def test_two_daemons_that_start_at_once_migrate_once(empty_database_url: str) -> None:
    opened = Database(empty_database_url)
    applied: list[str] = []
    threads = [threading.Thread(target=lambda: applied.extend(opened.migrate())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened.close()
    assert len(applied) == len(set(applied)) > 0


def test_a_schema_that_is_newer_than_the_program_stops_the_start(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MIGRATIONS", tmp_path)
    with pytest.raises(ConfigError, match="newer"):
        database.migrate()


def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    def half() -> None:
        accounts.create_user("u")
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError):
        database.write_sync(half)
    assert not database.read_sync(User.select().exists)


def test_many_threads_share_the_door(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)

    def work() -> None:
        for _ in range(10):
            database.write_sync(lambda: Job.update(timeout=Job.timeout + 1).execute())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.read_sync(Job.get, Job.id == job.id).timeout == job.timeout + 80


def test_a_postgresql_that_is_away_is_service_unavailable() -> None:
    opened = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(ServiceUnavailable, match="cannot be reached"):
        opened.read_sync(User.select().count)
    opened.close()


def test_a_connection_that_the_server_cut_heals(database: Database) -> None:
    if database.is_sqlite:
        database.read_sync(User.select().count)
        return
    cut = "SELECT pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(ServiceUnavailable):
        database.read_sync(lambda: User._meta.database.execute_sql(cut))
    assert database.read_sync(User.select().count) == 0


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:", "mysql://x/y"])
def test_a_url_that_names_no_database_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigError):
        Database(url)
