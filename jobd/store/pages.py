"""One page of a list."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Page:
    """`count` rows in all, of which `rows` are this page's."""

    count: int
    rows: list[Any]


def page_of(query: Any, number: int, size: int) -> Page:
    """The page of a query that is in order; `number` counts from 1."""
    return Page(query.count(), list(query.paginate(number, size)))
