"""The entry point to the database.

Everything in `jobd.store` is a plain blocking function over the models in `tables`. `Database` runs it in a thread, on
that thread's connection; `write` runs it in one transaction. The thread of the event loop never touches the database.
"""

import asyncio
import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from playhouse.migrations import Runner

from jobd import daemon_log
from jobd.errors import ConfigError
from jobd.metrics import Metrics
from jobd.store.db import copying, error_causes, tables
from jobd.store.db.deadlines import Claim, departure, here
from jobd.store.db.error_causes import DatabaseAway
from jobd.store.db.sessions import Sessions
from jobd.store.db.transaction import after_commit, count
from jobd.store.db.write_failures import Troubles
from jobd.store.db.write_queue import Write, WriteQueue
from jobd.threads import Threads

__all__ = ["Database", "after_commit", "count"]

Result = TypeVar("Result")
Urgent = Literal["pulse", "scan"]

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x6A6F6264
PROBE_PATIENCE = 3.0
"""Seconds after which a database that has not answered a probe, or has not taken its write, counts as unavailable."""


class Database(Sessions):
    """`url` is `sqlite:///PATH` or `postgresql://…`. `connections` limits the engine's threads, each of which has a
    connection of its own. Calls that clients wait for have as many again, and three are reserved for heartbeat,
    scheduler and readiness.
    """

    most_together = 64
    """The maximum number of writes that SQLite commits at once."""

    def __init__(self, url: str, connections: int = 8, metrics: Metrics | None = None) -> None:
        # Callers outside an event loop have as many again.
        super().__init__(url, 3 * connections + 4, metrics or Metrics())
        self._readers = Threads(connections, "jobd-db")
        # SQLite allows one writer at a time: this queue is fair, and never fails with "database is locked".
        self._writers = Threads(1, "jobd-db-write") if self.is_sqlite else self._readers
        # Behind slow queries a heartbeat would be late and cost a healthy daemon its lease, and slots would fire late.
        self._apart = {name: Threads(1, f"jobd-db-{name}") for name in ("pulse", "scan", "probe")}
        # Client calls that wait for a lock must not hold up the engine, nor client writes client reads.
        self._of_clients = [Threads((connections + 1) // 2, f"jobd-db-client-{kind}") for kind in ("read", "write")]
        self._is_for_clients = False
        self._queue = WriteQueue(self.most_together, self._alone, self._together, self._execute)
        self._troubles = Troubles(self.file)
        self._peewee.bind(tables.ALL)

    def for_clients(self) -> "Database":
        """The same database for calls that a client waits for, with threads of their own. A call that is still queued
        when its client goes away is dropped.
        """
        view = copy.copy(self)
        view._is_for_clients = True
        view._readers, writers = self._of_clients
        view._writers = self._writers if self.is_sqlite else writers
        return view

    async def read(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run `fn` in a thread, without a transaction. Raises ServiceUnavailable if the database is unavailable, or if
        the call was queued for ten seconds.
        """
        call = self._in_thread, self.read_sync, fn, args, kwargs
        return await self._submit(self._readers, self._who(), Claim(), *call, departs=True)

    async def write(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run `fn` in a thread, in one transaction. SQLite commits several writes together; each that fails is rolled
        back by itself. Raises ServiceUnavailable if the database is unavailable, and also if the call was queued or
        waited for somebody's lock for ten seconds: then it is certain that it is never done.
        """
        return await self._write_in(self._writers, fn, args, kwargs)

    async def write_apart(self, who: Urgent, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Like `write`, but queued only behind other writes of `who`; on SQLite, ahead of all other writes."""
        return await self._write_in(self._apart[who], fn, args, kwargs, is_urgent=True)

    async def check(self) -> None:
        """Raises ServiceUnavailable, with the reason, while the database does not answer, lacks this program's schema,
        or takes no writes.
        """
        probe, claim = self._apart["probe"], Claim(PROBE_PATIENCE)
        state = await self._submit(probe, "", claim, self._in_thread, self.read_sync, self._look, (), {})
        if self.is_sqlite:
            await self._write_in(self._writers, _nothing, (), {}, is_urgent=True, patience=PROBE_PATIENCE)
        if trouble := state or self.trouble:
            raise DatabaseAway(trouble)

    @property
    def trouble(self) -> str:
        """Why the database rejects some writes; empty while it takes all of them."""
        return self._troubles.words()

    def migrate(self, then: Callable[[], None] = lambda: None) -> list[str]:
        """Bring the schema up to date and call `then`, one daemon at a time; returns the names of the migrations
        applied.

        Raises ConfigError if the schema is newer than this program.
        """
        return self.write_sync(self._migrate, then)

    def migrate_copy(self) -> list[str]:
        """Like `migrate`, for an unfinished copy, whose lock the caller holds."""
        return self.write_sync(self._apply)

    def pending(self) -> list[str]:
        """The migrations that have not been applied yet. Raises ConfigError for an unfinished copy."""
        return self.read_sync(self._pending)

    def close(self) -> None:
        """Wait for the calls in progress, then close threads and connections."""
        for threads in (self._readers, self._writers, *self._apart.values(), *self._of_clients):
            threads.close()
        self._peewee.close_all()

    def _runner(self) -> Runner:
        return Runner(self._peewee, str(MIGRATIONS))

    def _migrate(self, then: Callable[[], None]) -> list[str]:
        if not self.is_sqlite:
            self._peewee.execute_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        copying.refuse_unfinished(set(self._peewee.get_tables()))
        applied = self._apply()
        then()
        return applied

    def _apply(self) -> list[str]:
        runner = self._runner()
        unknown = [m.name for m in runner.status() if m.path is None]
        if unknown:
            raise ConfigError(f"the database's schema is newer than this jobd: it has {', '.join(unknown)}")
        applied: list[str] = runner.up()
        return applied

    def _pending(self) -> list[str]:
        copying.refuse_unfinished(set(self._peewee.get_tables()))
        return [m.name for m in self._runner().status() if m.path and not m.applied]

    def _look(self) -> str:
        """What is wrong as far as reading shows; empty if nothing is."""
        missing = [m.name for m in self._runner().status() if m.path and not m.applied]
        if missing:
            return f"the database waits for {len(missing)} migrations"
        if self.is_sqlite:
            return ""
        ((waiting,),) = self._peewee.execute_sql(_WAITING_FOR_LOCKS, (PROBE_PATIENCE,)).fetchall()
        return f"{error_causes.LOCKED} ({waiting} sessions of jobd wait for it)" if waiting else ""

    async def _write_in(
        self,
        threads: Threads,
        fn: Callable[..., Any],
        args: Any,
        kwargs: Any,
        *,
        is_urgent: bool = False,
        patience: float | None = None,
    ) -> Any:
        who, claim = self._who(is_urgent), Claim(patience)
        try:
            if self.is_sqlite:
                write = Write(fn, args, kwargs, claim, who)
                self._queue.put(write, is_urgent)
                result = await self._submit(self._writers, who, claim, self._in_queue, write, departs=True)
            else:
                call = self._in_thread, self.write_sync, fn, args, kwargs
                result = await self._submit(threads, who, claim, *call, departs=True)
        except DatabaseAway as error:
            if error.message != CLIENT_GONE:
                self._troubles.failed(fn, error.message)
            raise
        self._troubles.done(fn)
        return result

    async def _submit(
        self, threads: Threads, who: str, claim: Claim, call: Callable[..., Any], *args: Any, departs: bool = False
    ) -> Any:
        """The result of the call; callers take turns. A call that has waited too long for its turn, or with `departs`
        one whose client went away, fails at once and is not done any more.
        """
        leaving = departure.get() if departs and self._is_for_clients else None
        future = threads.call_for(who, daemon_log.with_log_context(call), claim, *args)

        def give_up(words: str = "") -> None:
            if claim.refuse() and not future.done():
                future.set_exception(DatabaseAway(words or self._why_it_waits()))

        timer = asyncio.get_running_loop().call_later(claim.until - time.monotonic(), give_up)
        gone = partial(give_up, CLIENT_GONE)
        if leaving is not None:
            leaving.follow(gone)
        try:
            return await future
        finally:
            timer.cancel()
            if leaving is not None:
                leaving.forget(gone)

    def _who(self, is_urgent: bool = False) -> str:
        """Who takes turns: the caller of a request, jobd itself (empty), or `urgent`."""
        asking = departure.get()
        if asking is not None and self._is_for_clients:
            return asking.who
        return "urgent" if is_urgent else ""

    def _why_it_waits(self) -> str:
        return f"{error_causes.LOCKED if self._peewee.is_locked else error_causes.BUSY}; nothing was done"

    def _in_thread(self, claim: Claim, call: Callable[..., Any], fn: Any, args: Any, kwargs: Any) -> Any:
        """Do a call whose turn has come; returns None if it was refused before."""
        if not claim.take():
            return None
        self._ours.keeps_connection = True
        here.claim = claim
        try:
            return call(fn, *args, **kwargs)
        finally:
            here.claim = None

    def _in_queue(self, claim: Claim, write: Write) -> Any:
        self._ours.keeps_connection = True
        return self._queue.answer(write)

    def _alone(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        return self.write_sync(fn, *args, **kwargs)

    def _together(self, work: Callable[[], None], what: str) -> None:
        self._timed(partial(self._transaction, work, takes_turn=False), what, "write")

    def _execute(self, statement: str) -> Any:
        return self._peewee.execute_sql(statement)


CLIENT_GONE = "the client went away before the database had a turn for it; nothing was done"
_WAITING_FOR_LOCKS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND wait_event_type = 'Lock' AND wait_event <> 'advisory'
AND query_start < clock_timestamp() - make_interval(secs => %s)
"""


def _nothing() -> None:
    """A transaction that changes nothing: it needs the right to write, but no disk space."""
