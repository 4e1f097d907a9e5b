"""SQL as text for the statements that every request and every exec needs: to build one from its model takes peewee
several times as long as the database takes to run it. Parameters are marked by `?` on every database.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from peewee import (
    BigAutoField,
    BigIntegerField,
    BooleanField,
    CharField,
    Field,
    IntegerField,
    JSONField,
    SqliteDatabase,
    TextField,
)

from jobd.store.db import clock
from jobd.store.db.columns import Table

Row = TypeVar("Row", bound=Table)

NOW: Any = object()
"""Stands for an instant that is set: the time by the database's clock when the statement runs."""

_AS_THEY_ARE = (BigAutoField, BigIntegerField, CharField, IntegerField, TextField)
"""Fields whose stored values need no conversion; their subclasses are not among them."""


def find(model: type[Row], where: str, *parameters: Any) -> Row | None:
    """The first row for which `where` holds. It may end with ORDER BY, LIMIT or a lock clause."""
    values = _run(model, f"{_select(model, None)} {where}", parameters).fetchone()
    return None if values is None else row(model, None, values)


def find_all(model: type[Row], where: str, *parameters: Any, only: tuple[str, ...] | None = None) -> list[Row]:
    """All rows for which `where` holds, which may end as in `find`; with `only`, with no other columns than these."""
    fetched = _run(model, f"{_select(model, only)} {where}", parameters).fetchall()
    return [row(model, only, values) for values in fetched]


def exists(model: type[Table], where: str, *parameters: Any) -> bool:
    return _run(model, f"SELECT 1 FROM {model._meta.table_name} WHERE {where}", parameters).fetchone() is not None  # noqa: S608


def count(model: type[Table], where: str, *parameters: Any) -> int:
    (number,) = _run(model, f"SELECT count(*) FROM {model._meta.table_name} WHERE {where}", parameters).fetchone()  # noqa: S608
    return int(number)


def count_up_to(model: type[Table], where: str, parameters: Sequence[Any], limit: int | None) -> int:
    """Like `count`, but no further than `limit`."""
    if limit is None:
        return count(model, where, *parameters)
    some = f"SELECT 1 FROM {model._meta.table_name} WHERE {where} LIMIT ?"  # noqa: S608
    (number,) = _run(model, f"SELECT count(*) FROM ({some}) AS counted", (*parameters, limit)).fetchone()  # noqa: S608
    return int(number)


