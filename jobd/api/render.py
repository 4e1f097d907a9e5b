"""Rows to the JSON shapes of docs/api.md."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from jobd.masking import MASK
from jobd.store.callers import Caller
from jobd.store.organizations import Membership
from jobd.store.tables import Audit, Exec, Job, Organization, User
from jobd.store.tokens import Owned

Shape = dict[str, Any]


def instant(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, always with microseconds: `2015-12-28T14:31:07.639255+00:00`."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")


def duration(started_at: datetime | None, ended_at: datetime | None) -> Shape | None:
    """Whole seconds, rounded down; None for an exec that has not ended or never started."""
    if started_at is None or ended_at is None:
        return None
    seconds = max(int((ended_at - started_at).total_seconds()), 0)
    return {"hours": seconds // 3600, "minutes": seconds // 60 % 60, "seconds": seconds % 60}


def job(row: Job, last_exec: Exec | None) -> Shape:
    return {**_job(row), "last_exec": None if last_exec is None else _last_exec(last_exec)}


def exec(row: Exec) -> Shape:
    """An exec as lists and answers to a trigger show it: with its job's id."""
    return _exec(row, row.job_id)


def exec_detail(row: Exec, its_job: Job) -> Shape:
    """An exec with its job as it is now; the seed shows that job with `runtime_vars` as a text."""
    variables = json.dumps(its_job.runtime_vars, ensure_ascii=False)
    return _exec(row, {**_job(its_job), "email_enabled": False, "runtime_vars": variables})


def _job(row: Job) -> Shape:
    return {
        "id": row.id,
        "name": row.name,
        "namespace": row.namespace,
        "command": row.command,
        "docker_image_repo": row.docker_image_repo,
        "docker_image_tag": row.docker_image_tag,
        "resource_size": row.resource_size,
        "region_name": row.region_name,
        "runtime_vars": row.runtime_vars,
        "secret_vars": _hidden(row),
        "pull_policy": row.pull_policy,
        "labels": row.labels,
        "mounts": row.mounts,
        "timeout": row.timeout,
        "max_retries": row.max_retries,
        "retry_delay": row.retry_delay,
        "execs_kept": row.execs_kept,
        "is_schedule_active": row.is_schedule_active,
        "schedule_mode": row.schedule_mode,
        "schedule_timezone": row.schedule_timezone,
        "missed_run_policy": row.missed_run_policy,
        "starting_deadline": row.starting_deadline,
        "concurrency_policy": row.concurrency_policy,
        "schedule_error": row.schedule_error,
        "next_fire_at": instant(row.next_fire_at),
        "created_by": row.created_by,
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
    }


def _hidden(row: Job | Exec) -> Shape:
    return dict.fromkeys(row.secret_vars, MASK)


def _last_exec(row: Exec) -> Shape:
    return {"id": row.id, "status": row.status, "ended_at": instant(row.ended_at)}


def _exec(row: Exec, its_job: int | Shape) -> Shape:
    shape = {
        "id": row.id,
        "job": its_job,
        "status": row.status,
        "trigger_mode": row.trigger_mode,
        "attempt": row.attempt,
        "retry_of": row.retry_of,
        "scheduled_for": instant(row.scheduled_for),
        "command": row.command,
        "docker_image_repo": row.docker_image_repo,
        "docker_image_tag": row.docker_image_tag,
        "image_digest": row.image_digest,
        "resource_size": row.resource_size,
        "region_name": row.region_name,
        "runtime_vars": row.runtime_vars,
        "secret_vars": _hidden(row),
        "created_by": row.created_by,
        "created_at": instant(row.created_at),
        "started_at": instant(row.started_at),
        "ended_at": instant(row.ended_at),
        "duration": duration(row.started_at, row.ended_at),
        "stop_requested_at": instant(row.stop_requested_at),
        "exit_code": row.exit_code,
        "reason": row.reason,
        "message": row.message,
        "log_bytes": row.log_bytes,
    }
    if row.status == "N":
        shape["missed_count"] = row.missed_count
        shape["missed_from"] = instant(row.missed_from)
        shape["missed_to"] = instant(row.missed_to)
    return shape


def user(row: User) -> Shape:
    return {
        "username": row.username,
        "is_admin": row.is_admin,
        "is_active": row.is_active,
        "has_password": row.password_hash is not None,
        "created_at": instant(row.created_at),
    }


def token(owned: Owned) -> Shape:
    row = owned.token
    return {
        "id": row.id,
        "name": row.name,
        "username": owned.username,
        "namespace": row.namespace,
        "access": row.access,
        "created_at": instant(row.created_at),
        "expires_at": instant(row.expires_at),
        "last_used_at": instant(row.last_used_at),
    }


def organization(row: Organization, seen_by: Caller) -> Shape:
    """With what the caller is in it."""
    return {
        "name": row.name,
        "role": seen_by.role(row.name),
        "created_by": row.created_by,
        "created_at": instant(row.created_at),
    }


def member(row: Membership) -> Shape:
    return {"username": row.username, "role": row.role, "created_at": instant(row.created_at)}


def audit_record(row: Audit) -> Shape:
    return {
        "id": row.id,
        "at": instant(row.at),
        "namespace": row.namespace,
        "actor": row.actor,
        "token": row.token_id,
        "address": row.address,
        "request_id": row.request_id,
        "action": row.action,
        "subject": row.subject,
        "before": row.before,
        "after": row.after,
    }


def whole_list(shapes: Sequence[Shape]) -> Shape:
    """A list that has one page."""
    return {"count": len(shapes), "next": None, "previous": None, "results": list(shapes)}
