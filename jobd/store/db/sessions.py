"""Calls on the thread's own connection: connect, begin, try again where that is safe, and say what is wrong."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import peewee

from jobd.metrics import Metrics
from jobd.store.db import connections as connecting
from jobd.store.db import error_causes
from jobd.store.db.deadlines import Claim, here
from jobd.store.db.error_causes import STATEMENT_FAULTS, DatabaseAway
from jobd.store.db.one_statement import OneStatement, OneStatementFirst
from jobd.store.db.tables import Exec
from jobd.store.db.transaction import pending

log = logging.getLogger(__name__)

Result = TypeVar("Result")

SLOW = 1.0
"""Calls that take longer than this, in seconds, are logged."""
RETRIED = ("40001", "40P01")
"""PostgreSQL's serialization_failure and deadlock_detected: the transaction had no effect and may be tried again."""


class Sessions:
    """`url` is `sqlite:///PATH` or `postgresql://…`; at most `connections` are open at the same time."""

    def __init__(self, url: str, connections: int, metrics: Metrics) -> None:
        self.metrics = metrics
        self.is_sqlite = url.startswith("sqlite:")
        self.file = Path(url.removeprefix("sqlite:///")) if self.is_sqlite else None
        connect = connecting.sqlite if self.is_sqlite else connecting.postgresql
        self._peewee = connect(url, connections)
        self._ours = threading.local()
        self.end_listeners: list[Callable[[list[Exec]], None]] = []
        """Called after a commit, in its thread, with the execs that it ended and that no daemon had in memory."""

    def read_sync(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run `fn` without a transaction. Raises ServiceUnavailable if the database is unavailable."""
        return self._timed(partial(fn, *args, **kwargs), _name(fn), "read")

    def write_sync(self, fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run `fn` in one transaction. A `OneStatement`, and what a `OneStatementFirst` tries first, run without BEGIN
        and COMMIT where the database needs none. Raises ServiceUnavailable if the database is unavailable, or locked
        for too long.
        """
        if isinstance(fn, OneStatementFirst) and not self.is_sqlite:
            done: Result = self._write(fn.statement, args, kwargs)
            if done:
                return done
        return self._write(fn, args, kwargs)

    def _write(self, fn: Callable[..., Result], args: Any, kwargs: Any) -> Result:
        work = partial(self._transaction, partial(fn, *args, **kwargs), isinstance(fn, OneStatement))
        return self._timed(work, _name(fn), "write")

    def _transaction(
        self, work: Callable[[], Result], is_one_statement: bool = False, takes_turn: bool = True
    ) -> Result:
        pending.follow, pending.counts, pending.ended = [], [], []
        pending.is_committing = is_one_statement and not self.is_sqlite
        with self._peewee.alone() if is_one_statement else self._atomic():
            # On SQLite the lock is held from here on; until now the caller could give up the call.
            if takes_turn and here.claim is not None and not here.claim.hold():
                raise DatabaseAway(error_causes.BUSY)
            result = work()
            pending.is_committing = True
        for follow in pending.follow:
            follow()
        for record in pending.counts:
            record(self.metrics)
        if pending.ended:
            for listener in [*self.end_listeners]:
                listener(pending.ended)
        return result

    def _atomic(self) -> Any:
        return self._peewee.atomic("IMMEDIATE") if self.is_sqlite else self._peewee.atomic()

    def _timed(self, work: Callable[[], Result], what: str, kind: str) -> Result:
        began = time.monotonic()
        is_first = here.claim is None
        if is_first:
            here.claim = Claim()
        try:
            return self._attempt(work)
        except DatabaseAway:
            self.metrics.database_errors.labels(kind).inc()
            raise
        finally:
            if is_first:
                here.claim = None
            took = time.monotonic() - began
            self.metrics.database_duration.labels(kind).observe(took)
            if took > SLOW:
                log.warning("database call %s took %.1f s", what, took)

    def _attempt(self, work: Callable[[], Result], tries: int = 3) -> Result:
        while True:
            tries -= 1
            pending.is_committing = False
            try:
                self._connect()
                result = work()
            except STATEMENT_FAULTS:
                self._give_back()
                raise
            except (peewee.DatabaseError, peewee.InterfaceError) as error:
                if self._may_try_again(error, tries):
                    continue
                self._discard()
                raise DatabaseAway(error_causes.words(error, self.file)) from error
            except BaseException:
                self._give_back()
                raise
            if not getattr(self._ours, "keeps_connection", False):
                self._give_back()
            return result

    def _may_try_again(self, error: BaseException, tries: int) -> bool:
        """Whether nothing was done and somebody still waits. A connection that broke is closed."""
        if error_causes.is_busy(error):
            return not pending.is_committing and here.claim is not None and here.claim.may_wait
        is_lost, code = self._is_lost(), getattr(error_causes.first(error), "pgcode", None)
        if is_lost:
            self._discard()
        return bool(tries > 0 and (code in RETRIED or (is_lost and not pending.is_committing)))

    def _connect(self) -> None:
        """Connect this thread; a connection that it has kept is used again if it is still good."""
        try:
            if not self._peewee.is_closed():
                if self._peewee.is_well:
                    return
                self._discard()
            self._peewee.connect()
        except (peewee.PeeweeException, ValueError) as error:
            if error_causes.is_busy(error):
                raise
            raise DatabaseAway(error_causes.unreachable(error, self.file)) from error

    def _give_back(self) -> None:
        if not self._peewee.is_closed():
            self._peewee.close()

    def _is_lost(self) -> bool:
        """Whether the connection broke, and with it all that was not committed."""
        return not self.is_sqlite and not self._peewee.is_closed() and bool(self._peewee.connection().closed)

    def _discard(self) -> None:
        """Close this thread's connection: one that has failed is not used for the next call."""
        try:
            self._peewee.manual_close()
        except peewee.PeeweeException as error:
            log.debug("a failed connection could not be closed: %s", error)


def _name(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__qualname__", fn))
