"""The one door to the database.

Everything in `jobd.store` is a plain blocking function over the models in `tables`, to be run by this door: in a
thread, on a connection of its own, `write` in one transaction. The loop thread never touches the database.
"""

import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import peewee
from playhouse.migrations import Runner

from jobd import journal
from jobd.errors import ConfigError, ServiceUnavailable
from jobd.metrics import Metrics
from jobd.store import connections as connecting
from jobd.store import tables
from jobd.store.gathering import Gathering
from jobd.threads import Threads

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Fn = TypeVar("Fn", bound=Callable[..., Any])
Urgent = Literal["pulse", "scan"]

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x6A6F6264
SLOW = 1.0
"""Seconds after which a call through the door is worth a line in the log."""
STATEMENT_FAULTS = (peewee.DataError, peewee.IntegrityError, peewee.NotSupportedError, peewee.ProgrammingError)
"""What is wrong with a statement; all else is the database's: one that became read-only says InternalError."""
RETRIED = ("40001", "40P01")
"""PostgreSQL's serialization_failure and deadlock_detected: the transaction did nothing and may be tried again."""


LONGEST_TOGETHER = 0.02
"""Seconds of work after which a group of writes is committed."""


class _Pending(threading.local):
    """The transaction of a thread."""

    is_committing = False
    """Whether its COMMIT may have been sent: from then on it may have happened, whatever is heard of it."""

    def __init__(self) -> None:
        self.follow: list[Callable[[], None]] = []
        self.counts: list[Callable[[Metrics], None]] = []


_pending = _Pending()
_alone: set[Callable[..., Any]] = set()
_shortcuts: dict[Callable[..., Any], Callable[..., Any]] = {}
_together: dict[Callable[..., Any], Callable[..., Any]] = {}


def after_commit(follow: Callable[[], None]) -> None:
    """Do this once the transaction of this thread is committed, and not if it never is: what is kept in memory of a
    row must not run ahead of the row.
    """
    _pending.follow.append(follow)


def one_statement(fn: Fn) -> Fn:
    """For a write of one statement: PostgreSQL needs no BEGIN and no COMMIT for it. A second raises RuntimeError."""
    _alone.add(fn)
    return fn


def tried_first(shortcut: Callable[..., Any]) -> Callable[[Fn], Fn]:
    """For a write that a single statement does as well in most cases: PostgreSQL is given that one first, as `shortcut`
    with the same arguments, and the write itself when the answer is false: nothing was done then.
    """

    def mark(fn: Fn) -> Fn:
        _shortcuts[fn] = shortcut
        return fn

    return mark


def gathered(together: Callable[[list[Any]], list[bool]]) -> Callable[[Fn], Fn]:
    """For a write of one row that answers whether it did it: on PostgreSQL those that come while another is under way
    are given to `together`, as a list of their arguments; it says of each whether it did it, and leaves the rest.
    """

    def mark(fn: Fn) -> Fn:
        _together[fn] = together
        return fn

    return mark


