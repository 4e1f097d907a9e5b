"""Renders rows in the JSON forms of docs/api.md."""

import json
from collections.abc import Sequence

from jobd.output.masking import MASK
from jobd.store import exec_json
from jobd.store.callers import Caller
from jobd.store.db.tables import Audit, Delivery, DeliveryAttempt, Exec, Hook, Job, Organization, User
from jobd.store.exec_json import Shape, duration, instant
from jobd.store.people.organizations import Membership
from jobd.store.people.tokens import Owned

MAX_SMALL = 8 * 2**10
"""Characters of a row that may be encoded on the event loop."""
MAX_SMALL_TEXTS = 200
"""Strings of a row that may be encoded on the event loop."""

__all__ = ["Shape", "duration", "instant"]


def is_small(row: Job | Exec) -> bool:
    """Whether the row can be encoded as JSON in a fraction of a millisecond."""
    texts = [*row.runtime_vars.values(), *row.labels.values(), row.command or ""]
    return len(texts) <= MAX_SMALL_TEXTS and sum(map(len, texts)) <= MAX_SMALL


def job(row: Job, last_exec: Exec | None) -> Shape:
    return {**_job(row), "last_exec": None if last_exec is None else _last_exec(last_exec)}


def exec(row: Exec, waits_for: str | None = None) -> Shape:
    """An exec with its job's id, as lists have it. `waits_for` says why it waits, if its row does not."""
    return _with_reason(exec_json.shape(row, row.job_id), waits_for)


def exec_detail(row: Exec, its_job: Job, waits_for: str | None = None) -> Shape:
    """An exec with its job as it is now. There, `runtime_vars` is a string of JSON, as existing clients expect."""
    variables = json.dumps(its_job.runtime_vars, ensure_ascii=False)
    return _with_reason(exec_json.shape(row, {**_job(its_job), "runtime_vars": variables}), waits_for)


def _with_reason(shape: Shape, waits_for: str | None) -> Shape:
    return shape if waits_for is None else {**shape, "message": waits_for}


def hook(row: Hook) -> Shape:
    """A hook. Its secret is hidden."""
    return {
        "id": row.id,
        "name": row.name,
        "subject_type": "namespace" if row.job_id is None else "job",
        "subject": row.namespace if row.job_id is None else row.job_id,
        "namespace": row.namespace,
        "url": row.url,
        "events": row.events,
        "secret": None if row.secret is None else MASK,
        "is_active": row.is_active,
        "created_by": row.created_by,
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
    }


def delivery(row: Delivery, attempts: Sequence[DeliveryAttempt]) -> Shape:
    return {
        "id": row.id,
        "webhook_id": row.message_id,
        "hook": row.hook_id,
        "event": row.event,
        "event_at": instant(row.event_at),
        "job": row.job_id,
        "exec": row.exec_id,
        "status": row.status,
        "created_at": instant(row.created_at),
        "next_attempt_at": None if row.claimed_by else instant(row.next_at),
        "attempts": [
            {
                "at": instant(attempt.at),
                "duration_ms": attempt.duration,
                "status_code": attempt.status_code,
                "error": attempt.error,
                "answer": attempt.answer,
            }
            for attempt in attempts
        ],
    }


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
        "secret_vars": exec_json.hidden(row),
        "pull_policy": row.pull_policy,
        "labels": row.labels,
        "mounts": row.mounts,
        "timeout": row.timeout,
        "max_retries": row.max_retries,
        "retry_delay": row.retry_delay,
        "retry_on": row.retry_on,
        "execs_kept": row.execs_kept,
        "is_schedule_active": row.is_schedule_active,
        "schedule_mode": row.schedule_mode,
        "schedule_timezone": row.schedule_timezone,
        "missed_run_policy": row.missed_run_policy,
        "starting_deadline": row.starting_deadline,
        "concurrency_policy": row.concurrency_policy,
        "email_enabled": row.email_enabled,
        "email_recipients": row.email_recipients,
        "schedule_error": row.schedule_error,
        "next_fire_at": instant(row.next_fire_at),
        "created_by": row.created_by,
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
    }


def _last_exec(row: Exec) -> Shape:
    return {"id": row.id, "status": row.status, "ended_at": instant(row.ended_at)}


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
        "made_by": row.made_by,
        "created_at": instant(row.created_at),
        "expires_at": instant(row.expires_at),
        "last_used_at": instant(row.last_used_at),
    }


def organization(row: Organization, seen_by: Caller) -> Shape:
    """An organization with the caller's role in it."""
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
    """A list with a single page."""
    return {"count": len(shapes), "next": None, "previous": None, "results": list(shapes)}
