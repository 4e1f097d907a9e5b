"""The transaction of the current thread, and what follows once it is committed."""

import threading
from collections.abc import Callable

from jobd.metrics import Metrics
from jobd.store.db.tables import Exec


class _Pending(threading.local):
    """The transaction of a thread."""

    is_committing = False
    """Whether its COMMIT may have been sent: from then on it may have taken effect, even if no answer comes."""

    def __init__(self) -> None:
        self.follow: list[Callable[[], None]] = []
        self.counts: list[Callable[[Metrics], None]] = []
        self.ended: list[Exec] = []


pending = _Pending()


def after_commit(follow: Callable[[], None]) -> None:
    """Call `follow` once the transaction of this thread is committed, and not if it never is: what is kept in memory
    about a row must not run ahead of the row.
    """
    pending.follow.append(follow)


def ended(row: Exec) -> None:
    """Once the transaction of this thread is committed, notify the database's listeners that this exec has ended, which
    no daemon had in memory.
    """
    pending.ended.append(row)


def count(record: Callable[[Metrics], None]) -> None:
    """Call `record` with the metrics once the transaction of this thread is committed, and not if it never is."""
    pending.counts.append(record)
