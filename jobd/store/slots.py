"""Due slots become waiting execs, in the one transaction that moves each job's `next_fire_at` on.

A slot is (job, scheduled_for). Whatever crashes and however many daemons run, it fires at most once: the job's row is
locked while it is decided, and `execs_slot` keeps a second exec of a slot out of the table.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from peewee import PeeweeException, fn

from jobd import schedule
from jobd.metrics import Metrics
from jobd.schedule import Schedule, Slot
from jobd.store import execs, outbox
from jobd.store.clock import now
from jobd.store.database import count
from jobd.store.execs import LIVE
from jobd.store.tables import Exec, Job

log = logging.getLogger(__name__)

TICK = timedelta(microseconds=1)
MOST_MISSED_RUN = 1000
"""Missed slots that `run_all` runs at the most; what is older is recorded as not run."""
INSERTED_AT_ONCE = 500
"""Rows in one statement."""

_NEEDED = (
    Job.id,
    Job.namespace,
    Job.region_name,
    Job.created_by,
    Job.schedule_mode,
    Job.schedule_timezone,
    Job.schedule_anchor,
    Job.missed_run_policy,
    Job.starting_deadline,
    Job.concurrency_policy,
    Job.next_fire_at,
)
"""Columns that decide what a due job does; what its execs copy stays where it is."""
_COPIED = (*execs.SNAPSHOT, "created_by")
_FIXED = {"attempt": "1", "log_bytes": "0", "term": "0", "holds_slot": "false", "pulled": "false"}
"""Columns of a waiting exec that it does not copy from its job, and the SQL of what they are."""
_INSERT = (
    "WITH slot (turn, id, job_id, scheduled_for, start_before) AS (VALUES {values}) "  # noqa: S608
    f"INSERT INTO execs ({', '.join(_COPIED)}, {', '.join(_FIXED)}, "
    "id, job_id, created_at, status, trigger_mode, replaces, scheduled_for, start_before) "
    f"SELECT {', '.join(f'jobs.{name}' for name in _COPIED)}, {', '.join(_FIXED.values())}, "
    "slot.id, jobs.id, {at}, 'W', 'S', jobs.concurrency_policy = 'replace', "
    "slot.scheduled_for, CAST(slot.start_before AS bigint) "
    "FROM slot JOIN jobs ON jobs.id = slot.job_id WHERE true ORDER BY slot.turn ON CONFLICT DO NOTHING RETURNING id"
)


@dataclass(frozen=True)
class Rules:
    """`late_after`: seconds after its time up to which a slot is merely late; `batch`: jobs in one transaction."""

    late_after: float
    waiting_per_namespace: int
    batch: int = 500


@dataclass(frozen=True)
class Fired:
    """What one scan did: `execs` came to wait, here without what they copied from their jobs; `more`: there were more
    due jobs than one batch holds; `next_in`: seconds until the next slot of any job comes due, None if there is none.
    """

    execs: list[Exec]
    more: bool
    next_in: float | None


@dataclass(frozen=True)
class _Due:
    """The slots of one job that came due: `run` become execs, `unrun` (count, first, last) do not."""

    run: list[Slot]
    unrun: tuple[int, datetime, datetime] | None


class Room:
    """How many more execs may come to wait in each namespace. Counted once, for as long as it is kept, and again before
    any is refused: what others take meanwhile may go over the limit, but nothing is refused that has room.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left: dict[str, int] = {}
        self._taken: Counter[str] = Counter()

    def count(self, namespaces: set[str]) -> None:
        """Look at these namespaces, for a batch that begins."""
        self._taken.clear()
        new = [name for name in namespaces if name not in self._left]
        waiting = dict(_waiting(new)) if new else {}
        self._left |= {name: self._limit - waiting.get(name, 0) for name in new}

    def take(self, namespace: str, wanted: int) -> int:
        """How many of `wanted` there is room for."""
        if self._left[namespace] < wanted:
            waiting = dict(_waiting([namespace])).get(namespace, 0)
            self._left[namespace] = self._limit - waiting - self._taken[namespace]
        given = min(max(self._left[namespace], 0), wanted)
        self._left[namespace] -= given
        self._taken[namespace] += given
        return given


