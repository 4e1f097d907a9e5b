"""Writes that wait for SQLite's one writer and are committed together.

A write leaves the queue only once the database's lock is held: until then its caller may give it up.
"""

import contextvars
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import peewee

from jobd.fair_queue import FairQueue
from jobd.store.db.deadlines import Claim, here
from jobd.store.db.error_causes import STATEMENT_FAULTS
from jobd.store.db.transaction import pending

MAX_GROUP_SECONDS = 0.02
"""Seconds of work after which a group of writes is committed."""


class Write:
    """A write that waits to be committed together with others."""

    def __init__(self, fn: Callable[..., Any], args: Any, kwargs: Any, claim: Claim, who: str = "") -> None:
        """`who` is the caller who takes turns with others."""
        self.who = who
        self.fn, self.args, self.kwargs, self.claim = fn, args, kwargs, claim
        self.within = contextvars.copy_context().run
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_over = False

    def settle(self, work: Callable[..., Any]) -> None:
        before, here.claim, self.error = here.claim, self.claim, None
        try:
            self.result = self.within(work, self.fn, *self.args, **self.kwargs)
        except BaseException as error:  # raised where the write is awaited
            self.error = error
        finally:
            here.claim = before
        self.is_over = True


class WriteQueue:
    """`alone(fn, …)` does one write in a transaction of its own; `together(work, what)` does `work`
    in one transaction.
    """

    def __init__(
        self,
        most_together: int,
        alone: Callable[..., Any],
        together: Callable[[Callable[[], None], str], None],
        execute: Callable[[str], Any],
    ) -> None:
        self._most = most_together
        self._alone = alone
        self._together = together
        self._execute = execute
        # Behind other callers a heartbeat would be late and cost a healthy daemon its lease, and slots would fire late.
        self._urgent: deque[Write] = deque()
        self._others: FairQueue[Write] = FairQueue()

    def put(self, write: Write, is_urgent: bool) -> None:
        if is_urgent:
            self._urgent.append(write)
        else:
            self._others.put(write.who, write)

    def answer(self, write: Write) -> Any:
        """The result of a write in the queue, which may have been done in the group of an earlier one. None if it was
        refused. Called in the one thread that writes.
        """
        while not write.is_over and not write.claim.is_refused:
            self._drop_refused()
            if len(self._urgent) + len(self._others) > 1 and self._most > 1:
                self._write_together(write)
            elif (one := self._first()) is not None:
                one.settle(self._alone)
        if write.error is not None:
            raise write.error
        return write.result

    def _drop_refused(self) -> None:
        while self._urgent and self._urgent[0].claim.is_refused:
            self._urgent.popleft()
        self._others.drop_first_while(lambda write: write.claim.is_refused)

    def _first(self) -> Write | None:
        """Take the next write out of the queue; the urgent ones come first."""
        if self._urgent:
            return self._urgent.popleft()
        return self._others.get() if self._others else None

    def _write_together(self, asking: Write) -> None:
        """Commit what is in the queue as one transaction, each write in a savepoint of its own. If the transaction
        fails before its COMMIT, for whatever reason, each write is tried alone. `asking` is the write that is waited
        for.
        """
        group: list[Write] = []
        before, here.claim = here.claim, asking.claim
        try:
            self._together(lambda: self._gather(group), f"of {len(self._urgent) + len(self._others)} writes")
        except Exception as error:
            may_be_there = pending.is_committing
            for write in group:
                if may_be_there:
                    write.error = error
                else:
                    write.settle(self._alone)
            if not group and asking.claim.take():
                asking.error, asking.is_over = error, True
        finally:
            here.claim = before
        for write in group:
            write.is_over = True

    def _take(self) -> Write | None:
        """The next write that nobody has given up; from now on it is being done."""
        while (write := self._first()) is not None:
            if write.claim.take():
                return write
        return None

    def _gather(self, group: list[Write]) -> None:
        until = time.monotonic() + MAX_GROUP_SECONDS
        while len(group) < self._most and (not group or time.monotonic() < until):
            write = self._take()
            if write is None:
                return
            group.append(write)
            followed, counted, ended = len(pending.follow), len(pending.counts), len(pending.ended)
            self._execute("SAVEPOINT one")
            try:
                write.result = write.within(write.fn, *write.args, **write.kwargs)
            except BaseException as error:  # the write's own error, unless it is the database's
                if isinstance(error, peewee.DatabaseError) and not isinstance(error, STATEMENT_FAULTS):
                    raise
                write.error = error
                del pending.follow[followed:], pending.counts[counted:], pending.ended[ended:]
                self._execute("ROLLBACK TO one")
            self._execute("RELEASE one")
