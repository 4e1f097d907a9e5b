"""The outbox: what webhooks and mails are to say about an exec. It is written in the transaction that starts or ends
the exec, and sent afterwards by whichever daemon claims it. What was committed is sent at least once.
"""

import json
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from peewee import SQL

from jobd.statuses import ExecStatus
from jobd.store import exec_json
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.tables import Delivery, DeliveryAttempt, Exec, ExecLog, Hook, Job

EVENTS: Mapping[str, str] = {
    ExecStatus.RUNNING: "job:start",
    ExecStatus.SUCCEEDED: "job:succeed",
    ExecStatus.FAILED: "job:fail",
    ExecStatus.CANCELLED: "job:cancel",
    ExecStatus.NOT_RUN: "job:not_run",
}
"""The event that is sent when an exec has entered a status."""
MAIL = 0
"""Stands in place of a webhook's id for a mail."""
LEASE = timedelta(seconds=120)
"""How long a claimed delivery belongs to its daemon: longer than any attempt takes."""
WRITTEN_AT_ONCE = 100
MAX_TEXT_LENGTH = 4096
"""Characters that are kept of an answer or an error."""
DROPPED_AT_ONCE = 500

HAS_SUBSCRIBERS = (
    "(EXISTS (SELECT 1 FROM hooks WHERE hooks.job_id = execs.job_id AND hooks.is_active)"
    " OR EXISTS (SELECT 1 FROM hooks WHERE hooks.job_id IS NULL AND hooks.namespace = execs.namespace"
    " AND hooks.is_active)"
    " OR EXISTS (SELECT 1 FROM jobs WHERE jobs.id = execs.job_id AND jobs.email_enabled))"
)
"""Whether a webhook or a mail may have to be queued for an exec. It goes into the RETURNING of the statement that moves
the exec on, so that an exec without subscribers costs three index probes and no further statement.
"""
SUBSCRIBED = SQL(f"{HAS_SUBSCRIBERS} AS has_subscribers")

_LANES = (
    "WITH RECURSIVE lane(id) AS (SELECT min(hook_id) FROM deliveries WHERE {which} UNION ALL "
    "SELECT (SELECT min(hook_id) FROM deliveries WHERE {which} AND hook_id > lane.id) "
    "FROM lane WHERE lane.id IS NOT NULL) "
)
"""The distinct webhooks that have deliveries, found by a loose index scan: one index probe for each, however many
deliveries it has.
"""
_DUE = _LANES.format(which="next_at IS NOT NULL") + (  # noqa: S608
    "SELECT id FROM (SELECT id, (SELECT min(next_at) FROM deliveries WHERE next_at IS NOT NULL AND "
    "hook_id = lane.id) AS at FROM lane WHERE id IS NOT NULL) AS waiting WHERE at <= ?"
)
_GONE = _LANES.format(which="true") + (  # noqa: S608
    "SELECT id FROM lane WHERE id IS NOT NULL AND id <> ? AND NOT EXISTS (SELECT 1 FROM hooks WHERE hooks.id = lane.id)"
)


@dataclass
class SendBudget:
    """What one daemon may send at the same time: `left` deliveries in all, of which `left_troubled` to webhooks that
    did not answer well the last time; at most `per_hook` to one, 1 if it is one of the `troubled`; and `per_namespace`
    for one namespace. So a receiver that does not answer delays nobody else's deliveries.
    """

    left: int
    left_troubled: int
    per_hook: int
    per_namespace: int
    troubled: frozenset[int] = frozenset()
    hooks: Counter[int] = field(default_factory=Counter)
    namespaces: Counter[str] = field(default_factory=Counter)

    def of(self, hook_id: int) -> int:
        """How many more deliveries may go to this webhook now."""
        if hook_id in self.troubled:
            return min(self.left, self.left_troubled, 1 - self.hooks[hook_id])
        return min(self.left, self.per_hook - self.hooks[hook_id])

    def take(self, hook_id: int, namespace: str) -> bool:
        """Take a place for one delivery; False if the budget has none."""
        if self.of(hook_id) <= 0 or (hook_id != MAIL and self.namespaces[namespace] >= self.per_namespace):
            return False
        self.left -= 1
        self.left_troubled -= hook_id in self.troubled
        self.hooks[hook_id] += 1
        self.namespaces[namespace] += 1
        return True


