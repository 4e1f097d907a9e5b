"""Writes of one statement, for which PostgreSQL needs no BEGIN and no COMMIT. On SQLite they are like any other."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any


class OneStatement:
    """A write that sends a single statement. A second raises RuntimeError: it would be a transaction of its own."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        update_wrapper(self, fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._fn(*args, **kwargs)


class OneStatementFirst:
    """A write that a single statement does as well in most cases: PostgreSQL is given `statement` first, with the same
    arguments, and the write itself when that answers False because it did nothing.
    """

    def __init__(self, statement: Callable[..., bool], fn: Callable[..., bool]) -> None:
        self.statement = OneStatement(statement)
        self._fn = fn
        update_wrapper(self, fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._fn(*args, **kwargs)
