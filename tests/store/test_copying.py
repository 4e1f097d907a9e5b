"""A copy has every row of every table, whatever cut it, and goes nowhere where something is."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest

from jobd.errors import ConfigError
from jobd.store.db import copying, tables
from jobd.store.db.copy_ends import End, Postgresql, Sqlite
from jobd.store.db.database import Database
from jobd.store.db.tables import Installation, User
from jobd.store.people import accounts
from tests.services import fresh_postgres

ROWS = 7
KINDS = ["sqlite", "postgresql"]
DOCUMENT = {"z": 1.50, "a": ["名", {"é": None, "": "\n\\u0041'\"%s"}], "n": 10**20, "e": 1e22, "i": -0}

Open = Callable[[], End]


@pytest.fixture
def open_source(database_url: str) -> Open:
    """A database with rows in every table; `database_url` says of which kind."""
    database = Database(database_url)
    database.write_sync(fill)
    database.close()
    return opener(database_url)


@pytest.fixture(params=KINDS)
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/target.db"
        return
    with fresh_postgres() as url:
        yield url


def opener(url: str) -> Open:
    return lambda: Sqlite(Path(url.removeprefix("sqlite:///"))) if url.startswith("sqlite") else Postgresql(url)


def value(field: peewee.Field, number: int) -> Any:
    if isinstance(field, peewee.JSONField):
        return {**DOCUMENT, "number": number}
    if isinstance(field, peewee.BlobField):
        return bytes(range(256)) * number
    if isinstance(field, peewee.BooleanField):
        return number % 2 == 0
    if isinstance(field, peewee.IntegerField):
        return number if not isinstance(field, peewee.BigIntegerField) else 2**40 + number
    text = f"ä名'{number}\\x\t"
    return text[: getattr(field, "max_length", None) or None] if number % 2 or field.unique else f"B{number}"[:1]


def fill() -> None:
    """Rows in every table, each column with and without a value, and the highest of them deleted again."""
    Installation.delete().execute()
    for model in tables.ALL:
        key = model._meta.primary_key
        names = key.field_names if isinstance(key, peewee.CompositeKey) else [key.name]
        for number in range(1, 2 if model is Installation else ROWS + 2):
            row = {
                field.name: f"{number}-{'é' * (number % 3)}"[:36]
                if field.name in names and isinstance(field, peewee.CharField)
                else value(field, number)
                for field in model._meta.sorted_fields
                if not field.null or number % 2
            }
            row |= {name: number * 3 for name in names if isinstance(key, peewee.AutoField | peewee.BigAutoField)}
            row |= {"prefix": f"p{number}"} if model is tables.Token else {}
            model.insert(**row).execute()
        if model is not Installation:
            model.delete().where(*(model._meta.fields[name] == row[name] for name in names)).execute()


def copied(open_source: Open, target_url: str, report: copying.Report = lambda *_: None) -> dict[str, int]:
    source, target = open_source(), opener(target_url)()
    try:
        copying.check_source(source)
        copying.begin(source, target)
        database = Database(target_url)
        database.migrate_copy()
        database.close()
        return copying.copy(source, target, report)
    finally:
        source.close()
        target.close()


def first_columns(row: Any) -> str:
    """They hold the key; what is JSON may stand in another order."""
    return repr(row[:3])


def contents(url: str) -> dict[str, list[Any]]:
    """Every row of every table, as the models read it."""
    database = Database(url)
    try:
        return {model.__name__: database.read_sync(rows_of, model) for model in tables.ALL}
    finally:
        database.close()


def rows_of(model: Any) -> list[Any]:
    rows = model.select().tuples()
    plain = [tuple(bytes(cell) if isinstance(cell, memoryview) else cell for cell in row) for row in rows]
    return sorted(plain, key=first_columns)


def test_every_row_of_every_table_is_copied(open_source: Open, database_url: str, target_url: str) -> None:
    before = contents(database_url)
    counts = copied(open_source, target_url)
    assert counts.keys() == {model._meta.table_name for model in tables.ALL}
    assert set(counts.values()) == {1, ROWS}
    assert contents(target_url) == contents(database_url) == before


def test_what_a_copy_says_it_knows_is_all_that_a_database_has(database: Database) -> None:
    names = set(database.read_sync(lambda: User._meta.database.get_tables()))
    assert (
        names - {"schema_migration", "sqlite_sequence"} == {shape.table for shape in copying.SHAPES} | copying.DERIVED
    )


def test_an_id_that_was_given_is_not_given_again_by_the_copy(
    open_source: Open, database_url: str, target_url: str
) -> None:
    copied(open_source, target_url)
    database = Database(target_url)
    made = database.write_sync(accounts.create_user, "later")
    database.close()
    given = (ROWS + 1) * 3
    # PostgreSQL's sequences do not know of ids that were not theirs to give.
    assert made.id > (given if database_url.startswith("sqlite") else ROWS * 3)


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_copy_that_was_cut_goes_on(
    open_source: Open, database_url: str, target_url: str, is_committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at every batch, before its commit or after."""
    for shape in copying.SHAPES:
        monkeypatch.setattr(shape, "batch", 5)
    kind = Sqlite if target_url.startswith("sqlite") else Postgresql
    insert, inserted = kind.insert, []

    def cut(end: Any, shape: Any, rows: Any) -> None:
        if is_committed:
            insert(end, shape, rows)
        if (shape.table, rows[0]) not in inserted:
            inserted.append((shape.table, rows[0]))
            raise KeyboardInterrupt
        insert(end, shape, rows)

    monkeypatch.setattr(kind, "insert", cut)
    cuts = 0
    while True:
        try:
            copied(open_source, target_url)
            break
        except KeyboardInterrupt:
            cuts += 1
            with pytest.raises(ConfigError, match="unfinished copy"):
                Database(target_url).migrate()
    assert cuts > len(tables.ALL)
    assert contents(target_url) == contents(database_url)
    Database(target_url).migrate()


