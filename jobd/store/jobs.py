"""Jobs: what a user described, and when its schedule is due next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal

from peewee import SqliteDatabase

from jobd import schedule
from jobd.errors import InvalidArgs, NotFound
from jobd.keyring import Keyring
from jobd.schedule.zones import MICROSECOND
from jobd.store import audit, labels, secrets, tallies
from jobd.store.callers import Caller
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.columns import Table
from jobd.store.db.pages import Page, PageRequest, check_key, counted, cut, snapshot
from jobd.store.db.tables import Job, JobLabel
from jobd.store.namespaces import require_namespace

SCHEDULE_FIELDS = ("schedule_mode", "schedule_timezone")
AUDITED = (
    "name",
    "command",
    "docker_image_repo",
    "docker_image_tag",
    "resource_size",
    "region_name",
    "runtime_vars",
    "secret_vars",
    "pull_policy",
    "labels",
    "mounts",
    "timeout",
    "max_retries",
    "retry_delay",
    "retry_on",
    "execs_kept",
    "is_schedule_active",
    "schedule_mode",
    "schedule_timezone",
    "missed_run_policy",
    "starting_deadline",
    "concurrency_policy",
    "email_enabled",
    "email_recipients",
)
"""What users set of a job, as far as the audit log may record it."""


@dataclass(frozen=True)
class JobFilter:
    namespace: str | None = None
    name: str | None = None
    region: str | None = None
    scheduled: bool | None = None
    labels: tuple[tuple[str, str], ...] = ()


def create(caller: Caller, values: Mapping[str, Any], keyring: Keyring | None = None) -> Job:
    """Create a job with these values, each of which was checked by itself; without a `namespace` it goes to the
    caller's own. `keyring` seals the values of `secret_vars`.

    Raises PermissionDenied, InvalidArgs, ServiceUnavailable if this daemon cannot seal.
    """
    namespace = values.get("namespace") or caller.own_namespace
    require_namespace(caller, namespace)
    at = now()
    secret_values = values.get("secret_vars") or {}
    own = {"namespace": namespace, "secret_vars": secrets.versions(secret_values, {})}
    job = Job(**{**values, **own}, created_by=caller.username, created_at=at, updated_at=at)
    _require_apart(job)
    _reschedule(job, at, anew=True)
    sql.insert(job)
    labels.store(job)
    if secret_values:
        secrets.store(keyring, job, secret_values)
    audit.record(caller, "job.create", namespace, job.id, after=audited(job), at=at)
    return job


def audited(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in AUDITED}


def get(caller: Caller, job_id: int, lock: Literal["", "SHARE", "UPDATE"] = "") -> Job:
    """With `lock` nobody else changes the job until the transaction ends: SHARE lets others lock it in the same way,
    UPDATE lets this transaction change it.

    Raises NotFound, also for a job that the caller may not see.
    """
    locking = f" FOR {lock}" if lock and Job._meta.database.for_update else ""
    job = sql.find(Job, f"id = ? AND deleted_at IS NULL{locking}", job_id)
    if job is None or not caller.may_read(job.namespace):
        raise NotFound(f"no job {job_id}")
    return job


def writable(caller: Caller, job_id: int, lock: Literal["", "SHARE", "UPDATE"] = "") -> Job:
    """Like `get`, to change something about the job. Raises PermissionDenied if the caller may only read it."""
    job = get(caller, job_id, lock)
    caller.require_write(job.namespace)
    return job


def listed(caller: Caller, filters: JobFilter, page: PageRequest) -> Page:
    """The caller's jobs, newest first. A namespace that the caller may not see looks empty."""
    check_key(page.after, int)
    namespaces = caller.shown(filters.namespace)
    is_filtered = filters != JobFilter(namespace=filters.namespace)
    number = None if is_filtered else lambda limit: tallies.number(tallies.JOBS, namespaces)
    table, key, conditions = _sought(filters, namespaces)
    where = " AND ".join(text for text, _ in conditions)
    values = [value for _, parameters in conditions for value in parameters]
    behind, last = ("", []) if page.after is None else (f" AND {key} < ?", [page.after[0]])
    offset = 0 if page.goes_on else (page.number - 1) * page.size
    ids = f"SELECT {key} FROM {table._meta.table_name} WHERE {where}{behind} ORDER BY {key} DESC LIMIT ? OFFSET ?"  # noqa: S608
    with snapshot(Job, page.counting != "none"):
        count, is_exact = counted(page.counting, number or partial(sql.count_up_to, table, where, values))
        rows = sql.find_all(Job, f"id IN ({ids}) ORDER BY id DESC", *values, *last, page.size + 1, offset)
    return cut(rows, page, count, is_exact, lambda row: (int(row.id),))


