"""Counts of what is in the database, for monitoring: cheap enough to be taken every few seconds."""

from jobd.metrics import STATUS_WORDS, Census
from jobd.store import daemons, outbox
from jobd.store.db.clock import now
from jobd.store.db.tables import Exec
from jobd.store.queue.due_slots import first_due

_LIVE = (
    "SELECT region_name, status, count(*), min(CASE "
    "WHEN status = 'R' OR owner IS NOT NULL OR not_before > {at} THEN NULL "
    "WHEN trigger_mode = 'R' THEN coalesce(not_before, created_at) ELSE created_at END) "
    # Literals instead of parameters: otherwise SQLite does not use the partial index for these.
    "FROM execs WHERE status IN ('W', 'R') GROUP BY region_name, status"
)


def take(lease: float) -> Census:
    """Count what is live; `lease`: up to which age, in seconds, a heartbeat shows that its daemon is alive."""
    at = Exec.created_at.db_value(now())
    execs: dict[tuple[str, str], int] = {}
    oldest: dict[str, float] = {}
    for region, status, count, since in Exec._meta.database.execute_sql(_LIVE.format(at=at)).fetchall():
        execs[region, STATUS_WORDS[status]] = count
        if since is not None:
            oldest[region] = since / 1e6
    due = first_due()
    next_slot = None if due is None else due.timestamp()
    return Census(execs, oldest, next_slot, len(daemons.alive(lease)), outbox.waiting())