@dataclass(frozen=True)
class Attempt:
    """The outcome of one attempt: `duration` in seconds; without an `error` it was successful."""

    at: datetime
    duration: float
    status_code: int | None = None
    error: str | None = None
    answer: str | None = None


def enqueue(seqs: Iterable[int]) -> None:
    """Queue what webhooks and mails are to say about these execs, as they are now, in this transaction."""
    exec_seqs = list(seqs)
    at = now() if exec_seqs else None
    for start in range(0, len(exec_seqs), WRITTEN_AT_ONCE):
        rows = list(Exec.select().where(Exec.seq.in_(exec_seqs[start : start + WRITTEN_AT_ONCE])).order_by(Exec.seq))
        deliveries = _to_hooks(rows) + _mails(
            [row for row in rows if row.status == ExecStatus.FAILED and row.deleted_at is None]
        )
        for first in range(0, len(deliveries), WRITTEN_AT_ONCE):
            batch = deliveries[first : first + WRITTEN_AT_ONCE]
            Delivery.insert_many([{**values, "next_at": at, "created_at": at} for values in batch]).execute()


def is_due() -> bool:
    """Whether any delivery is to be sent now."""
    pending = Delivery.select(Delivery.next_at).where(Delivery.next_at.is_null(False))
    first = pending.order_by(Delivery.next_at).limit(1).scalar()
    return first is not None and first <= now()


def waiting() -> int:
    """How many deliveries are waiting to be sent, or are being sent."""
    return int(Delivery.select().where(Delivery.next_at.is_null(False)).count())


def claim(daemon: str, budget: SendBudget) -> list[tuple[Delivery, Hook | None]]:
    """Claim due deliveries as far as the budget lets, each with its webhook: None for a mail, and if it was deleted."""
    at = now()
    taken: list[Delivery] = []
    for hook_id in _hooks_due(at):
        if budget.left <= 0:
            break
        most = budget.of(hook_id)
        if most <= 0:
            continue
        query = Delivery.select(Delivery.id, Delivery.namespace).where(
            Delivery.hook_id == hook_id, Delivery.next_at <= at
        )
        if Delivery._meta.database.for_update:
            query = query.for_update(skip_locked=True)
        due = list(query.order_by(Delivery.next_at).limit(most))
        taken += [row for row in due if budget.take(hook_id, row.namespace)]
    if not taken:
        return []
    changes = {"next_at": at + LEASE, "term": Delivery.term + 1, "claimed_by": daemon}
    claimed = list(
        Delivery.update(**changes).where(Delivery.id.in_([row.id for row in taken])).returning(Delivery).execute()
    )
    hooks = {hook.id: hook for hook in Hook.select().where(Hook.id.in_({row.hook_id for row in claimed}))}
    return [(row, hooks.get(row.hook_id)) for row in sorted(claimed, key=lambda row: row.id)]


def finish(row: Delivery, attempt: Attempt, status: str, retry_after: float | None, is_gone: bool = False) -> None:
    """Record an attempt and its outcome: `status` is `delivered`, `failed`, or `pending` with another attempt after
    `retry_after` seconds. `is_gone`: the receiver wants nothing more, so its webhook is switched off. If the daemon was
    so slow that another one has claimed the delivery, the attempt is recorded and nothing else changes.
    """
    next_at = None if retry_after is None else now() + timedelta(seconds=retry_after)
    changes = {"status": status, "attempts": row.attempts + 1, "next_at": next_at, "claimed_by": None}
    sql.update(Delivery, changes, "id = ? AND term = ?", row.id, row.term)
    sql.insert(
        DeliveryAttempt(
            delivery_id=row.id,
            at=attempt.at,
            duration=round(attempt.duration * 1000),
            status_code=attempt.status_code,
            error=attempt.error,
            answer=attempt.answer,
        )
    )
    if is_gone:
        Hook.update(is_active=False, updated_at=now()).where(Hook.id == row.hook_id).execute()


