"""Schedules after a wrong clock: those armed for a later slot than the next one are armed anew.

A slot that ran ahead of its time keeps its exec, and so runs only once. The others fire when they come, also those that
a record names as passed over (`decided_before`). No slot that the wrong clock decided on counts as missed
(`decided_until`).
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobd import schedule
from jobd.schedule.zones import MICROSECOND
from jobd.statuses import ExecStatus, Trigger
from jobd.store.db import sql
from jobd.store.db.clock import NOTICED, now
from jobd.store.db.columns import EPOCH
from jobd.store.db.database import count
from jobd.store.db.tables import Exec, Installation, Job
from jobd.store.queue import due_slots

log = logging.getLogger(__name__)

JOBS_AT_ONCE = 200
RAN_AHEAD = "ran ahead of its time"
"""How `schedule_error` begins if the schedule goes on."""
NOT_RUN_AHEAD = "written by a clock that was ahead: what had not come then still fires, and is then not counted here"
ALL_SLOTS = datetime(9999, 1, 1, tzinfo=EPOCH.tzinfo)
"""A schedule that came to its end by a wrong clock has decided on all of its slots."""
_MOVE = (
    "WITH moved (id, seen, was, at, anchor, decided, error) AS (VALUES {values}) UPDATE jobs SET "
    "next_fire_at = CAST(moved.at AS bigint), schedule_anchor = CAST(moved.anchor AS bigint), "
    "decided_until = CAST(moved.decided AS bigint), "
    "schedule_error = coalesce(CAST(moved.error AS text), jobs.schedule_error) "
    "FROM moved WHERE jobs.id = moved.id AND jobs.updated_at = moved.seen "
    "AND jobs.next_fire_at IS NOT DISTINCT FROM CAST(moved.was AS bigint) RETURNING jobs.id"
)
_AHEAD = (
    "SELECT job_id, count(*), min(scheduled_for), max(scheduled_for) FROM execs WHERE job_id IN ({jobs}) "
    "AND trigger_mode = 'S' AND status <> 'N' AND scheduled_for > ? GROUP BY job_id"
)


@dataclass(frozen=True)
class Ahead:
    """Slots of a job that ran ahead of their time."""

    job_id: int
    count: int
    first: datetime
    last: datetime

    def __str__(self) -> str:
        slot = "a slot" if self.count == 1 else f"{self.count:,} slots"
        span = text(self.first) if self.count == 1 else f"{text(self.first)} to {text(self.last)}"
        return f"{slot} of {span}"


Schedule = tuple[Any, ...]
"""A job's row for `_MOVE`, without its error."""


@dataclass(frozen=True)
class TooLate:
    """Those of one batch of jobs that are armed for too late a slot. `next_job`: the job to go on after, None at the
    end.
    """

    schedules: list[Schedule]
    next_job: int | None


@dataclass(frozen=True)
class Rearmed:
    """How many jobs were armed anew, and which of their slots ran ahead of their time."""

    jobs: int
    ahead: list[Ahead]


def armed_too_late(after_job: int, since: datetime | None, back: timedelta) -> TooLate:
    """The schedules of the jobs after `after_job` whose next slot is later than their first one after `since`, or after
    now. `back`: by how much the clock was ahead, as far as that is known, else 0.
    """
    where = "id > ? AND is_schedule_active AND deleted_at IS NULL AND schedule_mode IS NOT NULL"
    only = (*due_slots.NEEDED, "updated_at", "schedule_error")
    jobs = sql.find_all(Job, f"{where} ORDER BY id LIMIT {JOBS_AT_ONCE}", after_job, only=only)
    at = now()
    # A clock that shows a time before this database was created is behind, and anchors are not its fault.
    is_behind = sql.exists(Installation, "created_at > ?", *due_slots.micros(at))
    late = [row for job in jobs if (row := _rearmed_row(job, at, since or at, None if is_behind else back)) is not None]
    return TooLate(late, jobs[-1].id if len(jobs) == JOBS_AT_ONCE else None)


def rearm(schedules: list[Schedule]) -> Rearmed:
    """Arm these schedules anew, except those of jobs that somebody has changed since."""
    at = now() + NOTICED
    ids = [row[0] for row in schedules]
    ran = {ahead.job_id: ahead for ahead in _ran_ahead(ids, at)}
    if Job._meta.database.for_update:
        # In one order: otherwise two daemons that do this at the same time could deadlock.
        locking = f"SELECT 1 FROM jobs WHERE id IN ({sql.marks(len(ids))}) ORDER BY id FOR UPDATE"  # noqa: S608
        sql.rows(Job, locking, *ids)
    command, values = due_slots.with_values(_MOVE, [(*row, _error(ran.get(row[0]))) for row in schedules])
    moved = {id for (id,) in Job._meta.database.execute_sql(command, values).fetchall()}
    _mark_not_run(moved, at)
    ahead = [each for each in ran.values() if each.job_id in moved]
    count(lambda metrics: metrics.schedules_rearmed.inc(len(moved)))
    count(lambda metrics: metrics.slots.labels("ahead").inc(sum(each.count for each in ahead)))
    return Rearmed(len(moved), ahead)


def _rearmed_row(job: Job, at: datetime, since: datetime, back: timedelta | None) -> Schedule | None:
    """The schedule's new row; None if there is nothing to change. Without `back` anchors are left alone."""
    is_stopped = job.schedule_error is not None and not job.schedule_error.startswith(RAN_AHEAD)
    if job.next_fire_at is None and is_stopped:
        return None
    anchor = job.schedule_anchor
    if anchor is not None and back is not None and anchor > at:
        # The schedule was set before now: its first slot has fired, and must not fire again.
        anchor = min(anchor - back, at - MICROSECOND)
        since = max(since, anchor + MICROSECOND)
    try:
        parsed = schedule.parse(job.schedule_mode or "", job.schedule_timezone, anchor)
        following = parsed.next_after(since - MICROSECOND)
    except Exception as error:  # an error in one schedule must not stop the others; it is reported when it is due
        log.debug("the schedule of job %s is not armed anew, since it raised an error: %r", job.id, error)
        return None
    next_at = following.at if following else None
    if next_at is None or (job.next_fire_at is not None and job.next_fire_at <= next_at):
        return None
    decided = job.next_fire_at or ALL_SLOTS
    if job.decided_until is not None:
        decided = max(decided, job.decided_until)
    return job.id, *due_slots.micros(job.updated_at, job.next_fire_at, next_at, anchor, decided)


def _ran_ahead(job_ids: list[int], at: datetime) -> Iterable[Ahead]:
    command = _AHEAD.format(jobs=sql.marks(len(job_ids)))
    for job_id, slots_ahead, first, last in sql.rows(Exec, command, *job_ids, *due_slots.micros(at)):
        yield Ahead(job_id, slots_ahead, *(Exec.scheduled_for.python_value(value) for value in (first, last)))


def _mark_not_run(job_ids: Iterable[int], at: datetime) -> None:
    """Have records of slots that did not run say that they were written too early, if they name slots to come."""
    not_come = (Exec.trigger_mode == Trigger.SCHEDULE) & (Exec.status == ExecStatus.NOT_RUN) & (Exec.missed_to > at)
    Exec.update(message=NOT_RUN_AHEAD).where(Exec.job_id.in_(sorted(job_ids)), not_come).execute()


def _error(ahead: Ahead | None) -> str | None:
    if ahead is None:
        return None
    return f"{RAN_AHEAD}: {ahead}, while the clock was ahead; not run again. The schedule goes on"


def text(at: datetime) -> str:
    """An instant for people, to the second."""
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
