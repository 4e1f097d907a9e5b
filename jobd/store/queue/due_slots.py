"""Due slots become waiting execs, in the transaction that also advances `next_fire_at` of each job.

A slot is (job, scheduled_for). It fires at most once, whatever crashes and however many daemons run: the job's row is
locked while it is decided, and the unique index `execs_slot` allows only one exec for a slot.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from peewee import PeeweeException, SqliteDatabase

from jobd import schedule
from jobd.metrics import Metrics
from jobd.schedule import Schedule, Slot
from jobd.schedule.zones import MICROSECOND
from jobd.statuses import LIVE, ExecStatus, Trigger
from jobd.store import execs, outbox
from jobd.store.db import clock, sql
from jobd.store.db.clock import HELD_OVER, Reading, now, steady
from jobd.store.db.database import count
from jobd.store.db.tables import Exec, Job
from jobd.store.queue import decided_before
from jobd.store.queue.quota import NamespaceQuota, count_quota

log = logging.getLogger(__name__)

Row = TypeVar("Row")

MAX_MISSED_RUN = 1000
"""The maximum number of missed slots that `run_all` runs; older ones are recorded as not run."""
WRITTEN_AT_ONCE = 500
"""Rows in one statement."""
SOON = 0.003
"""The minimum time in seconds until the next scan: slots that come close together are fired together."""

NEEDED = (
    "id",
    "namespace",
    "region_name",
    "created_by",
    "schedule_mode",
    "schedule_timezone",
    "schedule_anchor",
    "missed_run_policy",
    "starting_deadline",
    "concurrency_policy",
    "next_fire_at",
    "decided_until",
)
"""The columns that decide what a due job does. What its execs copy is copied within the database."""
_FIRST = "SELECT next_fire_at FROM jobs WHERE next_fire_at IS NOT NULL ORDER BY next_fire_at LIMIT 1"
_DUE = (
    f"WITH due AS (SELECT {', '.join(NEEDED)} FROM jobs WHERE next_fire_at <= {{now}} AND deleted_at IS NULL "  # noqa: S608
    "ORDER BY next_fire_at LIMIT {most} {locked}) "
    f"SELECT {{now}}, ({_FIRST}), due.* FROM (SELECT 1) AS always LEFT JOIN due ON true ORDER BY due.next_fire_at"
)
"""One row for each due job, with the database's time and the earliest `next_fire_at`; a single row without a job if
none is due. One statement, so that a scan waits for as few answers as possible.
"""
COPIED = (*execs.SNAPSHOT, "created_by")
FIXED = {
    "attempt": "1",
    "log_bytes": "0",
    "log_is_cut": "false",
    "log_may_lack_output": "false",
    "term": "0",
    "holds_slot": "false",
    "pulled": "false",
}
"""The columns of a waiting exec that are not copied from its job, and their values as SQL."""
COLUMNS = (
    f"{', '.join(COPIED)}, {', '.join(FIXED)}, "
    "id, job_id, created_at, status, trigger_mode, replaces, scheduled_for, start_before"
)
"""The columns of an exec that a slot creates: those copied, those fixed, and its own."""
_INSERT = (
    "WITH slot (turn, id, job_id, scheduled_for, start_before) AS (VALUES {values}) "  # noqa: S608
    f"INSERT INTO execs ({COLUMNS}) "
    f"SELECT {', '.join(f'jobs.{name}' for name in COPIED)}, {', '.join(FIXED.values())}, "
    "slot.id, jobs.id, {at}, 'W', 'S', jobs.concurrency_policy = 'replace', "
    "slot.scheduled_for, CAST(slot.start_before AS bigint) "
    "FROM slot JOIN jobs ON jobs.id = slot.job_id WHERE true ORDER BY slot.turn ON CONFLICT DO NOTHING RETURNING id, "
    f"({_FIRST})"
)
_MOVE = (
    "WITH moved (id, at) AS (VALUES {values}) UPDATE jobs SET next_fire_at = CAST(moved.at AS bigint) "
    "FROM moved WHERE jobs.id = moved.id"
)
_Statement = tuple[str, list[Any]]
"""A statement and its parameters."""


@dataclass(frozen=True)
class Rules:
    """`late_after`: seconds after its time up to which a slot is merely late; `batch`: jobs in one transaction."""

    late_after: float
    waiting_per_namespace: int
    batch: int = 500


@dataclass(frozen=True)
class Fired:
    """What one scan did. `execs` have been queued; they lack the columns that were copied from their jobs. `more`: more
    jobs may be due than one batch holds. `next_in`: seconds until the next slot of any job is due, None if there is
    none. `quota` is the one that was used, None if nothing was due and none was passed in. `at`: the database's time.
    `has_jumped`: nothing was fired, because the clock is far from where it should be.
    """

    execs: list[Exec]
    more: bool
    next_in: float | None
    quota: NamespaceQuota | None
    at: datetime
    has_jumped: bool = False


@dataclass(frozen=True)
class _Due:
    """The due slots of one job: `run` become execs, `unrun` (count, first, last) do not."""

    run: list[Slot]
    unrun: tuple[int, datetime, datetime] | None


def fire_due(rules: Rules, quota: NamespaceQuota | None = None, believed: Reading | None = None) -> Fired:
    """Fire what is due by the database's clock. A schedule that raises is stopped, and no other. `quota` is one that
    was counted a short time ago; with None it is counted. `believed`: a reading from when that clock was last known to
    be right.
    """
    began = steady()
    at, first, due = _look(rules.batch)
    if due and believed is not None and abs(believed.jump_to(Reading(at, began, steady()))) > HELD_OVER:
        return Fired([], False, None, quota, at, has_jumped=True)
    if not due:
        return Fired([], False, seconds_until(first, at), quota, at)
    looked = time.monotonic()
    quota = quota or count_quota(rules.waiting_per_namespace)
    quota.begin()
    waiting: list[Exec] = []
    not_run: list[dict[str, Any]] = []
    for job in due:
        try:
            run, unrun = _fire(job, at, rules, quota)
        except PeeweeException:
            raise
        except Exception as error:  # an error in one schedule, whatever it is, must not stop the others
            log.error("the schedule of job %s is stopped, since it raised an error: %r", job.id, error)
            count(lambda metrics: metrics.schedule_errors.inc())
            job.schedule_error, job.next_fire_at = str(error) or repr(error), None
            Job.update(schedule_error=job.schedule_error).where(Job.id == job.id).execute()
        else:
            waiting += run
            not_run += unrun
    for start in range(0, len(not_run), WRITTEN_AT_ONCE):
        insert = Exec.insert_many(not_run[start : start + WRITTEN_AT_ONCE]).returning(Exec.seq, outbox.SUBSCRIBED)
        outbox.enqueue(row.seq for row in insert.execute() if row.has_subscribers)
    fired, first = _store(waiting, due)
    count(partial(count_fired, fired))
    passed = timedelta(seconds=time.monotonic() - looked)
    return Fired(fired, len(due) == rules.batch, seconds_until(first, at + passed), quota, at)


def _look(most: int) -> tuple[datetime, datetime | None, list[Job]]:
    """The database's time, the first slot of all, and the due jobs, those that have been due longest first. PostgreSQL
    locks them for this transaction, and skips those that another transaction has locked.
    """
    at, locked = (str(micros(now())[0]), "") if _is_sqlite() else (clock.STATEMENT, "FOR UPDATE SKIP LOCKED")
    rows = sql.rows(Job, _DUE.format(now=at, most=most, locked=locked))
    seen, first = (_instant(value) for value in rows[0][:2])
    assert seen is not None  # noqa: S101
    return seen, first, [sql.row(Job, NEEDED, values) for _, _, *values in rows if values[0] is not None]


def seconds_until(first: datetime | None, at: datetime) -> float | None:
    """Seconds from `at` until the first slot of all. One that is overdue is locked by another daemon, and is looked at
    again soon.
    """
    return None if first is None else max((first - at).total_seconds(), SOON)


def count_fired(rows: list[Exec], metrics: Metrics) -> None:
    for region, fired in Counter(row.region_name for row in rows).items():
        metrics.created(region, Trigger.SCHEDULE, fired)
    metrics.fired((row.created_at - row.scheduled_for).total_seconds() for row in rows)


def first_due() -> datetime | None:
    """When the next slot of any job is due; in the past while it is overdue."""
    row = _execute((_FIRST, [])).fetchone()
    return _instant(row[0] if row else None)


def _store(waiting: list[Exec], due: list[Job]) -> tuple[list[Exec], datetime | None]:
    """Advance these jobs and insert these execs, whose other columns are copied from their jobs. Returns the execs that
    were inserted, and the first slot of all from now on. A slot that already has its exec came due again because the
    clock was set back: it has fired, and gets no other.
    """
    moves = [_moving(batch) for batch in _batches(due)]
    *inserts, last = [_inserting(batch) for batch in _batches(waiting)] or [(_FIRST, [])]
    inserted = {id for insert in inserts for id, _ in _execute(insert).fetchall()}
    answers = _execute(*moves, last).fetchall()
    if not waiting:
        return [], _instant(answers[0][0] if answers else None)
    inserted.update(id for id, _ in answers)
    return [row for row in waiting if row.id in inserted], _instant(answers[0][1]) if answers else first_due()


def _batches(rows: list[Row]) -> Iterator[list[Row]]:
    return (rows[start : start + WRITTEN_AT_ONCE] for start in range(0, len(rows), WRITTEN_AT_ONCE))


def _inserting(rows: list[Exec]) -> _Statement:
    at = str(micros(rows[0].created_at)[0])
    values = [(n, row.id, row.job_id, *micros(row.scheduled_for, row.start_before)) for n, row in enumerate(rows)]
    return with_values(_INSERT.replace("{at}", at), values)


def _moving(jobs: list[Job]) -> _Statement:
    return with_values(_MOVE, [(job.id, *micros(job.next_fire_at)) for job in jobs])


def with_values(text: str, rows: list[tuple[Any, ...]]) -> _Statement:
    """A statement with these rows as its VALUES list. Building it with peewee would take longer than running it."""
    row = f"({', '.join([Job._meta.database.param] * len(rows[0]))})"
    return text.replace("{values}", ", ".join([row] * len(rows))), [value for values in rows for value in values]


def _execute(*parts: _Statement) -> Any:
    """Run these statements, on PostgreSQL in one round trip; returns the result of the last."""
    if _is_sqlite():
        return [Job._meta.database.execute_sql(*part) for part in parts][-1]
    texts, parameters = zip(*parts, strict=True)
    return Job._meta.database.execute_sql("; ".join(texts), list(chain(*parameters)))


def _is_sqlite() -> bool:
    return isinstance(Job._meta.database, SqliteDatabase)


def _instant(micros: int | None) -> datetime | None:
    at: datetime | None = Job.next_fire_at.python_value(micros)
    return at


def micros(*instants: datetime | None) -> tuple[int | None, ...]:
    return tuple(Job.next_fire_at.db_value(at) for at in instants)


def _fire(job: Job, at: datetime, rules: Rules, quota: NamespaceQuota) -> tuple[list[Exec], list[dict[str, Any]]]:
    """What this job's due slots become: waiting execs, and records of what does not run. Advances `next_fire_at`."""
    parsed = schedule.parse(job.schedule_mode or "", job.schedule_timezone, job.schedule_anchor)
    due = _split(parsed, job, at, rules.late_after)
    following = parsed.next_after(at)
    job.next_fire_at = following.at if following else None
    missed = _not_run(job, at, "missed", *due.unrun) if due.unrun else []
    run, unrun = _admit(job, due.run, at, quota)
    if run and decided_before.may_come_again(job, run[0].scheduled_for):
        decided_before.take_out(parsed, job, [row.scheduled_for for row in run])
    return run, missed + unrun


