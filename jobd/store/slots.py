"""Due slots become waiting execs, in the one transaction that moves each job's `next_fire_at` on.

A slot is (job, scheduled_for). Whatever crashes and however many daemons run, it fires at most once: the job's row is
locked while it is decided, and `execs_slot` keeps a second exec of a slot out of the table.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import PeeweeException

from jobd import schedule
from jobd.schedule import Schedule, Slot
from jobd.store import execs
from jobd.store.clock import now
from jobd.store.execs import LIVE
from jobd.store.tables import Exec, Job

log = logging.getLogger(__name__)

TICK = timedelta(microseconds=1)
MOST_MISSED_RUN = 1000
"""Missed slots that `run_all` runs at the most; what is older is recorded as not run."""
INSERTED_AT_ONCE = 200


@dataclass(frozen=True)
class Rules:
    """`late_after`: seconds after its time up to which a slot is merely late; `batch`: jobs in one transaction."""

    late_after: float
    waiting_per_namespace: int
    batch: int = 500


@dataclass(frozen=True)
class Fired:
    """What one scan did: `execs` came to wait; `more`: there were more due jobs than one batch holds; `next_in`:
    seconds until the next slot of any job comes due, None if there is none.
    """

    execs: list[Exec]
    more: bool
    next_in: float | None


@dataclass(frozen=True)
class _Due:
    """The slots of one job that came due: `run` become execs, `unrun` (count, first, last) do not."""

    run: list[Slot]
    unrun: tuple[int, datetime, datetime] | None


def fire_due(rules: Rules) -> Fired:
    """Fire what is due by the database's clock. A schedule that raises stops itself and nothing else."""
    at = now()
    query = Job.select().where(Job.next_fire_at <= at, Job.deleted_at.is_null()).order_by(Job.next_fire_at)
    if Job._meta.database.for_update:
        query = query.for_update(skip_locked=True)
    due = list(query.limit(rules.batch))
    rows: list[dict[str, Any]] = []
    for job in due:
        try:
            rows += _fire(job, at, rules)
        except PeeweeException:
            raise
        except Exception as error:  # a fault of one schedule, whatever it is, must not stop the others
            log.error("schedule of job %s stops: %r", job.id, error)
            job.schedule_error, job.next_fire_at = str(error) or repr(error), None
    for start in range(0, len(rows), INSERTED_AT_ONCE):
        # A slot that has its exec already came due again (the clock was set back): it has fired.
        Exec.insert_many(rows[start : start + INSERTED_AT_ONCE]).on_conflict_ignore().execute()
    for job in due:
        Job.update(next_fire_at=job.next_fire_at, schedule_error=job.schedule_error).where(Job.id == job.id).execute()
    waiting = [row["id"] for row in rows if row["status"] == "W"]
    return Fired(_read(waiting), len(due) == rules.batch, _seconds_to_next())


def _seconds_to_next() -> float | None:
    row = Job.select(Job.next_fire_at).where(Job.next_fire_at.is_null(False)).order_by(Job.next_fire_at).first()
    return None if row is None else max((row.next_fire_at - now()).total_seconds(), 0.0)


def _read(ids: list[str]) -> list[Exec]:
    found: list[Exec] = []
    for start in range(0, len(ids), INSERTED_AT_ONCE):
        found += list(Exec.select().where(Exec.id.in_(ids[start : start + INSERTED_AT_ONCE])))
    return found


def _fire(job: Job, at: datetime, rules: Rules) -> list[dict[str, Any]]:
    """The rows that this job's due slots make; moves `next_fire_at` on."""
    parsed = schedule.parse(job.schedule_mode or "", job.schedule_timezone, job.schedule_anchor)
    due = _split(parsed, job, at, rules.late_after)
    following = parsed.next_after(at)
    job.next_fire_at = following.at if following else None
    rows = []
    if due.unrun:
        rows += _not_run(job, at, "missed", *due.unrun)
    return rows + _admit(job, due.run, at, rules)


