"""Slots that are worked out before they are due, so that one statement creates their execs at the right instant.

This is for PostgreSQL alone: on SQLite no statement costs a round trip. It fires only what `due_slots` would fire: one
slot of a job, on time, of a job that has not been changed since, and on which no wrong clock has decided before.
Everything else stays due, for `due_slots` to decide.
"""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobd import schedule
from jobd.store.db import clock, sql
from jobd.store.db.clock import now
from jobd.store.db.database import count
from jobd.store.db.tables import Exec, Job
from jobd.store.queue import due_slots
from jobd.store.queue.due_slots import Fired
from jobd.store.queue.quota import NamespaceQuota

MAX_ARMED = 2000
"""The maximum number of slots read at once."""
MAX_BATCH = 200
"""The maximum number of slots fired by one statement."""
MARGIN = timedelta(milliseconds=1)
"""By how much this machine's idea of the database's clock may be behind."""
_FIRE = (
    "WITH slot (turn, id, job_id, at, start_before, following, seen) AS (VALUES {values}), "  # noqa: S608
    "due AS (SELECT slot.turn, slot.id AS exec_id, slot.at, slot.start_before, slot.following, jobs.id AS job_id, "
    f"{', '.join(f'jobs.{name}' for name in due_slots.COPIED)} FROM slot JOIN jobs ON jobs.id = slot.job_id "
    "WHERE jobs.next_fire_at = slot.at AND jobs.updated_at = slot.seen AND jobs.deleted_at IS NULL "
    "AND (jobs.decided_until IS NULL OR jobs.decided_until <= slot.at) "
    f"AND slot.at <= {clock.STATEMENT} AND slot.at > {clock.STATEMENT} - {{late}} "
    f"AND (slot.following IS NULL OR CAST(slot.following AS bigint) > {clock.STATEMENT}) "
    "FOR UPDATE OF jobs SKIP LOCKED), "
    "moved AS (UPDATE jobs SET next_fire_at = CAST(due.following AS bigint) FROM due WHERE jobs.id = due.job_id), "
    f"made AS (INSERT INTO execs ({due_slots.COLUMNS}) "
    f"SELECT {', '.join(due_slots.COPIED)}, {', '.join(due_slots.FIXED.values())}, exec_id, job_id, "
    f"{clock.STATEMENT}, 'W', 'S', false, at, CAST(start_before AS bigint) "
    "FROM due ORDER BY turn ON CONFLICT DO NOTHING RETURNING id) "
    f"SELECT {clock.STATEMENT}, (SELECT next_fire_at FROM jobs WHERE next_fire_at IS NOT NULL "
    "AND id NOT IN (SELECT job_id FROM due) ORDER BY next_fire_at LIMIT 1), made.id "
    "FROM (SELECT 1) AS always LEFT JOIN made ON true"
)
"""One row for each exec that was created, with the database's time and the earliest `next_fire_at` of all other jobs; a
single row without an exec if none was created.
"""
LATEST = timedelta(seconds=1)
"""A slot that is later than this is not fired here: it may have to be decided whether it was missed."""


@dataclass(frozen=True)
class ArmedSlot:
    """A slot to come: the exec that it will be, the slot that follows it, and when the job was last changed."""

    row: Exec
    following: datetime | None
    seen: datetime

    @property
    def at(self) -> datetime:
        at: datetime = self.row.scheduled_for
        return at