def fire_due(rules: Rules, room: Room | None = None) -> Fired:
    """Fire what is due by the database's clock. A schedule that raises stops itself and nothing else. `room` is that
    of a batch shortly before, if there was one.
    """
    at, first = now(), first_due()
    if first is None or first > at:
        return Fired([], False, None if first is None else (first - at).total_seconds())
    query = Job.select(*_NEEDED).where(Job.next_fire_at <= at, Job.deleted_at.is_null()).order_by(Job.next_fire_at)
    if Job._meta.database.for_update:
        query = query.for_update(skip_locked=True)
    due = list(query.limit(rules.batch))
    room = room or Room(rules.waiting_per_namespace)
    room.count({job.namespace for job in due})
    waiting: list[Exec] = []
    not_run: list[dict[str, Any]] = []
    for job in due:
        try:
            run, unrun = _fire(job, at, rules, room)
        except PeeweeException:
            raise
        except Exception as error:  # a fault of one schedule, whatever it is, must not stop the others
            log.error("schedule of job %s stops: %r", job.id, error)
            count(lambda metrics: metrics.schedule_errors.inc())
            job.schedule_error, job.next_fire_at = str(error) or repr(error), None
            Job.update(schedule_error=job.schedule_error).where(Job.id == job.id).execute()
        else:
            waiting += run
            not_run += unrun
    for start in range(0, len(not_run), INSERTED_AT_ONCE):
        insert = Exec.insert_many(not_run[start : start + INSERTED_AT_ONCE]).returning(Exec.seq, outbox.AWAITED)
        outbox.tell(row.seq for row in insert.execute() if row.is_awaited)
    made = _insert(waiting)
    count(partial(_count_fired, made))
    _move_on(due)
    if len(due) == rules.batch:
        return Fired(made, True, 0.0)
    first = first_due()
    return Fired(made, False, None if first is None else max((first - now()).total_seconds(), 0.0))


def _count_fired(made: list[Exec], metrics: Metrics) -> None:
    for region, fired in Counter(row.region_name for row in made).items():
        metrics.created(region, "S", fired)
    metrics.fired((row.created_at - row.scheduled_for).total_seconds() for row in made)


def first_due() -> datetime | None:
    """When the next slot of any job comes due; in the past while it is overdue."""
    armed = Job.select(Job.next_fire_at).where(Job.next_fire_at.is_null(False))
    return armed.order_by(Job.next_fire_at).limit(1).scalar()


def _insert(rows: list[Exec]) -> list[Exec]:
    """Insert these, with what they copy from their jobs copied where it is. A slot that has its exec already came due
    again (the clock was set back): it has fired, and is left out of the answer.
    """
    made: set[str] = set()
    for start in range(0, len(rows), INSERTED_AT_ONCE):
        batch = rows[start : start + INSERTED_AT_ONCE]
        values = [(n, row.id, row.job_id, *_micros(row.scheduled_for, row.start_before)) for n, row in enumerate(batch)]
        cursor = _execute(_INSERT.replace("{at}", str(_micros(batch[0].created_at)[0])), values)
        made.update(id for (id,) in cursor.fetchall())
    return [row for row in rows if row.id in made]


def _move_on(jobs: list[Job]) -> None:
    for start in range(0, len(jobs), INSERTED_AT_ONCE):
        _execute(
            "WITH moved (id, at) AS (VALUES {values}) UPDATE jobs SET next_fire_at = CAST(moved.at AS bigint) "
            "FROM moved WHERE jobs.id = moved.id",
            [(job.id, *_micros(job.next_fire_at)) for job in jobs[start : start + INSERTED_AT_ONCE]],
        )


