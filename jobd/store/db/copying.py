"""Copies all records of one database into another one, of the same or the other kind, with their ids.

A copy may be interrupted anywhere and started again. Rows are copied in the order of their keys, so what is there is
the beginning; it is compared before the copy goes on. Until everything has been compared, the target has the table
`unfinished_copy`, and jobd does not start on it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import Any

from jobd.errors import ConfigError
from jobd.store.db import tables
from jobd.store.db.copy_ends import End, Row, Shape

SHAPES = [Shape(model) for model in tables.ALL]
DERIVED = {"tallies", "tallied", "spans"}
"""Tables that a daemon fills from the others."""
OWN_TABLES = {shape.table for shape in SHAPES} | DERIVED | {"schema_migration"}
MARK = "unfinished_copy"
MADE_BY_MIGRATIONS = ("installation",)
"""Tables that have a row even in a database that was never used."""
MAX_BATCH_BYTES = 4 * 2**20

Report = Callable[[str, int, int], None]
"""Called with a table's name, how many of its rows have been copied, and how many there are."""


@dataclass
class Sum:
    """The number of rows, and a digest that does not depend on their order: the sum of their SHA-256."""

    count: int = 0
    digest: int = 0

    def add(self, shape: Shape, row: Row) -> None:
        text = repr(_comparable(shape, row)).encode("utf-8", "surrogatepass")
        self.count += 1
        self.digest = (self.digest + int.from_bytes(hashlib.sha256(text).digest(), "big")) % 2**256


def refuse_unfinished(names: set[str]) -> None:
    """Raises ConfigError if a database with these tables is an unfinished copy."""
    if MARK in names:
        raise ConfigError("this database is an unfinished copy; run `jobd database copy` again to continue it")


def check_source(source: End) -> None:
    """Raises ConfigError if the source is not a complete database with this program's schema."""
    names = source.tables()
    refuse_unfinished(names)
    for shape in SHAPES:
        if source.columns(shape.table) != set(shape.columns):
            raise ConfigError(
                f"the source's table {shape.table} does not fit this jobd; "
                "use the jobd that wrote it, or run `jobd migrate`"
            )


def begin(source: End, target: End) -> bool:
    """Mark the target as an unfinished copy; returns whether it was one before. Raises ConfigError if it has other
    data.
    """
    installation, names = _installation(source), target.tables()
    if MARK in names:
        of = target.value(f"SELECT installation FROM {MARK}")  # noqa: S608
        if of not in (None, installation):
            raise ConfigError(f"the target is an unfinished copy of another database, {of}; expected an empty one")
        if of == installation:
            return True
    elif foreign := sorted(names - OWN_TABLES):
        raise ConfigError(f"the target has tables that are not jobd's: {', '.join(foreign[:5])}; expected an empty one")
    else:
        _refuse_data(source, target, names)
        target.execute(f"CREATE TABLE {MARK} (installation VARCHAR(36))")
    target.execute(f"INSERT INTO {MARK} VALUES ('{installation}')")  # noqa: S608 - an id that jobd made
    return False


def copy(source: End, target: End, report: Report) -> dict[str, int]:
    """Copy what is missing, compare everything and remove the mark; returns how many rows each table has.

    Raises ConfigError if a row cannot be stored in the target, or if the comparison fails.
    """
    source.snapshot()
    counts = {}
    for shape in SHAPES:
        whole = _copy_table(source, target, shape, report)
        if _sum(target, shape) != whole:
            raise ConfigError(f"the copy of {shape.table} differs from the source; run this again")
        counts[shape.table] = whole.count
        if shape.counts:
            target.move_to(shape, source.position(shape))
    target.execute(f"DROP TABLE {MARK}")
    return counts


def _copy_table(source: End, target: End, shape: Shape, report: Report) -> Sum:
    """Copy the rows that follow those already there, or all if those are not the source's; returns the sum of the
    source's rows.
    """
    there, last = _sum_and_last(target, shape)
    total = int(source.value(f'SELECT count(*) FROM "{shape.table}"'))  # noqa: S608
    whole = Sum()
    rows = chain.from_iterable(source.batches(shape))
    ahead: Row | None = None
    if last is not None:
        for row in rows:
            if shape.key_of(row) > last:
                ahead = row
                break
            whole.add(shape, row)
        if whole != there:
            # The source has changed since the copy was interrupted.
            target.execute(f'DELETE FROM "{shape.table}"')  # noqa: S608
            whole, ahead = Sum(), None
            rows = chain.from_iterable(source.batches(shape))
    report(shape.table, whole.count, total)
    for batch in _in_batches(rows if ahead is None else chain([ahead], rows), shape.batch):
        try:
            target.insert(shape, batch)
        except Exception as error:
            first, final = shape.key_of(batch[0]), shape.key_of(batch[-1])
            raise ConfigError(f"{shape.table}, rows {first} to {final}: cannot be in the target: {error}") from error
        for row in batch:
            whole.add(shape, row)
        report(shape.table, whole.count, total)
    return whole


def _in_batches(rows: Iterator[Row], most: int) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(batch) >= most or size >= MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sum(end: End, shape: Shape) -> Sum:
    return _sum_and_last(end, shape)[0]


def _sum_and_last(end: End, shape: Shape) -> tuple[Sum, Row | None]:
    """The sum of all rows, and the key of the last one."""
    total, last = Sum(), None
    for batch in end.batches(shape):
        for row in batch:
            total.add(shape, row)
        last = shape.key_of(batch[-1])
    return total, last


def _refuse_data(source: End, target: End, names: set[str]) -> None:
    for shape in SHAPES:
        if shape.table not in names or shape.table in MADE_BY_MIGRATIONS:
            continue
        if target.value(f'SELECT 1 FROM "{shape.table}" LIMIT 1') is not None:  # noqa: S608
            is_same = _installation(target) == _installation(source)
            what = "a finished copy of this database, or what became of one" if is_same else "data of its own"
            raise ConfigError(f"the target has {what} (in {shape.table}); expected an empty one")


def _installation(end: End) -> Any:
    return end.value("SELECT id FROM installation")


def _comparable(shape: Shape, row: Row) -> Row:
    """The row with its JSON normalized: PostgreSQL keeps neither the order of names nor the way a
    number was written.
    """
    if not shape.json:
        return row
    values = list(row)
    for place in shape.json:
        if values[place] is not None:
            values[place] = _canonical(values[place])
    return tuple(values)


@lru_cache(4096)
def _canonical(text: str) -> str:
    return json.dumps(json.loads(text, parse_float=_number, parse_int=_number), sort_keys=True)


def _number(text: str) -> str:
    return f"number {Decimal(text).normalize()}"