def _split(parsed: Schedule, job: Job, at: datetime, late_after: float) -> _Due:
    """Which of the slots from `next_fire_at` to `at` run: those that are merely late, and of the missed ones those that
    `missed_run_policy` and `starting_deadline` let run.
    """
    since, on_time = job.next_fire_at - MICROSECOND, at - timedelta(seconds=late_after) - MICROSECOND
    run = parsed.newest_between(max(since, on_time), at, limit=int(late_after) + 1)
    if job.decided_until is not None:
        since = max(since, job.decided_until - MICROSECOND)
    missed = parsed.between(since, on_time) if on_time > since else None
    if missed is None or missed.first is None or missed.last is None:
        return _Due(run, None)
    limit = {"skip": 0, "run_once": 1, "run_all": MAX_MISSED_RUN}[job.missed_run_policy]
    worth = at - timedelta(seconds=job.starting_deadline) - MICROSECOND if job.starting_deadline is not None else since
    saved = parsed.newest_between(max(since, worth), on_time, limit=limit) if limit and worth < on_time else []
    dropped = missed.count - len(saved)
    if not dropped:
        return _Due(saved + run, None)
    until = saved[0].at - MICROSECOND if saved else on_time
    last = parsed.between(since, until).last
    return _Due(saved + run, (dropped, missed.first.at, last.at if last else missed.first.at))


