"""Instants in the future that a clock which was ahead has left behind, other than those of schedules. None of them may
hold anything up until that time comes, so each is limited to the latest that it can be by a clock that is right.

What only records the past (records, audit, creation times) stays as it was written, and so do the expiry times of
tokens, which somebody chose.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from jobd.statuses import ExecStatus, Trigger
from jobd.store import spans
from jobd.store.db import sql
from jobd.store.db.clock import NOTICED, now
from jobd.store.db.tables import Daemon, Delivery, Exec, IdempotencyKey, Namespace, Token
from jobd.store.outbox import LEASE
from jobd.store.queue import transitions
from jobd.store.tallies import EXECS

MAX_PAUSE = timedelta(seconds=5)
"""An exec that is no retry never waits for longer than this by `not_before`."""
ASKED_TO_WAIT = (429, 503)
"""Status codes with which a receiver may say when to try again."""
_LAST_CODE = "SELECT status_code FROM delivery_attempts WHERE delivery_id = ? ORDER BY id DESC LIMIT 1"
_NAMESPACES = (
    # If the name had another owner meanwhile, that one's records would become visible: then it stays as it is.
    "created_at > ? AND NOT EXISTS (SELECT 1 FROM audit WHERE audit.namespace = namespaces.name "
    "AND audit.at > ? AND audit.at < namespaces.created_at)"
)


def bring_back(since: datetime | None, delivery_delays: Sequence[float], longest_asked: float) -> int:
    """Move these instants back to where a clock that is right could have put them; returns how many were moved.
    `since`: when the clock became right, None for now. `delivery_delays`: the maximum seconds after each failed attempt
    until the next. `longest_asked`: the maximum seconds that a receiver may ask for.
    """
    at = now()
    return sum(
        (
            _waiting_execs(at),
            _deliveries(at, delivery_delays, longest_asked),
            _heartbeats(at),
            _of_one_column(at, since or at),
        )
    )


def _waiting_execs(at: datetime) -> int:
    """Since when an exec waits, and until when."""
    changed = 0
    later = at + NOTICED
    for row in Exec.select().where(
        Exec.status == ExecStatus.WAITING, (Exec.created_at > later) | (Exec.not_before > later)
    ):
        changes = {}
        if row.created_at > later:
            changes["created_at"] = at
            if row.start_before is not None and row.scheduled_for is not None and row.scheduled_for > later:
                changes["start_before"] = at + (row.start_before - row.scheduled_for)
        longest = MAX_PAUSE
        if row.trigger_mode == Trigger.RETRY:
            longest = max(longest, transitions.retry_delay(row.retry_delay, row.attempt - 1))
        if row.not_before is not None and row.not_before > at + longest:
            changes["not_before"] = at + longest
        if changes:
            of_this = "seq = ? AND status = 'W' AND term = ?"
            is_changed = sql.update(Exec, changes, of_this, row.seq, row.term)
            if is_changed and "created_at" in changes:
                spans.moved(EXECS, row.seq, at)
            changed += is_changed
    return changed


def _deliveries(at: datetime, delays: Sequence[float], longest_asked: float) -> int:
    changed, later = 0, at + NOTICED
    columns = (Delivery.id, Delivery.attempts, Delivery.claimed_by, Delivery.next_at, Delivery.term)
    for row in Delivery.select(*columns).where(Delivery.next_at > later):
        longest = timedelta(seconds=delays[min(row.attempts, len(delays)) - 1] if row.attempts else 0.0)
        if row.claimed_by is not None:
            longest = LEASE
        elif row.next_at > at + longest and _last_code(row.id) in ASKED_TO_WAIT:
            longest = timedelta(seconds=longest_asked)
        if row.next_at > at + longest:
            where = "id = ? AND term = ? AND next_at = ?"
            was = Delivery.next_at.db_value(row.next_at)
            changed += sql.update(Delivery, {"next_at": at + longest}, where, row.id, row.term, was)
    return changed


def _last_code(delivery_id: int) -> int | None:
    rows = sql.rows(Delivery, _LAST_CODE, delivery_id)
    return rows[0][0] if rows else None


def _heartbeats(at: datetime) -> int:
    """A daemon that died while the clock was ahead counts as alive for one lease more, as if it had died now."""
    later = at + NOTICED
    beats = Daemon.update(heartbeat_at=at).where(Daemon.heartbeat_at > later).execute()
    Daemon.update(seen_at=at, boot_id=None).where(Daemon.seen_at > later).execute()
    return int(beats)


def _of_one_column(at: datetime, since: datetime) -> int:
    later = at + NOTICED
    keys = IdempotencyKey.update(created_at=at).where(IdempotencyKey.created_at > later).execute()
    uses = Token.update(last_used_at=at).where(Token.last_used_at > later).execute()
    bound = Namespace.created_at.db_value(later)
    names = sql.update(Namespace, {"created_at": since}, _NAMESPACES, bound, bound)
    return int(keys) + int(uses) + names
