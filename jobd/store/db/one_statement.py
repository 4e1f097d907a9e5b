"""Writes of a single statement, which PostgreSQL runs without BEGIN and COMMIT. On SQLite they are like all others."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any


class OneStatement:
    """A write that sends a single statement. A second one raises RuntimeError: it would be a transaction of its own."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        update_wrapper(self, fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._fn(*args, **kwargs)


class OneStatementFirst:
    """A write that a single statement can do in most cases. PostgreSQL runs `statement` first, with the same arguments,
    and the write itself if that returns False because it did nothing.
    """

    def __init__(self, statement: Callable[..., bool], fn: Callable[..., bool]) -> None:
        self.statement = OneStatement(statement)
        self._fn = fn
        update_wrapper(self, fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._fn(*args, **kwargs)
