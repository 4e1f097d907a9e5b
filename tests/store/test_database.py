"""The one door: migrations, transactions, threads, and a database that is away."""

import asyncio
import threading
from pathlib import Path

import peewee
import pytest
from playhouse.schema_diff import SchemaDiff, diff_models

from jobd.errors import ConfigError, ServiceUnavailable
from jobd.store.db import database as door
from jobd.store.db import tables
from jobd.store.db.database import Database
from jobd.store.db.one_statement import OneStatement, OneStatementFirst
from jobd.store.db.tables import Job, User
from jobd.store.people import accounts
from jobd.store.people.accounts import Caller
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


@pytest.mark.gen_test
async def test_of_writes_that_come_together_only_the_one_that_fails_is_undone(database: Database) -> None:
    followed: list[int] = []

    def make(number: int) -> int:
        accounts.create_user(f"u{number}")
        door.after_commit(lambda: followed.append(number))
        if number % 10 == 3:
            raise RuntimeError("midway")
        return number

    answers = await asyncio.gather(*(database.write(make, n) for n in range(40)), return_exceptions=True)
    made = [n for n in range(40) if n % 10 != 3]
    assert [answer for answer in answers if isinstance(answer, int)] == made
    assert [str(answer) for answer in answers if not isinstance(answer, int)] == ["midway"] * 4
    assert {user.username for user in await database.read(accounts.users)} == {f"u{n}" for n in made}
    assert sorted(followed) == made


@pytest.mark.gen_test
async def test_a_statement_that_the_database_refuses_spoils_no_other_write(database: Database) -> None:
    twice = [database.write(accounts.create_user, "u") for _ in range(2)]
    wrong = database.write(User._meta.database.execute_sql, "SELECT * FROM nothing")
    others = [database.write(accounts.create_user, f"u{n}") for n in range(10)]
    answers = await asyncio.gather(*twice, wrong, *others, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers].count("User") == 11
    assert len(await database.read(accounts.users)) == 11


@pytest.mark.gen_test
async def test_writes_whose_commit_fails_all_hear_of_it(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(sqlite_url)
    database.migrate()

    def full() -> None:
        raise peewee.OperationalError("database or disk is full")

    gate = threading.Event()
    first = asyncio.ensure_future(database.write(gate.wait))
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(database.write(accounts.create_user, f"u{n}")) for n in range(5)]
    await asyncio.sleep(0)
    monkeypatch.setattr(User._meta.database, "commit", full)
    gate.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    monkeypatch.undo()
    assert [isinstance(answer, ServiceUnavailable) for answer in answers] == [True] * 6
    assert await database.read(accounts.users) == []
    await database.write(accounts.create_user, "u")
    database.close()


@pytest.mark.gen_test
async def test_a_connection_that_was_cut_while_it_lay_idle_costs_nothing(postgres_url: str) -> None:
    database = Database(postgres_url)
    database.migrate()
    all_used = threading.Barrier(8)
    await asyncio.gather(*(database.read(all_used.wait, 10) for _ in range(8)))
    database.read_sync(_cut_all_others)
    await asyncio.gather(*(database.write(accounts.create_user, f"u{n}") for n in range(16)))
    assert len(database.read_sync(accounts.users)) == 16
    database.close()


def test_a_write_whose_connection_breaks_before_its_commit_is_done_once(postgres_url: str) -> None:
    database = Database(postgres_url)
    database.migrate()
    cuts = iter([True, False])

    def make() -> None:
        accounts.create_user("u")
        if next(cuts):
            User._meta.database.execute_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    database.write_sync(make)
    assert [user.username for user in database.read_sync(accounts.users)] == ["u"]
    database.close()


def test_a_write_whose_commit_may_have_happened_is_not_repeated(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(postgres_url)
    database.migrate()
    commit = User._meta.database.commit

    def cut() -> None:
        commit()
        monkeypatch.undo()
        User._meta.database.execute_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(User._meta.database, "commit", cut)
    with pytest.raises(ServiceUnavailable):
        database.write_sync(lambda: accounts.create_user(f"u{User.select().count()}"))
    assert [user.username for user in database.read_sync(accounts.users)] == ["u0"]
    database.close()


def test_a_write_of_one_statement_is_held_to_it(postgres_url: str) -> None:
    database = Database(postgres_url)
    database.migrate()

    def two() -> None:
        User.select().exists()
        User.select().exists()

    with pytest.raises(RuntimeError, match="second"):
        database.write_sync(OneStatement(two))
    database.close()


def _cut_all_others() -> None:
    User._meta.database.execute_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@pytest.mark.gen_test
async def test_what_one_statement_does_not_do_is_done_in_a_transaction(database: Database) -> None:
    tried: list[str] = []

    def short(name: str) -> bool:
        tried.append("short")
        return name == "simple"

    def whole(name: str) -> bool:
        tried.append("whole")
        return name == "simple"

    write = OneStatementFirst(short, whole)
    assert await database.write(write, "simple")
    assert tried == (["whole"] if database.is_sqlite else ["short"])
    tried.clear()
    assert not await database.write(write, "of two statements")
    assert tried == (["whole"] if database.is_sqlite else ["short", "whole"])
