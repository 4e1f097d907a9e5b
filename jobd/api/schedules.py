"""/v1/jobs/{job_id}/schedule and /v1/schedule/preview"""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

from jobd import schedule
from jobd.api import render
from jobd.api.base import Handler
from jobd.api.render import Shape
from jobd.api.schemas import Preview, SlotQuery, read_body
from jobd.errors import ScheduleError
from jobd.schedule import Schedule
from jobd.store import jobs

TICK = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
NO_SCHEDULE: Shape = {"slots": [], "remaining": 0, "words": {"en": "no schedule", "zh": "没有调度"}}


class JobSchedule(Handler):
    queries = {"GET": SlotQuery}

    async def get(self, job_id: str) -> None:
        row = await self.services.database.read(jobs.get, self.caller, self.number(job_id))
        if row.schedule_mode is None:
            self.reply(NO_SCHEDULE)
            return
        at = datetime.now(UTC)
        # A form without a start, switched off, begins when it is switched on: shown as if that were now.
        anchor = row.schedule_anchor if row.is_schedule_active else at
        try:
            parsed = schedule.parse(row.schedule_mode, row.schedule_timezone, anchor)
        except ScheduleError as error:  # stored when it could still be read
            self.reply(_unreadable(error.message))
            return
        self.reply(await asyncio.to_thread(_shown, parsed, at, self.wanted.count))


class SchedulePreview(Handler):
    """A form without a start is shown as if it were set at `after`: its slot 0 is that instant."""

    async def post(self) -> None:
        said = read_body(Preview, self.body())
        after = said.after or datetime.now(UTC)
        parsed = schedule.parse(said.schedule_mode, said.schedule_timezone, after)
        since = after - TICK if parsed.needs_anchor else after
        self.reply(await asyncio.to_thread(_shown, parsed, since, said.count or SlotQuery().count))


def _unreadable(why: str) -> Shape:
    words = {"en": f"This schedule cannot be read any more: {why}", "zh": f"该调度已无法读取：{why}"}
    return {"slots": [], "remaining": 0, "words": words}


def _in_whole_minutes(local: datetime) -> datetime:
    """The same instant at the nearest offset that can be written (RFC 3339, 5.8): before about 1900 the sun set clocks,
    to the second.
    """
    offset = local.utcoffset() or timedelta(0)
    return local if offset % MINUTE == timedelta(0) else local.astimezone(timezone(round(offset / MINUTE) * MINUTE))


def _shown(parsed: Schedule, after: datetime, count: int) -> Shape:
    slots: list[Shape] = []
    slot = parsed.next_after(after)
    while slot is not None and len(slots) < count:
        local = _in_whole_minutes(parsed.local(slot.at)).isoformat(timespec="microseconds")
        slots.append({"utc": render.instant(slot.at), "local": local, "notes": parsed.notes(slot)})
        slot = parsed.next_after(slot.at)
    return {"slots": slots, "remaining": parsed.remaining(after), "words": parsed.describe()}