def _sought(
    filters: JobFilter, namespaces: frozenset[str] | None
) -> tuple[type[Table], str, list[tuple[str, list[Any]]]]:
    """The table in which jobs are looked for, the column that holds a job's id there, and conditions with their
    parameters.
    """
    own: list[tuple[str, list[Any]]] = [("deleted_at IS NULL", [])]
    if filters.name is not None:
        own.append(("name = ?", [filters.name]))
    if filters.region is not None:
        own.append(("region_name = ?", [filters.region]))
    if filters.scheduled is not None:
        own.append(("is_schedule_active = ?", [filters.scheduled]))
    among: list[tuple[str, list[Any]]] = []
    if namespaces is not None:
        among = [(f"namespace IN ({sql.marks(len(namespaces))})", sorted(namespaces))]
    if filters.labels:
        conditions = [*labels.having(filters.labels), *among]
        if len(own) > 1:
            text = " AND ".join(text for text, _ in own)
            exists = f"EXISTS (SELECT 1 FROM jobs WHERE jobs.id = job_labels.job_id AND {text})"  # noqa: S608
            conditions.append((exists, [value for _, parameters in own for value in parameters]))
        return JobLabel, "job_id", conditions
    if len(own) > 1 and among and isinstance(Job._meta.database, SqliteDatabase):
        # SQLite prefers the index of namespaces to a better one, unless a plus prevents it.
        among = [(f"+{text}", parameters) for text, parameters in among]
    return Job, "id", [*own, *among]


def update(
    caller: Caller,
    job_id: int,
    changes: Mapping[str, Any],
    require: Callable[[Job], None] = lambda job: None,
    keyring: Keyring | None = None,
) -> Job:
    """Change the fields that are named and leave the rest. `require` is called with the locked job, and may raise;
    `keyring` as in `create`. Raises NotFound, PermissionDenied, InvalidArgs, ServiceUnavailable.
    """
    job = writable(caller, job_id, lock="UPDATE")
    require(job)
    audited_before = audited(job)
    secret_values = changes.get("secret_vars")
    if secret_values is not None:
        changes = {**changes, "secret_vars": secrets.versions(secret_values, job.secret_vars)}
    before = {name: getattr(job, name) for name in (*SCHEDULE_FIELDS, "is_schedule_active")}
    for name, value in changes.items():
        setattr(job, name, value)
    at = now()
    job.updated_at = at
    _require_apart(job)
    if any(getattr(job, name) != value for name, value in before.items()):
        _reschedule(job, at, anew=any(getattr(job, name) != before[name] for name in SCHEDULE_FIELDS))
    job.save()
    if job.labels != audited_before["labels"]:
        labels.change(job)
    if secret_values is not None:
        secrets.store(keyring, job, secret_values)
    audit.record(caller, "job.update", job.namespace, job.id, audited_before, audited(job), at)
    return job


def _require_apart(job: Job) -> None:
    """Raises InvalidArgs if a name is both a plain and a secret variable."""
    both = secrets.shared(job)
    if both:
        message = f"{', '.join(both)}: cannot be in runtime_vars and in secret_vars"
        raise InvalidArgs("invalid request", {"secret_vars": [message]})


def _reschedule(job: Job, at: datetime, anew: bool) -> None:
    """Set the anchor and `next_fire_at` after the schedule, its zone or its switch has changed.

    Slots before `at` are past: they count but do not fire. A form without a start has its slot 0 at `at`, when it is
    set and each time that it is switched on; the other forms keep their start.
    """
    job.schedule_error = job.decided_until = None
    if job.is_schedule_active and job.schedule_mode is None:
        raise InvalidArgs("there is no schedule to switch on", {"is_schedule_active": ["needs a schedule_mode"]})
    if job.schedule_mode is None:
        if job.schedule_timezone is not None:
            schedule.check_timezone(job.schedule_timezone)
        job.schedule_anchor = job.next_fire_at = None
        return
    if not (anew or job.is_schedule_active):
        job.next_fire_at = None
        return
    parsed = schedule.parse(job.schedule_mode, job.schedule_timezone, at)
    if anew or (parsed.needs_anchor and job.is_schedule_active):
        job.schedule_anchor = at
    parsed = schedule.parse(job.schedule_mode, job.schedule_timezone, job.schedule_anchor)
    slot = parsed.next_after(at - MICROSECOND) if job.is_schedule_active else None
    job.next_fire_at = slot.at if slot else None
