"""One page of a list: by its number, or behind the row that a client has seen last."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from peewee import SQL, Expression, NodeList, SqliteDatabase

from jobd.errors import InvalidArgs

Counting = Literal["exact", "bounded", "none"]
Key = tuple[int | str, ...]
"""What a list is in the order of, as the database has it: of one row, to go on behind it."""
MAX_COUNTED = 10_000


@dataclass(frozen=True)
class PageRequest:
    """`number` counts from 1; with `goes_on` the page is the one behind `after` instead, None: the first one."""

    number: int = 1
    size: int = 20
    counting: Counting = "exact"
    goes_on: bool = False
    after: Key | None = None


@dataclass(frozen=True)
class Page:
    """`count` rows in all, None when nobody counted, of which `rows` are this page's; `is_exact` is false when there
    are more. `keys` are those of the rows, to go on behind each; `has_more` says whether others follow.
    """

    count: int | None
    rows: list[Any]
    is_exact: bool = True
    keys: Sequence[Key] = ()
    has_more: bool = False


@dataclass(frozen=True)
class Column:
    """One of those that a list is in the order of; all of them together are another for each row."""

    field: Any
    kind: type[int] | type[str]
    value: Callable[[Any], int | str]
    """Of a row, as the database has it."""
    is_descending: bool = True

    def follows(self, value: int | str) -> Expression:
        raw = SQL("?" if self._is_sqlite else "%s", [value])
        return self.field < raw if self.is_descending else self.field > raw

    def equals(self, value: int | str) -> Expression:
        return self.field == SQL("?" if self._is_sqlite else "%s", [value])

    @property
    def _is_sqlite(self) -> bool:
        return isinstance(self.field.model._meta.database, SqliteDatabase)


def page_of(query: Any, request: PageRequest, *order: Column) -> Page:
    """A page of the query, which says neither an order nor a limit. Raises InvalidArgs."""
    check_key(request.after, *(column.kind for column in order))
    ordered = query.order_by(*(c.field.desc() if c.is_descending else c.field.asc() for c in order))
    if request.goes_on and request.after is not None:
        ordered = ordered.where(behind(order, request.after))

    def read(offset: int) -> list[Any]:
        return list(ordered.limit(request.size + 1).offset(offset))

    with snapshot(query.model, request.counting == "exact"):
        count, is_exact = counted(request.counting, query.count, lambda limit: query.limit(limit).count())
        rows = read(0 if request.goes_on else (request.number - 1) * request.size)
    return cut(rows, request, count, is_exact, lambda row: tuple(column.value(row) for column in order))


def check_key(key: Key | None, *kinds: type) -> None:
    """Raises InvalidArgs for a key that no row of the list can have."""
    if key is not None and tuple(map(type, key)) != kinds:
        raise InvalidArgs("invalid query", {"after": ["is no cursor that came from here"]})


def behind(order: Sequence[Column], key: Key) -> Expression:
    """What comes after the row with this key."""
    first, *others = order
    condition = first.follows(key[0])
    return condition if not others else condition | (first.equals(key[0]) & behind(others, key[1:]))


def not_by_index(field: Any) -> Any:
    """The field, for a condition that SQLite is not to look up: it takes the namespaces' index before a better one."""
    return NodeList((SQL("+"), field), glue="") if isinstance(field.model._meta.database, SqliteDatabase) else field


def snapshot(model: Any, is_needed: bool) -> AbstractContextManager[Any]:
    """Within it, all is read as it was at one moment: a page and the count of all belong together."""
    if not is_needed:
        return nullcontext()
    database = model._meta.database
    return database.atomic("DEFERRED" if isinstance(database, SqliteDatabase) else "REPEATABLE READ")


def counted(counting: Counting, exact: Callable[[], int], up_to: Callable[[int], int]) -> tuple[int | None, bool]:
    """How many there are, and whether that is all; `up_to` counts no further than so many."""
    if counting == "none":
        return None, False
    if counting == "exact":
        return exact(), True
    count = up_to(MAX_COUNTED + 1)
    return min(count, MAX_COUNTED), count <= MAX_COUNTED


def cut(rows: list[Any], request: PageRequest, count: int | None, is_exact: bool, key: Callable[[Any], Key]) -> Page:
    """The page of one row more than it has, if there are so many."""
    has_more, rows = len(rows) > request.size, rows[: request.size]
    return Page(count, rows, is_exact, [key(row) for row in rows], has_more)