def _admit(job: Job, slots: list[Slot], at: datetime, quota: NamespaceQuota) -> tuple[list[Exec], list[dict[str, Any]]]:
    """Execs for these slots, as far as `concurrency_policy` and the namespace's quota let, and records of the rest."""
    come_again = bool(slots) and decided_before.may_come_again(job, slots[0].at)
    if come_again:
        slots = decided_before.not_fired(job, slots)
    if not slots:
        return [], []
    if job.concurrency_policy == "allow":
        to_run, overlap = slots, []
    else:
        live = Exec.select(Exec.seq).where(Exec.job_id == job.id, Exec.status.in_(LIVE)).exists()
        if job.concurrency_policy == "replace" and live:
            execs.request_stop((Exec.job_id == job.id), job.created_by, "replaced")
        to_run = slots[-1:] if job.concurrency_policy == "replace" or not live else []
        overlap = slots[: len(slots) - len(to_run)]
    run = to_run[: quota.take(job.namespace, len(to_run))]
    unrun = []
    for reason, passed_over in (("missed", to_run[len(run) :]), ("overlap", overlap)):
        if come_again:
            passed_over = decided_before.unrecorded(job, passed_over)
        if passed_over:
            unrun += _not_run(job, at, reason, len(passed_over), passed_over[0].at, passed_over[-1].at)
    return [waiting_exec(job, slot.at, at) for slot in run], unrun


