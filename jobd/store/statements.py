"""The statements that every request and every exec needs, as text: to write one anew from its model, peewee takes
several times as long as the database takes to run it. Parameters are marked by `?`, whatever the database.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from peewee import Field, JSONField, SqliteDatabase

from jobd.store.tables import Table

Row = TypeVar("Row", bound=Table)


def find(model: type[Row], where: str, *parameters: Any) -> Row | None:
    """The first row for which `where` holds; it may end in what else a SELECT can have."""
    text = f"SELECT {_columns(model)} FROM {model._meta.table_name} WHERE {where}"  # noqa: S608
    found = _run(model, text, parameters).fetchone()
    if found is None:
        return None
    fields = model._meta.sorted_fields
    values = {field.name: field.python_value(value) for field, value in zip(fields, found, strict=True)}
    return model(__no_default__=1, **values)


def rows(model: type[Table], text: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What a statement of several tables answers, as the database has it; `model` is one of them."""
    return list(_run(model, text, parameters).fetchall())


def execute(model: type[Table], text: str, *parameters: Any) -> int:
    """Run a statement that answers nothing; how many rows it changed."""
    return int(_run(model, text, parameters).rowcount)


def locked(query: Any) -> Any:
    """The query, with its rows kept for this transaction alone; SQLite lets one write at a time anyway."""
    return query.for_update() if query.model._meta.database.for_update else query


def insert(row: Table) -> None:
    """Insert a new row; one whose key the database makes has it afterwards."""
    meta: Any = type(row)._meta
    names = [name for name in row.__data__ if name != meta.primary_key.name or not meta.auto_increment]
    marks = ", ".join(_mark(meta.fields[name]) for name in names)
    text = f"INSERT INTO {meta.table_name} ({', '.join(names)}) VALUES ({marks}) RETURNING {meta.primary_key.name}"  # noqa: S608
    (key,) = _run(type(row), text, [_parameter(meta.fields[name], row.__data__[name]) for name in names]).fetchone()
    setattr(row, meta.primary_key.name, key)


def update(model: type[Table], changes: Mapping[str, Any], where: str, *parameters: Any) -> int:
    """Set these columns where `where` holds; how many rows that were."""
    meta = model._meta
    setting = ", ".join(f"{name} = {_mark(meta.fields[name])}" for name in changes)
    values = [_parameter(meta.fields[name], value) for name, value in changes.items()]
    text = f"UPDATE {meta.table_name} SET {setting} WHERE {where}"  # noqa: S608
    return int(_run(model, text, [*values, *parameters]).rowcount)


def _run(model: type[Table], text: str, parameters: Sequence[Any]) -> Any:
    database = model._meta.database
    return database.execute_sql(text if database.param == "?" else text.replace("?", database.param), parameters)


def _mark(field: Field) -> str:
    # As peewee does it: SQLite keeps as JSON what comes from this function.
    return "json(?)" if isinstance(field, JSONField) and isinstance(field.model._meta.database, SqliteDatabase) else "?"


def _parameter(field: Field, value: Any) -> Any:
    return json.dumps(value) if isinstance(field, JSONField) else field.db_value(value)


@lru_cache(maxsize=64)
def _columns(model: type[Table]) -> str:
    return ", ".join(field.column_name for field in model._meta.sorted_fields)