def _split(parsed: Schedule, job: Job, at: datetime, late_after: float) -> _Due:
    """Which of the slots from `next_fire_at` to `at` run: those that are merely late, and of the missed ones those
    that `missed_run_policy` and `starting_deadline` let.
    """
    since, on_time = job.next_fire_at - TICK, at - timedelta(seconds=late_after) - TICK
    missed = parsed.between(since, on_time) if on_time > since else None
    run = parsed.newest_between(max(since, on_time), at, limit=int(late_after) + 1)
    if missed is None or missed.first is None or missed.last is None:
        return _Due(run, None)
    wanted = {"skip": 0, "run_once": 1, "run_all": MOST_MISSED_RUN}[job.missed_run_policy]
    worth = at - timedelta(seconds=job.starting_deadline) - TICK if job.starting_deadline is not None else since
    saved = parsed.newest_between(max(since, worth), on_time, limit=wanted) if wanted and worth < on_time else []
    dropped = missed.count - len(saved)
    if not dropped:
        return _Due(saved + run, None)
    until = saved[0].at - TICK if saved else on_time
    last = parsed.between(since, until).last
    return _Due(saved + run, (dropped, missed.first.at, last.at if last else missed.first.at))


def _admit(job: Job, slots: list[Slot], at: datetime, rules: Rules) -> list[dict[str, Any]]:
    """Execs for these slots, as far as `concurrency_policy` and the namespace's room let."""
    if not slots:
        return []
    room = rules.waiting_per_namespace - _waiting(job.namespace, rules.waiting_per_namespace)
    if job.concurrency_policy == "allow":
        run, overlap = slots[:room], []
    else:
        live = Exec.select(Exec.seq).where(Exec.job_id == job.id, Exec.status.in_(LIVE)).exists()
        if job.concurrency_policy == "replace" and live:
            execs.request_stop((Exec.job_id == job.id), job.created_by, "replaced")
        run = slots[-1:] if job.concurrency_policy == "replace" or not live else []
        run = run[: max(room, 0)]
        overlap = [slot for slot in slots if slot not in run]
    rows = [_waiting_row(job, slot, at) for slot in run]
    if overlap:
        rows = _not_run(job, at, "overlap", len(overlap), overlap[0].at, overlap[-1].at) + rows
    full = [slot for slot in slots if slot not in run and slot not in overlap]
    if full:
        rows = _not_run(job, at, "missed", len(full), full[0].at, full[-1].at) + rows
    return rows


def _waiting(namespace: str, limit: int) -> int:
    query = Exec.select(Exec.seq).where(Exec.namespace == namespace, Exec.status == "W", Exec.owner.is_null())
    return query.limit(limit).count()


def _waiting_row(job: Job, slot: Slot, at: datetime) -> dict[str, Any]:
    deadline = slot.at + timedelta(seconds=job.starting_deadline) if job.starting_deadline is not None else None
    return {
        **_common(job, at),
        "status": "W",
        "scheduled_for": slot.at,
        "start_before": deadline,
        "replaces": job.concurrency_policy == "replace",
    }


def _not_run(job: Job, at: datetime, reason: str, count: int, first: datetime, last: datetime) -> list[dict[str, Any]]:
    """The record of slots that did not run; none if the newest record of the job's slots says the same and is
    extended instead, so that a long overlap is one record.
    """
    newest = Exec.select().where(Exec.job_id == job.id, Exec.trigger_mode == "S").order_by(Exec.seq.desc()).first()
    if newest is not None and (newest.status, newest.reason) == ("N", reason) and newest.deleted_at is None:
        Exec.update(missed_count=Exec.missed_count + count, missed_to=last, ended_at=at).where(
            Exec.seq == newest.seq
        ).execute()
        return []
    row = {**_common(job, at), "status": "N", "reason": reason, "scheduled_for": first, "ended_at": at}
    return [{**row, "missed_count": count, "missed_from": first, "missed_to": last}]


def _common(job: Job, at: datetime) -> dict[str, Any]:
    empty = {"reason": None, "ended_at": None, "missed_count": None, "missed_from": None, "missed_to": None}
    more = {"start_before": None, "replaces": False}
    return {**execs.fresh(job.id, "S", job.created_by, at), **execs.snapshot(job), **empty, **more}
