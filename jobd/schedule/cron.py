"""Cron expressions: five fields with Debian's semantics (cronsim), and `@hourly` … `@yearly`."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cached_property
from itertools import takewhile

from cronsim import CronSim, CronSimError

from jobd.errors import ScheduleError
from jobd.schedule.cron_days import CronDays
from jobd.schedule.iso8601 import Part
from jobd.schedule.zones import END_OF_TIME, MICROSECOND, instant, local

EXAMPLE = "30 2 * * MON-FRI"
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS = {
    "minute": "numbers from 0 to 59",
    "hour": "numbers from 0 to 23",
    "day-of-month": "numbers from 1 to 31, L or LW",
    "month": "numbers from 1 to 12 or names from JAN to DEC",
    "day-of-week": "numbers from 0 to 7 or names from SUN to SAT",
}
DAY = timedelta(days=1)
DAYS_AROUND = 2
"""A changed clock does not move what a day names by more days than this."""
EARLIEST = datetime(1, 1, 3, tzinfo=UTC)
"""An instant at which the local time of every zone can be expressed."""


def read_cron(text: str) -> str:
    """The five fields of `text`. Raises ScheduleError, which names the field that cron cannot read."""
    if text.startswith("@"):
        if text not in NAMED:
            raise Part("cron name", text, 0).fault(f"is none of {', '.join(NAMED)}", "@daily")
        return NAMED[text]
    fields = [Part("field", match[0], match.start()) for match in re.finditer(r"\S+", text)]
    if len(fields) != 5:
        seconds = "; there is no field for seconds" if len(fields) == 6 else ""
        raise Part("cron expression", text, 0).fault(f"has {len(fields)} fields, not 5{seconds}", EXAMPLE)
    expression = " ".join(field.text for field in fields)
    try:
        first = CronDays(CronSim(expression, datetime(2000, 1, 1))).first_from(date(2000, 1, 1))
    except CronSimError as error:
        raise _field_at_fault(fields, str(error)) from None
    if first is None:
        raise Part("cron expression", text, 0).fault("no day ever matches, so it would never run", EXAMPLE)
    return expression


def _field_at_fault(fields: list[Part], message: str) -> ScheduleError:
    name = message.removeprefix("Bad ")
    part = fields[list(FIELDS).index(name)]
    if name == "day-of-month" and all(item.isdigit() and 0 < int(item) < 32 for item in part.text.split(",")):
        why = "none of the months has that day, so it would never run"
    else:
        why = f"is not made of {FIELDS[name]}"
    return Part(name, part.text, part.position).fault(why, EXAMPLE)


class CronTable:
    """The instants of a cron expression in a zone, all in UTC.

    Days on which the clocks are not changed are computed from the fields; cronsim steps through the others.
    """

    def __init__(self, expression: str, zone: tzinfo) -> None:
        self.expression = expression
        self._zone = zone
        self.fields = CronSim(expression, datetime(2000, 1, 1))
        self._dates = CronDays(self.fields)

    def next_after(self, at: datetime) -> datetime | None:
        """The first instant strictly after `at`; None if there is none until the end of year 9999."""
        return next(self._following(at), None)

    def count(self, after: datetime, until: datetime) -> int:
        """How many instants are in (after, until]. The time it takes grows with the days, not with the instants."""
        total, after = 0, max(after, EARLIEST)
        a_day = len(self.fields.hours) * len(self.fields.minutes)
        for begin, end, day in self._days(after, until):
            if after < begin and end <= until and self._is_plain(begin, end):
                total += a_day if self._has_day(day) else 0
            else:
                total += len(self._within(begin, end, day, after, until))
        return total

    def newest(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        """The newest instants in (after, until], at most `limit`, the oldest of them first."""
        instants: list[datetime] = []
        after = max(after, EARLIEST)
        for begin, end, day in self._days(after, until, backwards=True):
            if len(instants) >= limit:
                break
            instants = self._within(begin, end, day, after, until) + instants
        return instants[-limit:] if limit > 0 else []

    def has_local(self, wall: datetime) -> bool:
        """Whether the fields name the wall clock `wall`."""
        fields = self.fields
        return self._has_day(wall.date()) and wall.hour in fields.hours and wall.minute in fields.minutes

    def _following(self, at: datetime) -> Iterator[datetime]:
        at = max(at, EARLIEST)
        try:
            begin = self._shortly_before(at)
            if begin is None:
                return
            for moment in CronSim(self.expression, begin.astimezone(self._zone)):
                # a fixed time in an hour that comes twice means the first of the two, which may be over
                if (following := moment.astimezone(UTC)) > at:
                    yield following
        except OverflowError:
            return

    def _shortly_before(self, at: datetime) -> datetime | None:
        """An instant from which cronsim steps to the first one after `at` without going through the years between; None
        if nothing is to come.
        """
        wall = local(at, self._zone)
        today = wall.toordinal()
        following = self._dates.first_from_ordinal(today + 1)
        if following is not None and following - today <= DAYS_AROUND:
            return at
        if not (self._is_over(wall) and self._is_unchanged(at)):
            # what a skipped day names runs on the next day
            recent = self._dates.first_from_ordinal(today - DAYS_AROUND)
            if recent is not None and recent <= today:
                return at
        return None if following is None else self._midnight(following - DAYS_AROUND)

    def _is_over(self, wall: datetime) -> bool:
        """Whether nothing more comes on the day of `wall`, by its clocks."""
        return (wall.hour, wall.minute) >= (max(self.fields.hours), max(self.fields.minutes))

    def _is_unchanged(self, at: datetime) -> bool:
        """Whether the clocks are not changed on the days around `at`."""
        try:
            offsets = {(at + n * DAY).astimezone(self._zone).utcoffset() for n in range(-DAYS_AROUND, DAYS_AROUND + 1)}
        except OverflowError:
            return False
        return len(offsets) == 1

    def _days(
        self, after: datetime, until: datetime, backwards: bool = False
    ) -> Iterator[tuple[datetime, datetime, date]]:
        """The local days that overlap (after, until]: first instant, first instant of the next day, date."""
        if until <= after:
            return
        first = after.toordinal() - 1
        last = min(until.toordinal() + 2, date.max.toordinal())
        edges = {}
        for ordinal in range(last, first - 1, -1) if backwards else range(first, last + 1):
            for edge in (ordinal, ordinal + 1):
                if edge not in edges:
                    edges[edge] = self._midnight(edge)
            begin, end = edges[ordinal], edges[ordinal + 1]
            edges = {ordinal: begin, ordinal + 1: end}
            if begin <= until and end > after:
                yield begin, end, date.fromordinal(ordinal)

    def _midnight(self, ordinal: int) -> datetime:
        try:
            return instant(datetime.combine(date.fromordinal(ordinal), time()), self._zone)
        except (OverflowError, ValueError):
            return END_OF_TIME

    def _within(self, begin: datetime, end: datetime, day: date, after: datetime, until: datetime) -> list[datetime]:
        """The instants of the day [begin, end) that are in (after, until]."""
        if self._is_plain(begin, end):
            instants = [begin + time_of_day for time_of_day in self._times_of_day] if self._has_day(day) else []
        else:
            instants = list(takewhile(lambda at: at < end, self._following(begin - MICROSECOND)))
        return [at for at in instants if after < at <= until]

    def _is_plain(self, begin: datetime, end: datetime) -> bool:
        """Whether the clocks are not changed on the day [begin, end), and not as it begins."""
        offsets = {at.astimezone(self._zone).utcoffset() for at in (begin - MICROSECOND, begin)}
        return end - begin == DAY and len(offsets) == 1

    @cached_property
    def _times_of_day(self) -> list[timedelta]:
        hours, minutes = sorted(self.fields.hours), sorted(self.fields.minutes)
        return [timedelta(hours=hour, minutes=minute) for hour in hours for minute in minutes]

    def _has_day(self, day: date) -> bool:
        return day.month in self.fields.months and self.fields.match_day(day)
