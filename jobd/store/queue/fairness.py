"""Which waiting execs of a region come next: namespaces take turns, so that none waits for another's queue."""

from peewee import SqliteDatabase

from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.tables import Exec

_BEYOND_ON_SQLITE = "e.region_name = ? AND e.namespace > turn.namespace"
_BEYOND = "(e.region_name, e.namespace) > (?, turn.namespace)"
"""The same where the next line checks the region. Only in this form does PostgreSQL see that no other
index is as good.
"""
_WAITS = "e.status = 'W' AND e.owner IS NULL"
_PREDECESSOR = "SELECT 1 FROM execs b WHERE b.job_id = e.job_id AND b.seq < e.seq AND b.status IN ('W', 'R')"
_QUEUES = (
    # One index probe takes it from each namespace to the next, however long the queues are and whatever the planner
    # knows about them.
    "WITH RECURSIVE turn (number, namespace) AS (SELECT 0, CAST(? AS {text}) UNION ALL SELECT number + 1, "  # noqa: S608
    "(SELECT CASE WHEN e.region_name = ? {until} THEN e.namespace END FROM execs e "
    f"WHERE {_WAITS} AND {{beyond}} "
    "ORDER BY e.region_name, e.namespace LIMIT 1) FROM turn WHERE turn.namespace IS NOT NULL), "
    "queue (seqs) AS {once} (SELECT (SELECT {together} FROM (SELECT e.seq FROM execs e "
    f"WHERE e.region_name = ? AND e.namespace = turn.namespace AND {_WAITS} "
    "AND (e.not_before IS NULL OR e.not_before <= ?) AND (e.start_before IS NULL OR e.start_before >= ?) "
    f"AND (NOT e.replaces OR NOT EXISTS ({_PREDECESSOR})) ORDER BY e.seq LIMIT ?) AS oldest) "
    "FROM turn WHERE number > 0 AND turn.namespace IS NOT NULL) "
    "SELECT seqs FROM queue WHERE seqs IS NOT NULL LIMIT ?"
)
"""The oldest execs of each queue that has something to run, as one text: `1,5,9`."""


def next_in_turn(region: str, at_most: int, after: str) -> list[int]:
    """The execs to take, one of each namespace in turn, beginning with the namespace after `after`. No more namespaces
    are looked at than there is capacity for, so the cost does not grow with the number of waiting execs.
    """
    if at_most <= 0:
        return []
    queues = _queues(region, at_most, after, None)
    if after and len(queues) < at_most:
        queues += _queues(region, at_most - len(queues), "", after)
    taken: list[int] = []
    while len(taken) < at_most and any(queues):
        for queue in queues:
            if queue and len(taken) < at_most:
                taken.append(queue.pop(0))
    return taken


def _queues(region: str, at_most: int, after: str, until: str | None) -> list[list[int]]:
    """What could run now in the namespaces after `after`, up to `until` if it is given: each queue oldest first."""
    at = Exec.not_before.db_value(now())
    is_sqlite = isinstance(Exec._meta.database, SqliteDatabase)
    text = _QUEUES.format(
        # Otherwise PostgreSQL reads each queue twice: for the condition and for the result.
        once="" if is_sqlite else "MATERIALIZED",
        beyond=_BEYOND_ON_SQLITE if is_sqlite else _BEYOND,
        text="text" if is_sqlite else "varchar",
        until="" if until is None else "AND e.namespace <= ?",
        together="group_concat(seq)" if is_sqlite else "string_agg(seq::text, ',')",
    )
    bounds = [] if until is None else [until]
    rows = sql.rows(Exec, text, after, region, *bounds, region, region, at, at, at_most, at_most)
    return [sorted(int(seq) for seq in seqs.split(",")) for (seqs,) in rows]