def rows(model: type[Table], text: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What a SELECT over several tables returns, as stored; `model` is one of the tables."""
    return list(_run(model, text, parameters).fetchall())


def execute(model: type[Table], text: str, *parameters: Any) -> int:
    """Run a statement that returns no rows; returns how many rows it changed."""
    return int(_run(model, text, parameters).rowcount)


def locked(query: Any) -> Any:
    """The query with its rows locked for this transaction; SQLite allows one writer at a time anyway."""
    return query.for_update() if query.model._meta.database.for_update else query


def insert(row: Table, adding: Table | None = None) -> None:
    """Insert a row; afterwards it has the key that the database gave it, and instants where it had NOW. The row
    `adding` is inserted with it: its NOW is the same instant, and the object itself stays as it is.
    """
    model, meta = type(row), _meta(row)
    text, values, nows = _inserting(row, "VALUES ({marks})")
    returning = [meta.primary_key.name, *nows]
    text = f"{text} RETURNING {', '.join(returning)}"
    if adding is not None and not _is_sqlite(model):
        added, more, _ = _inserting(adding, "SELECT {marks} FROM made", now=nows[0] if nows else None)
        text, values = f"WITH made AS ({text}), added AS ({added}) TABLE made", [*values, *more]
    _note(row, returning, _run(model, text, values).fetchone())
    if adding is not None and _is_sqlite(model):
        fields = {name: getattr(row, nows[0]) if value is NOW else value for name, value in adding.__data__.items()}
        insert(type(adding)(**fields))


def _inserting(row: Table, source: str, now: str | None = None) -> tuple[str, list[Any], list[str]]:
    """The statement that inserts a row, its parameters, and the columns that are NOW; `now` is the SQL for those."""
    model, meta = type(row), _meta(row)
    names = [name for name in row.__data__ if name != meta.primary_key.name or not meta.auto_increment]
    values, nows = _values(model, row.__data__, names)
    marked = zip(names, _marks(model, row.__data__, names), strict=True)
    columns = ", ".join(now if now is not None and name in nows else mark for name, mark in marked)
    text = f"INSERT INTO {meta.table_name} ({', '.join(names)}) {source.format(marks=columns)}"
    return text, values, nows


def update(model: type[Table], changes: Mapping[str, Any], where: str, *parameters: Any) -> int:
    """Set these columns where `where` holds; returns how many rows were changed."""
    return int(_run(model, *_setting(model, changes, where, parameters)).rowcount)


def change(
    row: Row, changes: Mapping[str, Any], where: str, *parameters: Any, telling: str = "", adding: Table | None = None
) -> tuple[dict[str, Any], Any] | None:
    """Set these columns of one row if `where` holds. Returns the columns as they are now, and the value of the SQL
    expression `telling`; None if the row did not match. If and only if it did, the row `adding` is inserted (on
    PostgreSQL only). The row object stays as it is.
    """
    model = type(row)
    nows = [name for name, value in changes.items() if value is NOW]
    returned = ", ".join([*nows, telling] if telling else nows) or "1"
    text, values = _setting(model, changes, f"{where} RETURNING {returned}", parameters)
    if adding is not None:
        added, more, _ = _inserting(adding, "SELECT {marks} FROM changed")
        text, values = f"WITH changed AS ({text}), added AS ({added}) TABLE changed", [*values, *more]
    stored = _run(model, text, values).fetchone()
    if stored is None:
        return None
    changed = {**changes, **_read(model, tuple(nows), stored[: len(nows)])}
    return changed, stored[len(nows)] if telling else None


def change_all(
    model: type[Row],
    changed: Sequence[tuple[Row, Mapping[str, Any]]],
    same: Sequence[str],
    where: str,
    now: str = "",
    adding: Sequence[Table] = (),
) -> dict[int, dict[str, Any]]:
    """Change many rows in one statement, on PostgreSQL only, all in the same columns. A row is changed if its columns
    in `same` are still those of the row object and `where` holds; rows that another transaction has locked are left
    out. Returns what was changed, by primary key. The column `now` is set to the database's clock where its value is
    None. From `adding`, the rows whose first column is the key of a changed row are inserted.
    """
    meta: Any = model._meta
    key, names = meta.primary_key.name, list(changed[0][1])
    columns = [meta.fields[name] for name in (key, *same, *names)]
    casts = {field.name: f"CAST(wanted.new_{field.name} AS {_type(field)})" for field in columns}
    set_to = {name: f"coalesce({casts[name]}, {clock.POSTGRESQL})" if name == now else casts[name] for name in names}
    fence = " AND ".join(f"{meta.table_name}.{name} = wanted.old_{name}" for name in same)
    # The CASE keeps a planner without statistics from reading the whole partial index.
    text = (
        f"WITH wanted ({', '.join([key, *(f'old_{name}' for name in same), *(f'new_{name}' for name in names)])}) "  # noqa: S608
        f"AS (VALUES {', '.join([f'({marks(len(columns))})'] * len(changed))}), "
        f"held AS (SELECT {meta.table_name}.{key} FROM {meta.table_name} JOIN wanted USING ({key}) "
        f"WHERE CASE WHEN {fence} THEN {where} ELSE false END FOR UPDATE OF {meta.table_name} SKIP LOCKED) "
        f"UPDATE {meta.table_name} SET {', '.join(f'{name} = {value}' for name, value in set_to.items())} "
        f"FROM wanted JOIN held USING ({key}) WHERE {meta.table_name}.{key} = wanted.{key} "
        f"RETURNING {meta.table_name}.{key}{f', {meta.table_name}.{now}' if now else ''}"
    )
    values = [
        _parameter(field, value)
        for row, changes in changed
        for field, value in zip(columns, [row.__data__[n] for n in (key, *same)] + list(changes.values()), strict=True)
    ]
    if adding:
        table, own = type(adding[0])._meta.table_name, list(adding[0].__data__)
        text = (
            f"WITH changed AS ({text}), given ({', '.join(own)}) "  # noqa: S608
            f"AS (VALUES {', '.join([f'({marks(len(own))})'] * len(adding))}), "
            f"added AS (INSERT INTO {table} ({', '.join(own)}) SELECT given.* FROM given "
            f"JOIN changed ON changed.{key} = given.{own[0]}) TABLE changed"
        )
        values += [_parameter(row._meta.fields[name], row.__data__[name]) for row in adding for name in own]
    stored = {answer[0]: answer[1:] for answer in _run(model, text, values).fetchall()}
    return {
        row.__data__[key]: {**changes, **(_read(model, (now,), stored[row.__data__[key]]) if now else {})}
        for row, changes in changed
        if row.__data__[key] in stored
    }


def _type(field: Field) -> str:
    """PostgreSQL's name for the type of a column."""
    if isinstance(field, BooleanField):
        return "boolean"
    return "bigint" if isinstance(field, BigIntegerField) else "integer" if isinstance(field, IntegerField) else "text"


def take(model: type[Row], setting: str, where: str, *parameters: Any) -> list[Row]:
    """Run `UPDATE … SET setting WHERE where`; returns the rows as they are now."""
    text = f"UPDATE {model._meta.table_name} SET {setting} WHERE {where} RETURNING {', '.join(_names(model))}"  # noqa: S608
    return [row(model, None, values) for values in _run(model, text, parameters).fetchall()]


def marks(count: int) -> str:
    """The inside of an `IN (…)` with so many parameters. SQL has no empty list, but NULL, which nothing equals."""
    return ", ".join("?" * count) or "NULL"


def _setting(
    model: type[Table], changes: Mapping[str, Any], where: str, parameters: Sequence[Any]
) -> tuple[str, list[Any]]:
    setting = ", ".join(f"{name} = {mark}" for name, mark in zip(changes, _marks(model, changes, changes), strict=True))
    values, _ = _values(model, changes, changes)
    return f"UPDATE {model._meta.table_name} SET {setting} WHERE {where}", [*values, *parameters]  # noqa: S608


def _run(model: type[Table], text: str, parameters: Sequence[Any]) -> Any:
    database = model._meta.database
    return database.execute_sql(text if database.param == "?" else text.replace("?", database.param), parameters)


@lru_cache(maxsize=64)
def _names(model: type[Table]) -> tuple[str, ...]:
    return tuple(field.column_name for field in model._meta.sorted_fields)


@lru_cache(maxsize=64)
def _select(model: type[Table], only: tuple[str, ...] | None) -> str:
    return f"SELECT {', '.join(only or _names(model))} FROM {model._meta.table_name} WHERE"  # noqa: S608


@lru_cache(maxsize=64)
def _readers(model: type[Table], names: tuple[str, ...]) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    """How to convert each column's stored values; None where no conversion is needed."""
    fields = [model._meta.fields[name] for name in names]
    return tuple((field.name, None if type(field) in _AS_THEY_ARE else field.python_value) for field in fields)


def _read(model: type[Table], names: tuple[str, ...], values: Sequence[Any]) -> dict[str, Any]:
    read = zip(_readers(model, names), values, strict=True)
    return {name: value if reader is None else reader(value) for (name, reader), value in read}


def row(model: type[Row], only: tuple[str, ...] | None, values: Sequence[Any]) -> Row:
    """A row object with these columns, or with all, from what is stored in them."""
    row = model(__no_default__=1)
    row.__data__ = _read(model, only or _names(model), values)
    return row


def _note(row: Table, names: Sequence[str], values: Sequence[Any]) -> None:
    for name, value in _read(type(row), tuple(names), values).items():
        setattr(row, name, value)


def _meta(row: Table) -> Any:
    return type(row)._meta


def _is_sqlite(model: type[Table]) -> bool:
    return isinstance(model._meta.database, SqliteDatabase)


def _marks(model: type[Table], values: Mapping[str, Any], names: Any) -> list[str]:
    """The parameter marks of these columns. JSON goes through SQLite's function json(), as peewee does it."""
    fields, is_sqlite = model._meta.fields, _is_sqlite(model)
    if is_sqlite:
        return ["json(?)" if isinstance(fields[name], JSONField) else "?" for name in names]
    return [clock.POSTGRESQL if values[name] is NOW else "?" for name in names]


def _values(model: type[Table], values: Mapping[str, Any], names: Any) -> tuple[list[Any], list[str]]:
    """The values for these columns' marks, and which columns are NOW."""
    fields, is_sqlite = model._meta.fields, _is_sqlite(model)
    nows = [name for name in names if values[name] is NOW]
    at = clock.now() if nows and is_sqlite else None
    return [
        _parameter(fields[name], at if values[name] is NOW else values[name])
        for name in names
        if is_sqlite or values[name] is not NOW
    ], nows


def _parameter(field: Field, value: Any) -> Any:
    if isinstance(field, JSONField):
        return json.dumps(value)
    return value if type(field) in _AS_THEY_ARE or isinstance(field, BooleanField) else field.db_value(value)
