"""What the functions of the store say of themselves, for the door to the database to do them the cheapest way."""

from collections.abc import Callable
from typing import Any, TypeVar

Fn = TypeVar("Fn", bound=Callable[..., Any])

alone: set[Callable[..., Any]] = set()
shortcuts: dict[Callable[..., Any], Callable[..., Any]] = {}
together: dict[Callable[..., Any], Callable[..., Any]] = {}


def one_statement(fn: Fn) -> Fn:
    """For a write of one statement: PostgreSQL needs no BEGIN and no COMMIT for it. A second raises RuntimeError."""
    alone.add(fn)
    return fn


def tried_first(shortcut: Callable[..., Any]) -> Callable[[Fn], Fn]:
    """For a write that a single statement does as well in most cases: PostgreSQL is given that one first, as `shortcut`
    with the same arguments, and the write itself when the answer is false: nothing was done then.
    """

    def mark(fn: Fn) -> Fn:
        shortcuts[fn] = shortcut
        return fn

    return mark


def gathered(all_at_once: Callable[[list[Any]], list[bool]]) -> Callable[[Fn], Fn]:
    """For a write of one row that answers whether it did it: on PostgreSQL those that come while another is under way
    are given to `all_at_once`, as a list of their arguments; it says of each whether it did it, and leaves the rest.
    """

    def mark(fn: Fn) -> Fn:
        together[fn] = all_at_once
        return fn

    return mark