class _Write:
    """A write that waits to be committed together with others."""

    def __init__(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.within = contextvars.copy_context().run
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_over = False

    def settle(self, work: Callable[..., Any]) -> None:
        self.error = None
        try:
            self.result = self.within(work, self.fn, *self.args, **self.kwargs)
        except BaseException as error:  # whoever waits is to have it
            self.error = error
        self.is_over = True


def count(tell: Callable[[Metrics], None]) -> None:
    """Have this counted once the transaction of this thread is committed, and not if it never is."""
    _pending.counts.append(tell)


class Database:
    """`url` is `sqlite:///PATH` or `postgresql://…`; `connections` bounds its threads, each with a connection of its
    own. Callers without a loop have as many once more.
    """

    most_together = 64
    """Writes that SQLite commits at once, at the most."""

    def __init__(self, url: str, connections: int = 8, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self.is_sqlite = url.startswith("sqlite:")
        most = 2 * connections + 3
        self._peewee = connecting.sqlite(url, most) if self.is_sqlite else connecting.postgresql(url, most)
        self._readers = Threads(connections, "jobd-db")
        # SQLite has one writer at a time: queueing for it here is fair, and never ends in "database is locked".
        self._writers = Threads(1, "jobd-db-write") if self.is_sqlite else self._readers
        # Behind slow queries a heartbeat would cost the lease of a daemon that is well, and slots would fire late.
        self._apart = {name: Threads(1, f"jobd-db-{name}") for name in ("pulse", "scan")}
        self._ours = threading.local()
        self._queue: deque[_Write] = deque()
        self._gatherings = {fn: self._gathering(fn, together) for fn, together in _together.items()}
        self._peewee.bind(tables.ALL)

    async def read(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run `fn` in a thread, without a transaction. Raises ServiceUnavailable when the database is away."""
        return await self._submit(self._readers, self.read_sync, fn, args, kwargs)

    async def write(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run `fn` in a thread, in one transaction; on SQLite, with its one writer, in one with other writes, of which
        each is undone by itself when it fails. Raises ServiceUnavailable when the database is away.
        """
        gathering = self._gatherings.get(fn)
        if not self.is_sqlite and gathering is not None and not kwargs:
            return await gathering.write(*args)  # type: ignore[return-value]
        if not self.is_sqlite:
            return await self._submit(self._writers, self.write_sync, fn, args, kwargs)
        write = _Write(fn, args, kwargs)
        self._queue.append(write)
        return await self._submit(self._writers, self._written, write, (), {})

    async def write_apart(self, who: Urgent, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """`write` that waits behind nothing but what else `who` writes; on SQLite it is `write`."""
        if self.is_sqlite:
            return await self.write(fn, *args, **kwargs)
        return await self._submit(self._apart[who], self.write_sync, fn, args, kwargs)

    def read_sync(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """`read` for callers without a loop."""
        return self._timed(partial(fn, *args, **kwargs), _name(fn), "read")

    def write_sync(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """`write` for callers without a loop."""
        shortcut = None if self.is_sqlite else _shortcuts.get(fn)
        if shortcut is not None and (done := self._write(shortcut, True, args, kwargs)):
            return done
        return self._write(fn, fn in _alone, args, kwargs)

    def _write(self, fn: Callable[..., Result], is_alone: bool, args: Any, kwargs: Any) -> Result:
        work = partial(self._transaction, partial(fn, *args, **kwargs), is_alone)
        return self._timed(work, _name(fn), "write")

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
        for threads in (self._readers, self._writers, *self._apart.values()):
            threads.close()
        self._peewee.close_all()

    def _gathering(self, fn: Callable[..., Any], together: Callable[..., Any]) -> Gathering:
        async def alone(*args: Any) -> bool:
            return bool(await self._submit(self._writers, self.write_sync, fn, args, {}))

        async def all_of(calls: list[tuple[Any, ...]]) -> list[bool]:
            return list(await self._submit(self._writers, self.write_sync, together, (calls,), {}))

        return Gathering(alone, all_of)

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

    async def _submit(self, threads: Threads, call: Callable[..., Any], fn: Any, args: Any, kwargs: Any) -> Any:
        return await threads.call(journal.carried(self._in_our_thread), call, fn, args, kwargs)

    def _in_our_thread(self, call: Callable[..., Any], fn: Any, args: Any, kwargs: Any) -> Any:
        self._ours.keeps_connection = True
        return call(fn, *args, **kwargs)

    def _written(self, write: _Write) -> Any:
        """The answer of a write in the queue; it may have been in the group of one before it."""
        while not write.is_over:
            if len(self._queue) > 1 and self.most_together > 1:
                self._write_together()
            else:
                self._queue.popleft().settle(self.write_sync)
        if write.error is not None:
            raise write.error
        return write.result

    def _write_together(self) -> None:
        """Commit what is in the queue as one transaction, each write in a savepoint of its own. If the transaction
        fails before its COMMIT, for whatever reason, each is tried alone.
        """
        group: list[_Write] = []
        try:
            self._timed(
                partial(self._transaction, partial(self._gather, group)), f"of {len(self._queue)} writes", "write"
            )
        except Exception as error:
            may_be_there = _pending.is_committing
            for write in group or [self._queue.popleft()]:
                if may_be_there:
                    write.error = error
                else:
                    write.settle(self.write_sync)
        for write in group:
            write.is_over = True

    def _gather(self, group: list[_Write]) -> None:
        until = time.monotonic() + LONGEST_TOGETHER
        while self._queue and len(group) < self.most_together and (not group or time.monotonic() < until):
            write = self._queue.popleft()
            group.append(write)
            followed, counted = len(_pending.follow), len(_pending.counts)
            self._peewee.execute_sql("SAVEPOINT one")
            try:
                write.result = write.within(write.fn, *write.args, **write.kwargs)
            except BaseException as error:  # its own fault, unless it is the database's
                if isinstance(error, peewee.DatabaseError) and not isinstance(error, STATEMENT_FAULTS):
                    raise
                write.error = error
                del _pending.follow[followed:], _pending.counts[counted:]
                self._peewee.execute_sql("ROLLBACK TO one")
            self._peewee.execute_sql("RELEASE one")

    def _transaction(self, work: Callable[[], Result], is_alone: bool = False) -> Result:
        _pending.follow, _pending.counts = [], []
        _pending.is_committing = is_alone
        with self._peewee.alone() if is_alone else self._atomic():
            result = work()
            _pending.is_committing = True
        for follow in _pending.follow:
            follow()
        for tell in _pending.counts:
            tell(self.metrics)
        return result

    def _atomic(self) -> Any:
        return self._peewee.atomic("IMMEDIATE") if self.is_sqlite else self._peewee.atomic()

    def _timed(self, work: Callable[[], Result], what: str, kind: str) -> Result:
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
                log.warning("database call %s took %.1f s", what, took)

    def _attempt(self, work: Callable[[], Result], tries: int = 3) -> Result:
        while True:
            tries -= 1
            _pending.is_committing = False
            self._connect()
            try:
                result = work()
            except STATEMENT_FAULTS:
                self._give_back()
                raise
            except (peewee.DatabaseError, peewee.InterfaceError) as error:
                is_lost, code = self._is_lost(), getattr(error.__cause__ or error.__context__, "pgcode", None)
                if is_lost:
                    self._discard()
                if tries and (code in RETRIED or (is_lost and not _pending.is_committing)):
                    continue
                self._discard()
                raise ServiceUnavailable(f"the database does not answer: {_first_line(error)}") from error
            except BaseException:
                self._give_back()
                raise
            if not getattr(self._ours, "keeps_connection", False):
                self._give_back()
            return result

    def _connect(self) -> None:
        """This thread's connection, the one that it kept if that is still good."""
        try:
            if not self._peewee.is_closed():
                if self._peewee.is_well:
                    return
                self._discard()
            self._peewee.connect()
        except (peewee.PeeweeException, ValueError) as error:
            raise ServiceUnavailable(f"the database cannot be reached: {_first_line(error)}") from error

    def _give_back(self) -> None:
        if not self._peewee.is_closed():
            self._peewee.close()

    def _is_lost(self) -> bool:
        """Whether the connection broke, and with it whatever was not committed."""
        return not self.is_sqlite and not self._peewee.is_closed() and bool(self._peewee.connection().closed)

    def _discard(self) -> None:
        """Drop this thread's connection: what failed once is not handed to the next call."""
        try:
            self._peewee.manual_close()
        except peewee.PeeweeException as error:
            log.debug("closing a failed connection: %s", error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _name(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__qualname__", fn))