class Armed:
    """The armed slots in the order of their instants, and the database's clock as last read."""

    def __init__(self) -> None:
        self.until: datetime | None = None
        """The instant up to which slots are armed."""
        self._slots: deque[ArmedSlot] = deque()
        self._clock = (datetime.max, 0.0)

    def add(self, ahead: "Ahead") -> None:
        if self.until is not None and ahead.until < self.until:
            self._slots.clear()  # the clock was set back: those slots are far away now
        self._slots += ahead.slots
        self.until, self._clock = ahead.until, ahead.clock

    def take_due(self, quota: NamespaceQuota) -> list[ArmedSlot]:
        """Take the slots that are due, or are about to be, as far as the quota lets."""
        seen, since = self._clock
        at = seen + timedelta(seconds=time.monotonic() - since) + MARGIN if self._slots else seen
        due: list[ArmedSlot] = []
        while self._slots and self._slots[0].at <= at and len(due) < MAX_BATCH:
            slot = self._slots.popleft()
            if quota.take_known(slot.row.namespace):
                due.append(slot)
        return due

    def put_back(self, slots_early: Iterable[ArmedSlot]) -> None:
        self._slots.extendleft(reversed(list(slots_early)))

    def forget(self, until: datetime) -> None:
        """Drop the slots up to this instant: they have been decided, or are too late to be fired here."""
        while self._slots and self._slots[0].at <= until:
            self._slots.popleft()

    @property
    def first(self) -> datetime | None:
        return self._slots[0].at if self._slots else None


@dataclass(frozen=True)
class Ahead:
    """Slots up to `until`. `clock`: the database's time, and this machine's `time.monotonic()` just
    before it was read.
    """

    slots: list[ArmedSlot]
    until: datetime
    clock: tuple[datetime, float]


def look_ahead(after: datetime | None, seconds: float) -> Ahead:
    """The slots of the next `seconds` seconds, without those up to `after`."""
    since = time.monotonic()
    at = now()
    until = at + timedelta(seconds=seconds)
    where = (
        "next_fire_at > ? AND next_fire_at <= ? AND deleted_at IS NULL AND concurrency_policy = 'allow' "
        "AND (decided_until IS NULL OR decided_until <= next_fire_at)"
    )
    bounds = due_slots.micros(max(after, at) if after else at, until)
    order = f"ORDER BY next_fire_at LIMIT {MAX_ARMED}"
    jobs = sql.find_all(Job, f"{where} {order}", *bounds, only=(*due_slots.NEEDED, "updated_at"))
    if len(jobs) == MAX_ARMED:
        until = jobs[-1].next_fire_at
    return Ahead([armed for job in jobs if (armed := _arm(job))], until, (at, since))


def _arm(job: Job) -> ArmedSlot | None:
    """The job's next slot; None if its schedule raises, which is reported when the slot is due."""
    try:
        parsed = schedule.parse(job.schedule_mode or "", job.schedule_timezone, job.schedule_anchor)
        following = parsed.next_after(job.next_fire_at)
    except Exception:
        return None
    row = due_slots.waiting_exec(job, job.next_fire_at, job.next_fire_at)
    return ArmedSlot(row, following.at if following else None, job.updated_at)


def fire_armed(
    due: list[ArmedSlot], quota: NamespaceQuota, first_armed: datetime | None, latest: timedelta = LATEST
) -> Fired:
    """Fire those of these slots that are due by the database's clock, in one statement. A slot that is more than
    `latest` late is left alone. In the result, `more` says whether a slot that is not armed is due as well;
    `first_armed` is the first of those that are still armed.
    """
    began = time.monotonic()
    values = [
        (n, s.row.id, s.row.job_id, *due_slots.micros(s.at, s.row.start_before, s.following, s.seen))
        for n, s in enumerate(due)
    ]
    text, parameters = due_slots.with_values(_FIRE, values)
    late = latest // timedelta(microseconds=1)
    answers = Job._meta.database.execute_sql(text.replace("{late}", str(late)), parameters).fetchall()
    at, first = (Job.next_fire_at.python_value(value) for value in answers[0][:2])
    ids = {id for _, _, id in answers}
    fired = [slot.row for slot in due if slot.row.id in ids]
    for row in fired:
        row.created_at = at
    count(lambda metrics: due_slots.count_fired(fired, metrics))
    is_left = first is not None and first <= at and (first_armed is None or first < first_armed)
    coming = [first, *(slot.following for slot in due)]
    soonest = min((instant for instant in coming if instant is not None), default=None)
    passed = timedelta(seconds=time.monotonic() - began)
    return Fired(fired, is_left, due_slots.seconds_until(soonest, at + passed), quota, at)