def test_rows_that_changed_since_the_cut_are_copied_anew(
    open_source: Open, database_url: str, target_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(table: str, done: int, total: int) -> None:
        if table == "jobs" and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copied(open_source, target_url, cut)
    database = Database(database_url)
    database.write_sync(lambda: User.update(created_at=accounts.now()).where(User.id == 3).execute())
    database.write_sync(lambda: User.delete().where(User.id == 6).execute())
    database.close()
    copied(open_source, target_url)
    assert contents(target_url) == contents(database_url)


def test_a_target_with_something_in_it_is_refused_and_left_alone(open_source: Open, target_url: str) -> None:
    database = Database(target_url)
    database.migrate()
    database.close()
    copied(open_source, target_url)
    with pytest.raises(ConfigError, match="a finished copy of this database"):
        copied(open_source, target_url)
    database = Database(target_url)
    database.write_sync(lambda: Installation.update(id="another").execute())
    before = contents(target_url)
    with pytest.raises(ConfigError, match="has data of its own"):
        copied(open_source, target_url)
    assert contents(target_url) == before


def test_a_target_of_another_program_is_refused(open_source: Open, target_url: str) -> None:
    other = opener(target_url)()
    other.execute("CREATE TABLE theirs (id INTEGER)")
    other.close()
    with pytest.raises(ConfigError, match="not jobd's: theirs"):
        copied(open_source, target_url)


def test_an_unfinished_copy_of_another_database_is_refused(
    open_source: Open, target_url: str, sqlite_template: Path, tmp_path: Path
) -> None:
    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copied(open_source, target_url, cut)
    other = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'other.db')}"
    with pytest.raises(ConfigError, match="unfinished copy of another database"):
        copied(opener(other), target_url)


def test_a_row_that_the_target_cannot_hold_is_named(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    database.write_sync(accounts.create_user, "u")
    database.write_sync(lambda: User.update(password_hash="a\0b").execute())
    database.close()
    with fresh_postgres() as url, pytest.raises(ConfigError, match=r"users, rows \(1,\) to \(1,\): .*NUL"):
        copied(opener(sqlite_url), url)


def test_a_changed_copy_is_noticed(open_source: Open, target_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Sqlite if target_url.startswith("sqlite") else Postgresql
    insert = kind.insert
    monkeypatch.setattr(kind, "insert", lambda end, shape, rows: insert(end, shape, rows[:-1] or rows))
    with pytest.raises(ConfigError, match="differs from the source"):
        copied(open_source, target_url)
