"""Execs as users see them: created, read, stopped, deleted. `jobd.store.queue` moves them from state to state."""

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from peewee import OP, Expression

from jobd.errors import IdempotencyMismatch, NotFound, StateConflict, TooManyRequests
from jobd.metrics import Metrics
from jobd.statuses import LIVE, ExecStatus
from jobd.store import audit, jobs, outbox, tallies
from jobd.store.callers import Caller
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.pages import Column, Narrowing, Page, PageRequest, not_by_index, page_of
from jobd.store.db.tables import Audit, Exec, ExecLog, IdempotencyKey, Job
from jobd.store.db.transaction import count, ended
from jobd.store.spans import CreatedBetween

IDEMPOTENT_FOR = timedelta(hours=24)
SNAPSHOT = (
    "command",
    "docker_image_repo",
    "docker_image_tag",
    "resource_size",
    "region_name",
    "namespace",
    "runtime_vars",
    "secret_vars",
    "pull_policy",
    "labels",
    "mounts",
    "timeout",
    "max_retries",
    "retry_delay",
    "retry_on",
)
"""What an exec copies from its job: later changes of the job do not affect execs that exist."""


@dataclass(frozen=True)
class ExecFilter:
    namespace: str | None = None
    job: int | None = None
    status: str | None = None
    region: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def snapshot(source: Job | Exec) -> dict[str, Any]:
    return {name: getattr(source, name) for name in SNAPSHOT}


def create(
    caller: Caller,
    job_id: int,
    overrides: Mapping[str, Any],
    waiting_per_namespace: int,
    idempotency_key: str | None = None,
) -> Exec:
    """Create a waiting exec of the job. `overrides` hold for this run alone; variables are merged. The same caller,
    job, key and overrides return, for 24 hours, the exec that was created the first time.

    Raises NotFound, PermissionDenied, TooManyRequests if the namespace has `waiting_per_namespace` execs waiting
    already, and IdempotencyMismatch for a key that was used with other overrides.
    """
    # Of two requests with one key the second must see the first one's exec. Otherwise the job only has to stay.
    job = jobs.writable(caller, job_id, lock="SHARE" if idempotency_key is None else "UPDATE")
    digest = _digest(overrides)
    if idempotency_key is not None:
        earlier = _made_with(caller, job.id, idempotency_key, digest)
        if earlier is not None:
            return earlier
    require_quota(job.namespace, waiting_per_namespace)
    values = {**snapshot(job), **overrides}
    values["runtime_vars"] = {**job.runtime_vars, **overrides.get("runtime_vars", {})}
    row = Exec(**fresh(job.id, "M", caller.username, sql.NOW), **values)
    _insert(row, audit.entry(caller, "exec.create", row.namespace, subject(row), after=overrides))
    if idempotency_key is not None:
        who = {"username": caller.username, "job_id": job.id, "key": idempotency_key}
        IdempotencyKey.create(**who, digest=digest, exec_id=row.id, created_at=row.created_at)
    return row


def rerun(caller: Caller, job_id: int, exec_id: str, waiting_per_namespace: int) -> Exec:
    """Create an exec with the snapshot of an earlier one. Raises NotFound, PermissionDenied, TooManyRequests."""
    jobs.writable(caller, job_id, lock="SHARE")
    source = get(caller, job_id, exec_id)
    require_quota(source.namespace, waiting_per_namespace)
    row = Exec(**fresh(source.job_id, "M", caller.username, sql.NOW), **snapshot(source))
    _insert(row, audit.entry(caller, "exec.create", row.namespace, subject(row), after={"rerun_of": source.id}))
    return row


def subject(row: Exec) -> str:
    """How the audit log names an exec."""
    return f"{row.job_id}/{row.id}"


def fresh(job_id: int, trigger_mode: str, created_by: str, at: datetime) -> dict[str, Any]:
    """The columns that every new waiting exec has; `at` may be NOW for a row that `sql.insert` inserts."""
    return {
        "id": str(uuid.uuid4()),
        "job_id": job_id,
        "status": ExecStatus.WAITING,
        "trigger_mode": trigger_mode,
        "created_by": created_by,
        "created_at": at,
    }


def require_quota(namespace: str, limit: int) -> None:
    """Raises TooManyRequests."""
    the_last = "namespace = ? AND status = 'W' AND owner IS NULL LIMIT 1 OFFSET ?"
    if sql.exists(Exec, the_last, namespace, limit - 1):
        raise TooManyRequests(f"{limit} execs of {namespace!r} are waiting already", retry_after=10)


