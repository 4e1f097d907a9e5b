"""One end of a copy: a database's rows in the order of their keys, as plain values, in batches.

This works below peewee, on connections of its own: two databases are open at once, and the models can be bound to only
one.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import psycopg2
from peewee import AutoField, BigAutoField, BlobField, BooleanField, CharField, CompositeKey, JSONField, TextField
from psycopg2.extras import execute_values

from jobd.store.db.columns import Table

Row = tuple[Any, ...]

MAX_BATCH_ROWS = 500
MAX_BATCH_ROWS_WITH_BYTES = 25
"""The maximum number of rows in memory at once, of tables without and with large values."""
TEXT = (CharField, TextField)


class Shape:
    """What has to be known about a table in order to copy it."""

    def __init__(self, model: type[Table]) -> None:
        meta = model._meta
        fields = meta.sorted_fields
        key: Any = meta.primary_key
        names = key.field_names if isinstance(key, CompositeKey) else [key.name]
        self.table: str = meta.table_name
        self.columns: list[str] = [field.column_name for field in fields]
        self.key: list[str] = [meta.fields[name].column_name for name in names]
        self.key_is_text = [isinstance(meta.fields[name], TEXT) for name in names]
        self.key_places = [self.columns.index(name) for name in self.key]
        self.json = [place for place, field in enumerate(fields) if isinstance(field, JSONField)]
        self.booleans = [place for place, field in enumerate(fields) if isinstance(field, BooleanField)]
        self.blobs = [place for place, field in enumerate(fields) if isinstance(field, BlobField)]
        self.counts = isinstance(key, AutoField | BigAutoField)
        self.batch = MAX_BATCH_ROWS_WITH_BYTES if self.blobs else MAX_BATCH_ROWS

    def key_of(self, row: Row) -> Row:
        return tuple(row[place] for place in self.key_places)


class End(Protocol):
    """One of the two databases. JSON is passed on as the text that is stored; a row's other values
    are Python objects.
    """

    def tables(self) -> set[str]: ...
    def columns(self, table: str) -> set[str]: ...
    def value(self, statement: str) -> Any:
        """The single value that a statement returns; None if it returns no row."""

    def snapshot(self) -> None:
        """From now on, all reads see the database as it is at this moment."""

    def batches(self, shape: Shape) -> Iterator[list[Row]]:
        """All rows, by ascending key; text is ordered by its code points."""

    def insert(self, shape: Shape, rows: Sequence[Row]) -> None:
        """Insert these rows in one transaction."""

    def execute(self, statement: str) -> None:
        """Run a statement in a transaction of its own."""

    def position(self, shape: Shape) -> int:
        """The highest number that a key of the table has ever had, as far as the database knows."""

    def move_to(self, shape: Shape, position: int) -> None:
        """Have all new keys be higher than this."""

    def close(self) -> None: ...


class Sqlite:
    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None, timeout=10)
        self._connection.execute("PRAGMA synchronous = full")

    def tables(self) -> set[str]:
        rows = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows if not name.startswith("sqlite_")}

    def columns(self, table: str) -> set[str]:
        return {row[1] for row in self._connection.execute(f'PRAGMA table_info("{table}")')}

    def value(self, statement: str) -> Any:
        row = self._connection.execute(statement).fetchone()
        return row and row[0]

    def snapshot(self) -> None:
        self._connection.execute("BEGIN")

    def batches(self, shape: Shape) -> Iterator[list[Row]]:
        cursor = self._connection.execute(
            f"SELECT {_listed(shape.columns)} FROM {_quoted(shape.table)} ORDER BY {_listed(shape.key)}"  # noqa: S608
        )
        while rows := cursor.fetchmany(shape.batch):
            if shape.booleans:
                rows = [_with(row, shape.booleans, bool) for row in rows]
            yield rows

    def insert(self, shape: Shape, rows: Sequence[Row]) -> None:
        marks = ", ".join("?" * len(shape.columns))
        with self._transaction():
            self._connection.executemany(
                f"INSERT INTO {_quoted(shape.table)} ({_listed(shape.columns)}) VALUES ({marks})",  # noqa: S608
                rows,
            )

    def execute(self, statement: str) -> None:
        self._connection.execute(statement)

    def position(self, shape: Shape) -> int:
        highest = self.value(f"SELECT max({_quoted(shape.key[0])}) FROM {_quoted(shape.table)}") or 0  # noqa: S608
        if self.value("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'") is None:
            return int(highest)
        kept = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (shape.table,)).fetchone()
        return max(int(highest), int(kept[0]) if kept else 0)

    def move_to(self, shape: Shape, position: int) -> None:
        schema = self._connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (shape.table,)).fetchone()
        if "AUTOINCREMENT" not in schema[0]:
            return  # new keys follow the highest row that there is
        with self._transaction():
            self._connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (shape.table,))
            self._connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (shape.table, position))

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


class Postgresql:
    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url, connect_timeout=5, options="-c lock_timeout=10000")
        self._is_source = False
        self._numbers = count()

    def tables(self) -> set[str]:
        rows = self._all("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        return {name for (name,) in rows}

    def columns(self, table: str) -> set[str]:
        return {
            name
            for (name,) in self._all(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() "
                "AND table_name = %s",
                (table,),
            )
        }

    def value(self, statement: str) -> Any:
        rows = self._all(statement)
        return rows[0][0] if rows else None

    def snapshot(self) -> None:
        self._connection.rollback()
        self._connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        self._is_source = True

    def batches(self, shape: Shape) -> Iterator[list[Row]]:
        chosen = [
            f"{_quoted(name)}::text" if place in shape.json else _quoted(name)
            for place, name in enumerate(shape.columns)
        ]
        # The order that SQLite has, whatever the database's collation.
        order = [
            f'{_quoted(name)} COLLATE "C"' if is_text else _quoted(name)
            for name, is_text in zip(shape.key, shape.key_is_text, strict=True)
        ]
        with self._connection.cursor(name=f"copied_{next(self._numbers)}") as cursor:
            cursor.execute(f"SELECT {', '.join(chosen)} FROM {_quoted(shape.table)} ORDER BY {', '.join(order)}")  # noqa: S608
            while rows := cursor.fetchmany(shape.batch):
                if shape.blobs:
                    rows = [_with(row, shape.blobs, bytes) for row in rows]
                yield rows
        self._end()

    def insert(self, shape: Shape, rows: Sequence[Row]) -> None:
        marks = ["%s::jsonb" if place in shape.json else "%s" for place in range(len(shape.columns))]
        into = f"INSERT INTO {_quoted(shape.table)} ({_listed(shape.columns)}) VALUES %s"  # noqa: S608
        try:
            with self._connection.cursor() as cursor:
                execute_values(cursor, into, rows, template=f"({', '.join(marks)})", page_size=len(rows))
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise

    def execute(self, statement: str) -> None:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement)
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise

    def position(self, shape: Shape) -> int:
        highest = self.value(f"SELECT max({_quoted(shape.key[0])}) FROM {_quoted(shape.table)}") or 0  # noqa: S608
        name = self._sequence(shape)
        last = self.value(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {name}")  # noqa: S608
        return max(int(highest), int(last))

    def move_to(self, shape: Shape, position: int) -> None:
        if position:
            self._all("SELECT setval(%s, %s)", (self._sequence(shape), position))
            self._connection.commit()

    def close(self) -> None:
        self._connection.close()

    def _sequence(self, shape: Shape) -> str:
        return str(self._all("SELECT pg_get_serial_sequence(%s, %s)", (shape.table, shape.key[0]))[0][0])

    def _all(self, statement: str, parameters: Any = None) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            rows: list[Row] = cursor.fetchall()
        self._end()
        return rows

    def _end(self) -> None:
        """End the transaction that reading has begun, so that the next read sees what is new and no lock is kept; a
        snapshot goes on.
        """
        if not self._is_source:
            self._connection.commit()


def _quoted(name: str) -> str:
    return f'"{name}"'


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))


def _with(row: Row, places: Sequence[int], kind: type) -> Row:
    """The row with the values at these places converted to this type; None stays None."""
    values = list(row)
    for place in places:
        if values[place] is not None:
            values[place] = kind(values[place])
    return tuple(values)
