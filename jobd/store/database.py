"""The one door to the database.

Everything in `jobd.store` is a plain blocking function over the models in `tables`, to be run by this door: in a
thread, on a connection of its own, `write` in one transaction. The loop thread never touches the database.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import peewee
from playhouse.migrations import Runner
from playhouse.pool import PooledPostgresqlDatabase, PooledSqliteDatabase

from jobd import journal
from jobd.errors import ConfigError, ServiceUnavailable
from jobd.metrics import Metrics
from jobd.store import tables

log = logging.getLogger(__name__)

Result = TypeVar("Result")

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x6A6F6264
SLOW = 1.0
"""Seconds after which a call through the door is worth a line in the log."""
STATEMENT_FAULTS = (peewee.DataError, peewee.IntegrityError, peewee.NotSupportedError, peewee.ProgrammingError)
"""What is wrong with a statement; all else is the database's: one that became read-only says InternalError."""
IDLE = 10_000
"""Milliseconds after which the server ends a transaction that sends nothing: a daemon that sleeps in one, or whose
machine is gone, must not keep its locks from the others.
"""
RETRIED = ("40001", "40P01")
"""PostgreSQL's serialization_failure and deadlock_detected: the transaction did nothing and may be tried again."""


_pending = threading.local()


def after_commit(follow: Callable[[], None]) -> None:
    """Do this once the transaction of this thread is committed, and not if it never is: what is kept in memory of a
    row must not run ahead of the row.
    """
    _pending.follow.append(follow)


def count(tell: Callable[[Metrics], None]) -> None:
    """Have this counted once the transaction of this thread is committed, and not if it never is."""
    _pending.counts.append(tell)


