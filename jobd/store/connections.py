"""Pooled connections that make no round trip which the work itself does not need."""

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playhouse.pool import PooledPostgresqlDatabase, PooledSqliteDatabase
from psycopg2 import extensions

from jobd.errors import ConfigError

IDLE = 10_000
"""Milliseconds after which the server ends a transaction that sends nothing: a daemon that sleeps in one, or whose
machine is gone, must not keep its locks from the others.
"""


class Sqlite(PooledSqliteDatabase):
    @property
    def is_well(self) -> bool:
        """Whether this thread's connection can be used once more."""
        return not self._is_closed(self.connection())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One statement that is a transaction of its own."""
        with self.atomic("IMMEDIATE"):
            yield


class _Sending(threading.local):
    """What goes with the next statement of a thread."""

    begins = False
    left: int | None = None
    """Statements that may still be sent; None: any number."""


class Postgresql(PooledPostgresqlDatabase):
    """BEGIN goes with the transaction's first statement; an idle connection is known to be whole by its silence."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sending = _Sending()
        super().__init__(*args, **kwargs)

    @property
    def is_well(self) -> bool:
        """Whether this thread's connection can be used once more."""
        return not self._is_closed(self.connection())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One statement that is a transaction of its own. RuntimeError if another follows: it would be one, too."""
        self._sending.left = 1
        try:
            yield
        finally:
            self._sending.left = None

    def begin(self, isolation_level: Any = None) -> None:
        self._sending.begins = True

    def commit(self) -> None:
        if not self._is_unsent():
            super().commit()

    def rollback(self) -> None:
        if not self._is_unsent():
            super().rollback()

    def _is_unsent(self) -> bool:
        unsent, self._sending.begins = self._sending.begins, False
        return unsent

    def _execute_cursor(self, sql: str, params: Any, **options: Any) -> Any:
        if self._sending.left is not None:
            self._sending.left -= 1
            if self._sending.left < 0:
                raise RuntimeError("a second statement, though only one was announced")
        return super()._execute_cursor(f"BEGIN; {sql}" if self._is_unsent() else sql, params, **options)

    def _is_closed(self, conn: Any) -> bool:
        if conn.closed:
            return True
        if conn.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE and not _has_news(conn):
            return False
        return bool(super()._is_closed(conn))


def _has_news(conn: Any) -> bool:
    """Whether the server has said something unasked, such as goodbye."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def sqlite(url: str, connections: int) -> Sqlite:
    """Raises ConfigError."""
    path = url.removeprefix("sqlite:///")
    if path in ("", ":memory:"):
        raise ConfigError(f"[database] url: {url!r} names no file; right: sqlite:///var/jobd.db")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    pragmas = {"journal_mode": "wal", "synchronous": "full", "busy_timeout": 10_000}
    return Sqlite(path, max_connections=connections, pragmas=pragmas, autoconnect=False, check_same_thread=False)


def postgresql(url: str, connections: int) -> Postgresql:
    """Raises ConfigError."""
    if urlsplit(url).scheme not in ("postgresql", "postgres"):
        raise ConfigError(f"[database] url: {url.split(':')[0]}: is neither sqlite:/// nor postgresql://")
    return Postgresql(
        url.replace("postgres://", "postgresql://", 1),
        max_connections=connections,
        timeout=10,
        autoconnect=False,
        connect_timeout=5,
        keepalives_idle=15,
        tcp_user_timeout=20_000,
        options=f"-c statement_timeout=60000 -c lock_timeout=20000 -c idle_in_transaction_session_timeout={IDLE}",
    )
