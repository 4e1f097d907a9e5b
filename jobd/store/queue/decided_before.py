"""Slots that come a second time because a clock was set back: whatever was decided on them before, each has one record.

A slot that ran does not run again. One that was passed over runs now, and is removed from the record that said it did
not; if it is passed over again, it is not recorded twice.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime

from jobd.schedule import Schedule, Slot
from jobd.schedule.zones import MICROSECOND
from jobd.statuses import ExecStatus, Trigger
from jobd.store import tallies
from jobd.store.db.tables import Exec, Job


def may_come_again(job: Job, slot: datetime) -> bool:
    """Whether this slot of the job, or a later one, may have been decided before."""
    return job.decided_until is not None and slot < job.decided_until


def not_fired(job: Job, slots: list[Slot]) -> list[Slot]:
    """Those of these slots that have not run ahead of their time: one that has overlaps nothing, and
    replaces nothing.
    """
    ran = Exec.select(Exec.scheduled_for).where(
        Exec.job_id == job.id,
        Exec.trigger_mode == Trigger.SCHEDULE,
        Exec.status != ExecStatus.NOT_RUN,
        Exec.scheduled_for.in_([slot.at for slot in slots]),
    )
    fired = {row.scheduled_for for row in ran}
    return [slot for slot in slots if slot.at not in fired]


def unrecorded(job: Job, slots: list[Slot]) -> list[Slot]:
    """Those of these slots that no record names as not run."""
    if not slots:
        return []
    spans = [(row.missed_from, row.missed_to) for row in _records(job, slots[0].at, slots[-1].at)]
    return [slot for slot in slots if not any(first <= slot.at <= last for first, last in spans)]


def take_out(parsed: Schedule, job: Job, running: list[datetime]) -> None:
    """Remove these slots from the records of slots that did not run: they create execs now. They are in order, with
    none left out between them.
    """
    for record in _records(job, running[0], running[-1]):
        inside = [at for at in running if record.missed_from <= at <= record.missed_to]
        if inside:
            _take_out(parsed, record, inside)


def _records(job: Job, first: datetime, last: datetime) -> Iterable[Exec]:
    touches = (Exec.missed_from <= last) & (Exec.missed_to >= first)
    ours = (Exec.job_id == job.id) & (Exec.trigger_mode == Trigger.SCHEDULE) & (Exec.status == ExecStatus.NOT_RUN)
    return list(Exec.select().where(ours, touches))


def _take_out(parsed: Schedule, record: Exec, inside: list[datetime]) -> None:
    """What is before these slots keeps the record; what is behind them gets one of its own."""
    before = parsed.between(record.missed_from - MICROSECOND, inside[0] - MICROSECOND)
    behind = parsed.between(inside[-1], record.missed_to)
    left = (record.missed_count or 0) - len(inside)
    count_behind = min(behind.count, left)
    parts = []
    if left > count_behind and before.last is not None:
        parts.append(_span(record.missed_from, before.last.at, left - count_behind))
    if count_behind and behind.first is not None:
        parts.append(_span(behind.first.at, record.missed_to, count_behind))
    this = Exec.seq == record.seq
    if not parts:
        tallies.drop_execs(this)
        return
    Exec.update(**parts[0]).where(this).execute()
    for part in parts[1:]:
        row = {name: value for name, value in record.__data__.items() if name != "seq"}
        Exec.insert(**{**row, **part, "id": str(uuid.uuid4())}).execute()


def _span(first: datetime, last: datetime, slots: int) -> dict[str, datetime | int]:
    return {"scheduled_for": first, "missed_from": first, "missed_to": last, "missed_count": slots}