def _execute(statement: str, rows: list[tuple[Any, ...]]) -> Any:
    """Run a statement with the rows of its VALUES list; to write one, peewee takes longer than the database."""
    database = Job._meta.database
    row = f"({', '.join([database.param] * len(rows[0]))})"
    return database.execute_sql(
        statement.replace("{values}", ", ".join([row] * len(rows))), [v for r in rows for v in r]
    )


def _micros(*instants: datetime | None) -> tuple[int | None, ...]:
    return tuple(Job.next_fire_at.db_value(at) for at in instants)


def _fire(job: Job, at: datetime, rules: Rules, room: Room) -> tuple[list[Exec], list[dict[str, Any]]]:
    """What this job's due slots make: execs to wait, and records of what does not run. Moves `next_fire_at` on."""
    parsed = schedule.parse(job.schedule_mode or "", job.schedule_timezone, job.schedule_anchor)
    due = _split(parsed, job, at, rules.late_after)
    following = parsed.next_after(at)
    job.next_fire_at = following.at if following else None
    missed = _not_run(job, at, "missed", *due.unrun) if due.unrun else []
    run, unrun = _admit(job, due.run, at, room) if due.run else ([], [])
    return run, missed + unrun


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


def _admit(job: Job, slots: list[Slot], at: datetime, room: Room) -> tuple[list[Exec], list[dict[str, Any]]]:
    """Execs for these slots, as far as `concurrency_policy` and the namespace's room let, and records of the rest."""
    if job.concurrency_policy == "allow":
        wanted, overlap = slots, []
    else:
        live = Exec.select(Exec.seq).where(Exec.job_id == job.id, Exec.status.in_(LIVE)).exists()
        if job.concurrency_policy == "replace" and live:
            execs.request_stop((Exec.job_id == job.id), job.created_by, "replaced")
        wanted = slots[-1:] if job.concurrency_policy == "replace" or not live else []
        overlap = slots[: len(slots) - len(wanted)]
    run = wanted[: room.take(job.namespace, len(wanted))]
    full = wanted[len(run) :]
    unrun = []
    if full:
        unrun += _not_run(job, at, "missed", len(full), full[0].at, full[-1].at)
    if overlap:
        unrun += _not_run(job, at, "overlap", len(overlap), overlap[0].at, overlap[-1].at)
    return [_waiting_exec(job, slot, at) for slot in run], unrun


def _waiting(namespaces: list[str]) -> Any:
    query = Exec.select(Exec.namespace, fn.COUNT(Exec.seq)).where(Exec.status == "W", Exec.owner.is_null())
    return query.where(Exec.namespace.in_(namespaces)).group_by(Exec.namespace).tuples()


def _waiting_exec(job: Job, slot: Slot, at: datetime) -> Exec:
    deadline = slot.at + timedelta(seconds=job.starting_deadline) if job.starting_deadline is not None else None
    where = {"namespace": job.namespace, "region_name": job.region_name}
    return Exec(**execs.fresh(job.id, "S", job.created_by, at), **where, scheduled_for=slot.at, start_before=deadline)


def _not_run(job: Job, at: datetime, reason: str, slots: int, first: datetime, last: datetime) -> list[dict[str, Any]]:
    """The record of slots that did not run; none if the newest record of the job's slots says the same and is
    extended instead, so that a long overlap is one record.
    """
    count(lambda metrics: metrics.slots.labels(reason).inc(slots))
    newest = Exec.select().where(Exec.job_id == job.id, Exec.trigger_mode == "S").order_by(Exec.seq.desc()).first()
    if newest is not None and (newest.status, newest.reason) == ("N", reason) and newest.deleted_at is None:
        Exec.update(missed_count=Exec.missed_count + slots, missed_to=last, ended_at=at).where(
            Exec.seq == newest.seq
        ).execute()
        return []
    row = {**execs.fresh(job.id, "S", job.created_by, at), **execs.snapshot(Job.get_by_id(job.id))}
    row |= {"status": "N", "reason": reason, "scheduled_for": first, "ended_at": at}
    return [{**row, "missed_count": slots, "missed_from": first, "missed_to": last}]
