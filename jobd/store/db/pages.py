"""One page of a list: by its number, or the one that follows the row a client has seen last."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from peewee import SQL, Expression, NodeList, SqliteDatabase

from jobd.errors import InvalidArgs

Counting = Literal["exact", "bounded", "none"]
Key = tuple[int | str, ...]
"""A row's place in a list: its values, as stored, in the columns that the list is ordered by."""
Count = Callable[[int | None], int]
"""How many rows there are; at least so many, where a number is named that there are more than."""
Narrowing = Callable[[Any], tuple[Any, Count | None]]
MAX_COUNTED = 10_000


@dataclass(frozen=True)
class PageRequest:
    """`number` counts from 1. With `goes_on` it is ignored: the page is the one that follows `after`, or the first if
    that is None.
    """

    number: int = 1
    size: int = 20
    counting: Counting = "exact"
    goes_on: bool = False
    after: Key | None = None


@dataclass(frozen=True)
class Page:
    """One page of a list. `count` is the number of rows in all, None if nobody counted; `is_exact` is False if there
    are more than that. `rows` are those of this page and `keys` their places, to go on after each; `has_more` says
    whether others follow.
    """

    count: int | None
    rows: list[Any]
    is_exact: bool = True
    keys: Sequence[Key] = ()
    has_more: bool = False


@dataclass(frozen=True)
class Column:
    """One of the columns that a list is ordered by; together they are unique for each row."""

    field: Any
    kind: type[int] | type[str]
    value: Callable[[Any], int | str]
    """Returns a row's value in this column, as stored."""
    is_descending: bool = True

    def follows(self, value: int | str) -> Expression:
        raw = SQL("?" if self._is_sqlite else "%s", [value])
        return self.field < raw if self.is_descending else self.field > raw

    def equals(self, value: int | str) -> Expression:
        return self.field == SQL("?" if self._is_sqlite else "%s", [value])

    @property
    def _is_sqlite(self) -> bool:
        return isinstance(self.field.model._meta.database, SqliteDatabase)


def page_of(query: Any, request: PageRequest, *order: Column, narrow: Narrowing | None = None) -> Page:
    """A page of a query that has neither an order nor a limit. `narrow` is called in the page's own snapshot: it may
    restrict the query, and say how to count it faster than row by row. Raises InvalidArgs.
    """
    check_key(request.after, *(column.kind for column in order))
    with snapshot(query.model, request.counting != "none"):
        query, count = narrow(query) if narrow else (query, None)
        number, is_exact = counted(request.counting, count or (lambda limit: query.limit(limit).count()))
        ordered = query.order_by(*(c.field.desc() if c.is_descending else c.field.asc() for c in order))
        if request.goes_on and request.after is not None:
            ordered = ordered.where(behind(order, request.after))
        offset = 0 if request.goes_on else (request.number - 1) * request.size
        rows = list(ordered.limit(request.size + 1).offset(offset))
    return cut(rows, request, number, is_exact, lambda row: tuple(column.value(row) for column in order))


def check_key(key: Key | None, *kinds: type) -> None:
    """Raises InvalidArgs for a key that no row of the list can have."""
    if key is not None and tuple(map(type, key)) != kinds:
        raise InvalidArgs("invalid query", {"after": ["is no cursor that came from here"]})


def behind(order: Sequence[Column], key: Key) -> Expression:
    """The condition for the rows that follow the one with this key."""
    first, *others = order
    condition = first.follows(key[0])
    return condition if not others else condition | (first.equals(key[0]) & behind(others, key[1:]))


def not_by_index(field: Any) -> Any:
    """The field, written so that SQLite does not use its index: it prefers the index of namespaces to a better one."""
    return NodeList((SQL("+"), field), glue="") if isinstance(field.model._meta.database, SqliteDatabase) else field


def snapshot(model: Any, is_needed: bool) -> AbstractContextManager[Any]:
    """Within it, all reads see the database at one moment, so that a page and the count of all rows agree."""
    if not is_needed:
        return nullcontext()
    database = model._meta.database
    return database.atomic("DEFERRED" if isinstance(database, SqliteDatabase) else "REPEATABLE READ")


def counted(counting: Counting, count: Count) -> tuple[int | None, bool]:
    """How many rows there are, and whether that number is exact."""
    if counting == "none":
        return None, False
    if counting == "exact":
        return count(None), True
    number = count(MAX_COUNTED + 1)
    return min(number, MAX_COUNTED), number <= MAX_COUNTED


def cut(rows: list[Any], request: PageRequest, count: int | None, is_exact: bool, key: Callable[[Any], Key]) -> Page:
    """The page of these rows, which are one more than the page has if others follow."""
    has_more, rows = len(rows) > request.size, rows[: request.size]
    return Page(count, rows, is_exact, [key(row) for row in rows], has_more)
