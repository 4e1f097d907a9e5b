"""Pooled connections that make no unnecessary round trips."""

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from peewee import OperationalError
from playhouse.pool import PooledPostgresqlDatabase, PooledSqliteDatabase
from psycopg2 import extensions

from jobd.errors import ConfigError
from jobd.store.db.deadlines import here
from jobd.store.db.error_causes import is_busy

IDLE = 10_000
"""Milliseconds after which the server ends a transaction in which nothing happens: a daemon that was suspended, or
whose machine is gone, must not keep its locks.
"""


LOCK_WAIT = 10_000
"""The maximum time in milliseconds that a statement waits for a lock; less if its caller has waited already."""
BUSY_WAIT = 200
"""Milliseconds that one attempt waits for SQLite's lock; then jobd looks whether anybody still waits for the call."""
LEAST_LOCK_WAIT = 100


class Sqlite(PooledSqliteDatabase):
    is_locked = False
    """Whether the last attempt to begin a transaction met a lock held by somebody else."""

    def begin(self, lock_type: str | None = None) -> None:
        try:
            super().begin(lock_type)
        except OperationalError as error:
            self.is_locked = is_busy(error)
            raise
        if lock_type != "DEFERRED":
            # A transaction that only reads waits for no lock, so it says nothing about one.
            self.is_locked = False

    def rollback(self) -> None:
        # On a full disk SQLite has rolled back already: a second rollback would raise, and hide the first error.
        if self.is_closed() or self.connection().in_transaction:
            super().rollback()

    @property
    def is_well(self) -> bool:
        """Whether this thread's connection can still be used."""
        return not self._is_closed(self.connection())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run one statement as a transaction of its own."""
        with self.atomic("IMMEDIATE"):
            yield


class _Sending(threading.local):
    """What is sent with the next statement of a thread."""

    begins = ""
    """The BEGIN of a transaction whose first statement has not been sent yet; empty otherwise."""
    left: int | None = None
    """How many more statements may be sent; None for any number."""


class Postgresql(PooledPostgresqlDatabase):
    """Sends BEGIN together with the transaction's first statement. An idle connection counts as intact as long as the
    server has sent nothing on it.
    """

    is_locked = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sending = _Sending()
        super().__init__(*args, **kwargs)

    @property
    def is_well(self) -> bool:
        """Whether this thread's connection can still be used."""
        return not self._is_closed(self.connection())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run one statement as a transaction of its own. A second one raises RuntimeError: it would be another
        transaction.
        """
        self._sending.left = 1
        try:
            yield
        finally:
            self._sending.left = None

    def begin(self, isolation_level: Any = None) -> None:
        self._sending.begins = f"BEGIN ISOLATION LEVEL {isolation_level}" if isolation_level else "BEGIN"

    def commit(self) -> None:
        if not self._unsent():
            super().commit()

    def rollback(self) -> None:
        if not self._unsent():
            super().rollback()

    def _unsent(self) -> str:
        unsent, self._sending.begins = self._sending.begins, ""
        return unsent

    def _execute_cursor(self, sql: str, params: Any, **options: Any) -> Any:
        if self._sending.left is not None:
            self._sending.left -= 1
            if self._sending.left < 0:
                raise RuntimeError("a second statement, though only one was announced")
        sql = _within_patience(sql)
        begin = self._unsent()
        return super()._execute_cursor(f"{begin}; {sql}" if begin else sql, params, **options)

    def _is_closed(self, conn: Any) -> bool:
        if conn.closed:
            return True
        if conn.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE and not _has_news(conn):
            return False
        return bool(super()._is_closed(conn))


def _within_patience(sql: str) -> str:
    """The statement, with a shorter wait for locks if its caller has already waited for other things."""
    if here.claim is None:
        return sql
    left = int(1000 * (here.claim.until - time.monotonic()))
    if left > LOCK_WAIT - 1000:
        return sql
    # Sent together with the statement, SET LOCAL applies to it even without a BEGIN.
    return f"SET LOCAL lock_timeout = {max(left, LEAST_LOCK_WAIT)}; {sql}"


def _has_news(conn: Any) -> bool:
    """Whether the server has sent something without being asked, such as a notice that it shuts down."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def sqlite(url: str, connections: int) -> Sqlite:
    """Raises ConfigError."""
    path = url.removeprefix("sqlite:///")
    if path in ("", ":memory:"):
        raise ConfigError(f"[database] url: {url!r} names no file; expected sqlite:///var/jobd.db")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    pragmas = {"journal_mode": "wal", "synchronous": "full", "busy_timeout": BUSY_WAIT}
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
        options=f"-c statement_timeout=60000 -c lock_timeout={LOCK_WAIT} -c idle_in_transaction_session_timeout={IDLE}",
    )
