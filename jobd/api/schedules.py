"""/v1/jobs/{job_id}/schedule and /v1/schedule/preview"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice

from jobd import schedule
from jobd.api.schemas import serialize
from jobd.api.schemas.requests import Preview, SlotQuery
from jobd.api.schemas.serialize import Shape
from jobd.errors import InvalidArgs, ScheduleError
from jobd.schedule import Schedule, Slot
from jobd.store import jobs
from jobd.web.handler import Handler

MINUTE = timedelta(minutes=1)
MAX_CRON_SPAN = timedelta(days=500_000)
"""How far ahead slots of a cron expression are searched, day by day; so many days take some 70 ms."""
MAX_SMALL = 50
"""Slots that may be encoded on the event loop."""
NO_SCHEDULE: Shape = {"slots": [], "remaining": 0, "words": {"en": "no schedule", "zh": "没有调度"}}


class JobSchedule(Handler):
    queries = {"GET": SlotQuery}

    async def get(self, job_id: str) -> None:
        row = await self.services.database.read(jobs.get, self.caller, self.number(job_id))
        if row.schedule_mode is None:
            self.reply(NO_SCHEDULE)
            return
        at = datetime.now(UTC)
        # An inactive schedule without a start begins when it is activated: shown as if that were now.
        anchor = row.schedule_anchor if row.is_schedule_active else at
        mode, zone = row.schedule_mode, row.schedule_timezone
        shown = await self.services.schedules.call(self.share_key, _of_job, mode, zone, anchor, at, self.query.count)
        await self.reply_with(lambda: shown, is_small=len(shown["slots"]) <= MAX_SMALL)


class SchedulePreview(Handler):
    """A schedule without a start is shown as if it were activated at `after`, which is then its first slot."""

    async def post(self) -> None:
        body = await self.read_body(Preview)
        shown = await self.services.schedules.call(self.share_key, _preview, body)
        await self.reply_with(lambda: shown, is_small=len(shown["slots"]) <= MAX_SMALL)


def _of_job(mode: str, zone: str | None, anchor: datetime | None, at: datetime, count: int) -> Shape:
    try:
        parsed = schedule.parse(mode, zone, anchor)
    except ScheduleError as error:  # accepted by an earlier version, or its time zone no longer exists
        return _unreadable(error.message)
    return _shown(parsed, parsed.next_after(at), at, parsed.remaining(at), count)


def _preview(body: Preview) -> Shape:
    after = body.after or datetime.now(UTC)
    count = body.count or SlotQuery().count
    try:
        parsed = schedule.parse(body.schedule_mode, body.schedule_timezone, after)
        remaining = parsed.remaining(after)
        if not parsed.needs_anchor:
            return _shown(parsed, parsed.next_after(after), after, remaining, count)
        first = parsed.slot(0)
        return _shown(parsed, first, after, remaining + 1 if first and remaining is not None else remaining, count)
    except OverflowError:
        fault = "is too close to the ends of the years 1 to 9999 for this schedule and its time zone"
        raise InvalidArgs("invalid request", {"after": [fault]}) from None


def _shown(parsed: Schedule, first: Slot | None, after: datetime, remaining: int | None, count: int) -> Shape:
    """The schedule's next `count` slots from `first`. Raises InvalidArgs if the last of them is too far away."""
    slots: list[Shape] = []
    for slot in islice(_slots(parsed, first), count):
        if slot.index is None and slots and slot.at - after > MAX_CRON_SPAN:
            fault = f"must be at most {len(slots)}, the slots of this schedule in {MAX_CRON_SPAN.days} days"
            raise InvalidArgs("invalid request", {"count": [fault]})
        local = _in_whole_minutes(parsed.local(slot.at)).isoformat(timespec="microseconds")
        slots.append({"utc": serialize.instant(slot.at), "local": local, "notes": parsed.notes(slot)})
    return {"slots": slots, "remaining": remaining, "words": parsed.describe()}


def _slots(parsed: Schedule, slot: Slot | None) -> Iterator[Slot]:
    while slot is not None:
        yield slot
        slot = parsed.next_after(slot.at)


def _unreadable(why: str) -> Shape:
    words = {"en": f"This schedule cannot be read any more: {why}", "zh": f"该调度已无法读取：{why}"}
    return {"slots": [], "remaining": 0, "words": words}


def _in_whole_minutes(local: datetime) -> datetime:
    """The same instant at the nearest offset in whole minutes, as RFC 3339, 5.8 requires: before about 1900, local
    times had offsets with seconds.
    """
    offset = local.utcoffset() or timedelta(0)
    return local if offset % MINUTE == timedelta(0) else local.astimezone(timezone(round(offset / MINUTE) * MINUTE))
