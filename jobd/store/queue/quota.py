"""How many more execs may come to wait in each namespace (`[limits] waiting_per_namespace`)."""

from collections import Counter

from jobd.store.db import sql
from jobd.store.db.tables import Exec


class NamespaceQuota:
    """What is left of the limit in each namespace, by a count of the waiting execs. With a count that is some seconds
    old, several daemons may take the same place and so exceed the limit a little; nothing below the limit is refused.
    """

    def __init__(self, limit: int, waiting: dict[str, int]) -> None:
        self._limit = limit
        self._left = {name: limit - count for name, count in waiting.items()}
        self._taken: Counter[str] = Counter()
        self._looked: set[str] = set()

    def begin(self) -> None:
        """A transaction begins, which can see in the database what the last ones took."""
        self._taken.clear()
        self._looked.clear()

    def take_known(self, namespace: str) -> bool:
        """Take one place without asking the database; False if there is none by the last count."""
        left = self._left.get(namespace, self._limit)
        if left <= 0:
            return False
        self._left[namespace] = left - 1
        return True

    def take(self, namespace: str, execs: int) -> int:
        """Take places for so many execs; returns how many there were. Before any exec is refused the database is
        counted anew, once in a transaction.
        """
        if self._left.get(namespace, self._limit) < execs and namespace not in self._looked:
            self._looked.add(namespace)
            self._left[namespace] = self._limit - _waiting_in(namespace) - self._taken[namespace]
        taken = min(max(self._left.get(namespace, self._limit), 0), execs)
        self._left[namespace] = self._left.get(namespace, self._limit) - taken
        self._taken[namespace] += taken
        return taken


def count_quota(limit: int) -> NamespaceQuota:
    """What is left now, if `limit` execs may wait in each namespace."""
    free = "SELECT namespace, count(*) FROM execs WHERE status = 'W' AND owner IS NULL GROUP BY namespace"
    return NamespaceQuota(limit, dict(sql.rows(Exec, free)))


def _waiting_in(namespace: str) -> int:
    return sql.count(Exec, "status = 'W' AND owner IS NULL AND namespace = ?", namespace)
