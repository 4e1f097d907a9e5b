"""The transaction that a thread is in, and what is to follow once it is committed."""

import threading
from collections.abc import Callable

from jobd.metrics import Metrics
from jobd.store.db.tables import Exec


class _Pending(threading.local):
    """The transaction of a thread."""

    is_committing = False
    """Whether its COMMIT may have been sent: from then on it may have happened, whatever is heard of it."""

    def __init__(self) -> None:
        self.follow: list[Callable[[], None]] = []
        self.counts: list[Callable[[Metrics], None]] = []
        self.ended: list[Exec] = []


pending = _Pending()


def after_commit(follow: Callable[[], None]) -> None:
    """Do this once the transaction of this thread is committed, and not if it never is: what is kept in memory of a
    row must not run ahead of the row.
    """
    pending.follow.append(follow)


def ended(row: Exec) -> None:
    """This exec, which nobody had in hand, has ended, if the transaction of this thread is committed: whoever listens
    to the database is told then.
    """
    pending.ended.append(row)


def count(record: Callable[[Metrics], None]) -> None:
    """Have this counted once the transaction of this thread is committed, and not if it never is."""
    pending.counts.append(record)