def get(caller: Caller, job_id: int, exec_id: str) -> Exec:
    """Raises NotFound, also for an exec of another job, or of a job that the caller may not see."""
    row = sql.find(Exec, "id = ? AND job_id = ? AND deleted_at IS NULL", exec_id, job_id)
    if row is None or not caller.may_read(row.namespace):
        raise NotFound(f"no exec {exec_id} of job {job_id}")
    return row


def writable(caller: Caller, job_id: int, exec_id: str) -> Exec:
    """Like `get`, to change something about the exec. Raises PermissionDenied if the caller may only read it."""
    row = get(caller, job_id, exec_id)
    caller.require_write(row.namespace)
    return row


def with_job(caller: Caller, job_id: int, exec_id: str) -> tuple[Exec, Job]:
    """An exec and its job as it is now. Raises NotFound."""
    return get(caller, job_id, exec_id), jobs.get(caller, job_id)


def listed(caller: Caller, filters: ExecFilter, page: PageRequest) -> Page:
    """Execs, newest first. Raises NotFound if a job is named that the caller may not see."""
    query = Exec.select().where(Exec.deleted_at.is_null())
    namespaces = caller.shown(filters.namespace)
    # SQLite takes the namespaces' index before a better one.
    namespace = Exec.namespace if filters.status is None and filters.region is None else not_by_index(Exec.namespace)
    if filters.job is not None:
        jobs.get(caller, filters.job)
        query = query.where(Exec.job_id == filters.job)
    if namespaces is not None and (filters.job is None or filters.namespace is not None):
        query = query.where(Expression(namespace, OP.IN, sorted(namespaces)))
    if filters.status is not None:
        query = query.where(Exec.status == filters.status)
    if filters.region is not None:
        query = query.where(Exec.region_name == filters.region)
    narrow: Narrowing = CreatedBetween(tallies.EXECS, filters.since, filters.until).among
    if filters == ExecFilter(namespace=filters.namespace):
        narrow = tallies.counting(partial(tallies.number, tallies.EXECS, namespaces))
    elif filters.job is not None and filters == ExecFilter(job=filters.job):
        narrow = tallies.counting(partial(tallies.number_of_job, filters.job))
    return page_of(query, page, Column(Exec.seq, int, lambda row: int(row.seq)), narrow=narrow)


def last_of(job_ids: Iterable[int]) -> dict[int, Exec]:
    """The newest exec of each job, not counting slots that did not run; only with the columns that show its state."""
    ids = list(job_ids)
    # With one job written as a list, PostgreSQL uses the index of jobs instead of reading all newer execs.
    newest = (
        "SELECT (SELECT e.seq FROM execs e WHERE e.job_id >= jobs.id AND e.job_id <= jobs.id AND e.deleted_at IS NULL "  # noqa: S608
        "AND e.status <> 'N' ORDER BY e.job_id DESC, e.seq DESC LIMIT 1) "
        f"FROM jobs WHERE id IN ({sql.marks(len(ids))})"
    )
    only = ("job_id", "id", "status", "ended_at")
    return {row.job_id: row for row in sql.find_all(Exec, f"seq IN ({newest})", *ids, only=only)}


def force_end(caller: Caller, job_id: int, exec_id: str) -> Exec:
    """End the record of an exec whose region cannot be reached, as `lost`; the sweep removes its container when the
    region is back. The caller has made sure that the region is away. Raises what `stop` raises.
    """
    row = stop(caller, job_id, exec_id)
    if row.status in LIVE:
        words = f"ended by {caller.username} by force while its region could not be reached"
        changes = {"status": ExecStatus.FAILED, "reason": "lost", "message": words, "ended_at": now(), "owner": None}
        forced = Exec.update(**changes, holds_slot=False, term=Exec.term + 1)
        end_all(forced.where(Exec.seq == row.seq, Exec.status.in_(LIVE)))
        audit.record(caller, "exec.stop", row.namespace, subject(row), after={"force": True})
    return get(caller, job_id, exec_id)


def drop_old_keys(limit: int = 1000) -> None:
    """Delete idempotency keys that have expired, at most `limit`."""
    old = IdempotencyKey.created_at < now() - IDEMPOTENT_FOR
    rows = list(IdempotencyKey.select().where(old).limit(limit))
    for row in rows:
        row.delete_instance()