class Database:
    """`url` is `sqlite:///PATH` or `postgresql://…`; `connections` bounds the pool and its threads."""

    def __init__(self, url: str, connections: int = 8, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self.is_sqlite = url.startswith("sqlite:")
        self._peewee = _sqlite(url, connections) if self.is_sqlite else _postgresql(url, connections)
        self._readers = ThreadPoolExecutor(connections, thread_name_prefix="jobd-db")
        # SQLite has one writer at a time: queueing for it here is fair, and never ends in "database is locked".
        self._writers = ThreadPoolExecutor(1, thread_name_prefix="jobd-db-write") if self.is_sqlite else self._readers
        # A heartbeat that queued behind slow queries would cost the lease of a daemon that is well.
        self._pulse = ThreadPoolExecutor(1, thread_name_prefix="jobd-db-pulse") if not self.is_sqlite else self._writers
        self._peewee.bind(tables.ALL)

    async def read(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run `fn` in a thread, without a transaction. Raises ServiceUnavailable when the database is away."""
        return await self._submit(self._readers, self.read_sync, fn, args, kwargs)

    async def write(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run `fn` in a thread, in one transaction. Raises ServiceUnavailable when the database is away."""
        return await self._submit(self._writers, self.write_sync, fn, args, kwargs)

    async def write_urgently(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """`write` that waits behind nothing else; on SQLite, with its one writer, it is `write`."""
        return await self._submit(self._pulse, self.write_sync, fn, args, kwargs)

    def read_sync(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """`read` for callers without a loop."""
        return self._timed(lambda: fn(*args, **kwargs), fn, "read")

    def write_sync(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """`write` for callers without a loop."""

        def transaction() -> Result:
            _pending.follow, _pending.counts = [], []
            with self._peewee.atomic("IMMEDIATE") if self.is_sqlite else self._peewee.atomic():
                result = fn(*args, **kwargs)
            for follow in _pending.follow:
                follow()
            for tell in _pending.counts:
                tell(self.metrics)
            return result

        return self._timed(transaction, fn, "write")

    def migrate(self, then: Callable[[], None] = lambda: None) -> list[str]:
        """Bring the schema up to date and do `then`, one daemon at a time; the names of what was applied.

        Raises ConfigError when the schema is newer than this program.
        """
        return self.write_sync(self._migrate, then)

    def pending(self) -> list[str]:
        """Migrations not applied yet."""
        return self.read_sync(lambda: [m.name for m in self._runner().status() if m.path and not m.applied])

    def close(self) -> None:
        """Wait for what is under way, then let go of threads and connections."""
        self._readers.shutdown()
        self._writers.shutdown()
        self._pulse.shutdown()
        self._peewee.close_all()

    def _runner(self) -> Runner:
        return Runner(self._peewee, str(MIGRATIONS))

    def _migrate(self, then: Callable[[], None]) -> list[str]:
        if not self.is_sqlite:
            self._peewee.execute_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        runner = self._runner()
        unknown = [m.name for m in runner.status() if m.path is None]
        if unknown:
            raise ConfigError(f"the database's schema is newer than this jobd: it has {', '.join(unknown)}")
        applied: list[str] = runner.up()
        then()
        return applied

    async def _submit(self, pool: ThreadPoolExecutor, call: Callable[..., Any], fn: Any, args: Any, kwargs: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(
            pool, journal.carried(lambda: call(fn, *args, **kwargs))
        )

    def _timed(self, work: Callable[[], Result], fn: Callable[..., Any], kind: str) -> Result:
        began = time.monotonic()
        try:
            return self._attempt(work)
        except ServiceUnavailable:
            self.metrics.database_errors.labels(kind).inc()
            raise
        finally:
            took = time.monotonic() - began
            self.metrics.database_duration.labels(kind).observe(took)
            if took > SLOW:
                log.warning("database call %s took %.1f s", getattr(fn, "__qualname__", fn), took)

    def _attempt(self, work: Callable[[], Result], tries: int = 3) -> Result:
        while True:
            tries -= 1
            try:
                self._peewee.connect(reuse_if_open=False)
            except (peewee.PeeweeException, ValueError) as error:
                raise ServiceUnavailable(f"the database cannot be reached: {_first_line(error)}") from error
            try:
                return work()
            except STATEMENT_FAULTS:
                raise
            except (peewee.DatabaseError, peewee.InterfaceError) as error:
                code = getattr(error.__cause__ or error.__context__, "pgcode", None)
                if code in RETRIED and tries:
                    continue
                self._discard()
                raise ServiceUnavailable(f"the database does not answer: {_first_line(error)}") from error
            finally:
                if not self._peewee.is_closed():
                    self._peewee.close()

    def _discard(self) -> None:
        """Drop this thread's connection: what failed once is not handed to the next call."""
        try:
            self._peewee.manual_close()
        except peewee.PeeweeException as error:
            log.debug("closing a failed connection: %s", error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _sqlite(url: str, connections: int) -> PooledSqliteDatabase:
    path = url.removeprefix("sqlite:///")
    if path in ("", ":memory:"):
        raise ConfigError(f"[database] url: {url!r} names no file; right: sqlite:///var/jobd.db")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    pragmas = {"journal_mode": "wal", "synchronous": "full", "busy_timeout": 10_000}
    return PooledSqliteDatabase(
        path, max_connections=connections + 2, pragmas=pragmas, autoconnect=False, check_same_thread=False
    )


def _postgresql(url: str, connections: int) -> PooledPostgresqlDatabase:
    if urlsplit(url).scheme not in ("postgresql", "postgres"):
        raise ConfigError(f"[database] url: {url.split(':')[0]}: is neither sqlite:/// nor postgresql://")
    return PooledPostgresqlDatabase(
        url.replace("postgres://", "postgresql://", 1),
        max_connections=connections + 2,
        timeout=10,
        autoconnect=False,
        connect_timeout=5,
        keepalives_idle=15,
        tcp_user_timeout=20_000,
        options=f"-c statement_timeout=60000 -c lock_timeout=20000 -c idle_in_transaction_session_timeout={IDLE}",
    )