def waiting_exec(job: Job, slot: datetime, at: datetime) -> Exec:
    """The exec that a slot becomes at the instant `at`, without what it copies from its job."""
    deadline = slot + timedelta(seconds=job.starting_deadline) if job.starting_deadline is not None else None
    where = {"namespace": job.namespace, "region_name": job.region_name}
    return Exec(
        **execs.fresh(job.id, Trigger.SCHEDULE, job.created_by, at), **where, scheduled_for=slot, start_before=deadline
    )


def _not_run(job: Job, at: datetime, reason: str, slots: int, first: datetime, last: datetime) -> list[dict[str, Any]]:
    """The record of slots that did not run; none if the newest record of the job's slots says the same and is extended
    instead, so that a long overlap is one record.
    """
    count(lambda metrics: metrics.slots.labels(reason).inc(slots))
    newest = (
        Exec.select()
        .where(Exec.job_id == job.id, Exec.trigger_mode == Trigger.SCHEDULE)
        .order_by(Exec.seq.desc())
        .first()
    )
    goes_on = newest is not None and (newest.status, newest.reason, newest.deleted_at) == (
        ExecStatus.NOT_RUN,
        reason,
        None,
    )
    if goes_on and newest.missed_from <= first:
        Exec.update(missed_count=Exec.missed_count + slots, missed_to=last, ended_at=at).where(
            Exec.seq == newest.seq
        ).execute()
        return []
    row = {**execs.fresh(job.id, Trigger.SCHEDULE, job.created_by, at), **execs.snapshot(Job.get_by_id(job.id))}
    row |= {"status": ExecStatus.NOT_RUN, "reason": reason, "scheduled_for": first, "ended_at": at}
    return [{**row, "missed_count": slots, "missed_from": first, "missed_to": last}]