def stop(caller: Caller, job_id: int, exec_id: str) -> Exec:
    """Request the end of an exec. One without an owner is cancelled at once; otherwise its owner sees the request.

    Raises NotFound, PermissionDenied, StateConflict if it has ended.
    """
    row = writable(caller, job_id, exec_id)
    if row.status not in LIVE:
        raise StateConflict(f"exec {exec_id} has ended")
    request_stop(Exec.seq == row.seq, caller.username, "cancelled")
    if row.stop_requested_at is None:
        audit.record(caller, "exec.stop", row.namespace, subject(row))
    return get(caller, job_id, exec_id)


def request_stop(which: Expression, by: str, reason: str) -> None:
    """Request, in the name of `by`, the end of those of these execs that are live; an earlier request stays."""
    at = now()
    Exec.update(stop_requested_at=at, stop_requested_by=by, stop_reason=reason).where(
        which, Exec.status.in_(LIVE), Exec.stop_requested_at.is_null()
    ).execute()
    cancel_unowned(which)


def cancel_unowned(which: Expression) -> None:
    """End those of these execs that have been asked to end and that nobody owns."""
    stop_requested = (Exec.status == ExecStatus.WAITING) & Exec.owner.is_null() & Exec.stop_requested_at.is_null(False)
    end_all(
        Exec.update(status=ExecStatus.CANCELLED, reason=Exec.stop_reason, ended_at=now()).where(which, stop_requested)
    )


NEEDED_AT_END = (
    Exec.seq,
    Exec.id,
    Exec.job_id,
    Exec.namespace,
    Exec.region_name,
    Exec.status,
    Exec.trigger_mode,
    Exec.reason,
    Exec.message,
    Exec.exit_code,
    Exec.created_at,
    Exec.started_at,
    Exec.ended_at,
)
"""The columns of an ended exec that metrics and plugins need."""


def end_all(update: Any) -> None:
    """Run an UPDATE that ends execs which no daemon has in memory. Count them, notify the listeners, and queue webhooks
    and mails.
    """
    rows = list(update.returning(*NEEDED_AT_END, outbox.SUBSCRIBED).execute())
    for row in rows:
        count(partial(_count_ended, row))
        ended(row)
    outbox.enqueue(row.seq for row in rows if row.has_subscribers)


def _count_ended(row: Exec, metrics: Metrics) -> None:
    ran = None if row.started_at is None else (row.ended_at - row.started_at).total_seconds()
    metrics.ended(row.region_name, row.status, row.reason, ran)


def log_of(caller: Caller, job_id: int, exec_id: str) -> tuple[Exec, bytes | None]:
    """An exec and its stored frames, None if there are none. Raises NotFound."""
    row = get(caller, job_id, exec_id)
    stored = ExecLog.get_or_none(ExecLog.exec_seq == row.seq)
    return row, None if stored is None else bytes(stored.frames)


def followed(exec_id: str) -> tuple[Exec | None, bytes | None]:
    """For a follower who was let in before: the exec, None once it is deleted, and its stored frames, if any."""
    row = Exec.get_or_none(Exec.id == exec_id, Exec.deleted_at.is_null())
    if row is None or row.status in LIVE:
        return row, None
    stored = ExecLog.get_or_none(ExecLog.exec_seq == row.seq)
    return row, None if stored is None else bytes(stored.frames)


def _insert(row: Exec, audit_row: Audit | None) -> None:
    sql.insert(row, audit_row)
    count(lambda metrics: metrics.created(row.region_name, row.trigger_mode))


def _made_with(caller: Caller, job_id: int, key: str, digest: str) -> Exec | None:
    earlier = IdempotencyKey.get_or_none(
        IdempotencyKey.username == caller.username, IdempotencyKey.job_id == job_id, IdempotencyKey.key == key
    )
    if earlier is None:
        return None
    if earlier.created_at < now() - IDEMPOTENT_FOR:
        earlier.delete_instance()
        return None
    if earlier.digest != digest:
        raise IdempotencyMismatch("this Idempotency-Key came with another body before")
    try:
        return get(caller, job_id, earlier.exec_id)
    except NotFound:
        raise StateConflict("the exec that was made with this Idempotency-Key has been deleted") from None


def _digest(overrides: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(overrides, sort_keys=True).encode()).hexdigest()