def release(daemon: str) -> None:
    """Make the deliveries that this daemon has claimed due again: it has just started, or is about to stop."""
    mine = (Delivery.claimed_by == daemon) & Delivery.next_at.is_null(False)
    Delivery.update(next_at=now(), claimed_by=None, term=Delivery.term + 1).where(mine).execute()


def log_of(exec_id: str) -> bytes | None:
    """The stored frames of an exec's output; None if there are none, or none any more."""
    query = ExecLog.select(ExecLog.frames).join(Exec, on=(Exec.seq == ExecLog.exec_seq))
    row = query.where(Exec.id == exec_id, Exec.deleted_at.is_null()).tuples().first()
    return None if row is None else bytes(row[0])


def drop_old(max_age: float) -> int:
    """Delete at most one batch of deliveries that are older than `max_age` seconds, sent or not, or whose webhook was
    deleted; returns how many.
    """
    dropped = _drop(Delivery.created_at < now() - timedelta(seconds=max_age))
    return dropped or _drop(Delivery.hook_id.in_(_ids(_GONE, MAIL)))


def _drop(which: Any) -> int:
    ids = [row.id for row in Delivery.select(Delivery.id).where(which).limit(DROPPED_AT_ONCE)]
    if ids:
        DeliveryAttempt.delete().where(DeliveryAttempt.delivery_id.in_(ids)).execute()
        Delivery.delete().where(Delivery.id.in_(ids)).execute()
    return len(ids)


def _hooks_due(at: datetime) -> list[int]:
    """The webhooks that have something due, shuffled, so that each has the same chance."""
    ids = _ids(_DUE, Delivery.next_at.db_value(at))
    random.shuffle(ids)
    return ids


def _ids(statement: str, parameter: int) -> list[int]:
    database = Delivery._meta.database
    cursor = database.execute_sql(statement.replace("?", database.param), (parameter,))
    return [id for (id,) in cursor.fetchall()]


def _to_hooks(rows: list[Exec]) -> list[dict[str, Any]]:
    of_job = Hook.job_id.in_({row.job_id for row in rows})
    of_namespace = Hook.job_id.is_null() & Hook.namespace.in_({row.namespace for row in rows})
    hooks = list(Hook.select().where(Hook.is_active, of_job | of_namespace).order_by(Hook.id))
    deliveries = []
    for row in rows:
        for hook in hooks:
            is_its = hook.namespace == row.namespace if hook.job_id is None else hook.job_id == row.job_id
            if is_its and EVENTS[row.status] in hook.events:
                subject: dict[str, Any] = {"subject_type": "namespace", "subject": hook.namespace}
                if hook.job_id is not None:
                    subject = {"subject_type": "job", "subject": hook.job_id}
                about = {"hook": {"id": hook.id, **subject}, "sender": {"username": row.created_by}}
                deliveries.append(_delivery(row, hook.id, about))
    return deliveries


def _mails(rows: list[Exec]) -> list[dict[str, Any]]:
    if not rows:
        return []
    has_mail = Job.id.in_({row.job_id for row in rows}) & Job.email_enabled & Job.deleted_at.is_null()
    jobs = {job.id: job for job in Job.select(Job.id, Job.name, Job.email_recipients).where(has_mail)}
    return [
        _delivery(row, MAIL, {"to": job.email_recipients, "job": {"id": job.id, "name": job.name}})
        for row in rows
        if (job := jobs.get(row.job_id)) is not None and job.email_recipients
    ]


def _delivery(row: Exec, hook_id: int, about: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps({**about, "data": exec_json.shape(row, row.job_id)}, ensure_ascii=False, separators=(",", ":"))
    return {
        "message_id": str(uuid.uuid4()),
        "hook_id": hook_id,
        "namespace": row.namespace,
        "job_id": row.job_id,
        "exec_id": row.id,
        "event": EVENTS[row.status],
        "event_at": row.started_at if row.status == ExecStatus.RUNNING else row.ended_at,
        "body": text,
    }
