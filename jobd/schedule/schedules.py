"""Schedules: text and instants in, slots out. No clock, no database.

A text is an ISO 8601 repeating interval or a cron expression; docs/schedules.md says what each form means.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property, lru_cache
from itertools import islice

from jobd.errors import ScheduleError
from jobd.schedule import words as words
from jobd.schedule.cron import CronTable, read_cron
from jobd.schedule.hints import hints
from jobd.schedule.iso8601 import (
    MAX_LENGTH,
    Moment,
    Part,
    Period,
    Repeating,
    check_characters,
    read_repeating,
    with_example,
)
from jobd.schedule.zones import END_OF_TIME, find_zone, instant, last_instant, local, skipped_days, step

MAX_HINTS = 40
"""The maximum number of texts that are tried as what may have been meant by one that cannot be read."""
SLACK = timedelta(days=7)
"""Month ends and changed clocks together never move a slot from its even place by more than this."""


@dataclass(frozen=True)
class Slot:
    """One run to come: its instant (UTC) and, for an interval, the number of the slot from 0 (None for cron).

    Slots at the same instant are one run, which has the lowest of their numbers.
    """

    index: int | None
    at: datetime


@dataclass(frozen=True)
class SlotRange:
    """How many runs there are in a stretch of time, and the first and the last of them (None if there are none)."""

    count: int
    first: Slot | None
    last: Slot | None


@dataclass(frozen=True)
class Schedule(ABC):
    """When a job runs. `needs_anchor`: the form has no start, and counts from the instant at which it was set.

    All instants are aware; those returned are in UTC. Nothing runs after year 9999. Methods that return slots raise
    ValueError if the form needs an anchor and `parse` was given none.
    """

    text: str
    zone: tzinfo
    needs_anchor: bool

    @abstractmethod
    def slot(self, k: int) -> Slot | None:
        """Slot number `k`, from 0; None after the last one, and for cron, whose slots have no numbers."""

    @abstractmethod
    def next_after(self, t: datetime) -> Slot | None:
        """The first slot strictly after `t`."""

    @abstractmethod
    def between(self, after: datetime, until: datetime) -> SlotRange:
        """The runs in (after, until], counted without stepping through them."""

    @abstractmethod
    def newest_between(self, after: datetime, until: datetime, limit: int) -> list[Slot]:
        """The newest slots in (after, until], at most `limit`, the oldest of them first."""

    @abstractmethod
    def remaining(self, after: datetime) -> int | None:
        """How many runs are left after `after`; None if there is no end."""

    @abstractmethod
    def notes(self, slot: Slot) -> list[str]:
        """What is unusual about a slot's time, in English: a month without that day, clocks that were changed."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """What the schedule will do, for people: in English (`en`) and Chinese (`zh`)."""

    def local(self, at: datetime) -> datetime:
        """`at` in the schedule's zone."""
        return at.astimezone(self.zone)


@dataclass(frozen=True)
class Interval(Schedule):
    """`times` slots (None: endless). Slot k is at `start` + (k - `origin`) · `period`; calendar steps are counted from
    `wall`.

    `start` is the instant of slot number `origin`: of the first slot, or of the last if the text names an end and no
    start. `wall` is the same on the clocks of the zone, naive. Both are None as long as no anchor is known.
    """

    times: int | None
    period: Period
    wall: datetime | None
    start: datetime | None
    origin: int = 0

    def slot(self, k: int) -> Slot | None:
        at = self._at(k) if k >= 0 and (self.times is None or k < self.times) else None
        return Slot(k, at) if at is not None else None

    def next_after(self, t: datetime) -> Slot | None:
        return self.slot(self._first_after(t))

    def between(self, after: datetime, until: datetime) -> SlotRange:
        low, high = self._first_after(after), self._first_after(until)
        if high <= low:
            return SlotRange(0, None, None)
        count = high - low - self._doubles(after, until)
        return SlotRange(count, self.slot(low), self.newest_between(after, until, 1)[0])

    def newest_between(self, after: datetime, until: datetime, limit: int) -> list[Slot]:
        slots: list[Slot] = []
        for k in range(self._first_after(until) - 1, self._first_after(after) - 1, -1):
            slot = Slot(k, self._known(k))
            if slots and slots[-1].at == slot.at:
                slots[-1] = slot
            elif len(slots) >= limit:
                break
            else:
                slots.append(slot)
        return slots[::-1]

    def remaining(self, after: datetime) -> int | None:
        return None if self.times is None else self.between(after, END_OF_TIME).count

    def notes(self, slot: Slot) -> list[str]:
        if slot.index is None or (slot.index != self.origin and not self.period.is_calendar):
            return []
        start, _ = self._anchored
        wall, stepped = self._wall(slot.index), step(start, (slot.index - self.origin) * self.period.months, 0)
        notes = words.clamp_notes(start, stepped) + words.clock_notes(
            wall, self._calendar_instant(slot.index), self.zone
        )
        same = self._first_after(slot.at) - slot.index
        return [*notes, words.merged_note(same)] if same > 1 else notes

    def describe(self) -> dict[str, str]:
        if self.origin and self.times is not None and self.wall is not None:
            return words.describe_counted_back(self.times, self.period, self.wall, self.zone)
        # the instant at which a schedule was set is shown to the second
        wall = self.wall.replace(microsecond=0) if self.wall and self.needs_anchor else self.wall
        return words.describe_interval(self.times, self.period, wall, self.zone)

    def is_in_calendar(self, k: int) -> bool:
        """Whether slot `k` is not before year 1, in UTC and in the zone."""
        at = self._at(k)
        try:
            return at is not None and local(at, self.zone) >= datetime.min
        except OverflowError:
            return False

    @property
    def _anchored(self) -> tuple[datetime, datetime]:
        if self.wall is None or self.start is None:
            raise ValueError("a schedule without a start has slots only from the instant at which it was set")
        return self.wall, self.start

    @cached_property
    def _size(self) -> int:
        """How many slots there are until the end of year 9999; slots at the same instant count separately."""
        _, start = self._anchored
        if self.period.is_calendar:
            low, high = self._bracket(last_instant(self.zone) - start)
            size = bisect_left(range(high), True, low, high, key=lambda k: self._at(k) is None)
        else:
            size = (last_instant(self.zone) - start) // self.period.elapsed + self.origin + 1
        return size if self.times is None else min(size, self.times)

    def _bracket(self, since_start: timedelta) -> tuple[int, int]:
        """Numbers between which the first slot later than that is: a month has 28 to 31 days."""
        periods = [timedelta(days=n * self.period.months + self.period.days) + self.period.elapsed for n in (28, 31)]
        low = min((since_start - SLACK) // period for period in periods) + self.origin
        high = max((since_start + SLACK) // period for period in periods) + self.origin + 1
        return max(low, 0), max(high, 0)

    def _first_after(self, t: datetime) -> int:
        """The number of the first slot strictly after `t`; `_size` if there is none."""
        _, start = self._anchored
        if self.period.is_calendar:
            low, high = (min(k, self._size) for k in self._bracket(t - start))
            return bisect_right(range(self._size), t, low, high, key=self._known)
        return min(max((t - start) // self.period.elapsed + self.origin + 1, 0), self._size)

    def _doubles(self, after: datetime, until: datetime) -> int:
        """How many slots in (after, until] are at the same instant as the slot before."""
        if not self.period.is_calendar or self.period.elapsed:
            return 0
        numbers, doubles = range(self._size), 0
        for jump in skipped_days(self.zone):
            if after < jump <= until:
                same = bisect_right(numbers, jump, key=self._known) - bisect_left(numbers, jump, key=self._known)
                doubles += max(same - 1, 0)
        return doubles

    def _known(self, k: int) -> datetime:
        at = self._at(k)
        return END_OF_TIME if at is None else at

    def _at(self, k: int) -> datetime | None:
        """The instant of slot `k`, even if there are fewer slots; None after year 9999."""
        try:
            at = self._calendar_instant(k) + (k - self.origin) * self.period.elapsed
        except OverflowError:
            return None
        return at if at <= last_instant(self.zone) else None

    def _calendar_instant(self, k: int) -> datetime:
        _, start = self._anchored
        # the start itself may be the second of two equal times, when an offset or the anchor says so
        return instant(self._wall(k), self.zone) if k != self.origin and self.period.is_calendar else start

    def _wall(self, k: int) -> datetime:
        """The wall clock of slot `k` before elapsed time is added."""
        wall, _ = self._anchored
        steps = k - self.origin
        return step(wall, steps * self.period.months, steps * self.period.days)


@dataclass(frozen=True)
class Cron(Schedule):
    """Five fields in `zone`; its slots have no numbers and no end."""

    table: CronTable

    def slot(self, k: int) -> Slot | None:
        return None

    def next_after(self, t: datetime) -> Slot | None:
        at = self.table.next_after(t)
        return None if at is None else Slot(None, at)

    def between(self, after: datetime, until: datetime) -> SlotRange:
        last = self.newest_between(after, until, 1)
        if not last:
            return SlotRange(0, None, None)
        return SlotRange(self.table.count(after, until), self.next_after(after), last[0])

    def newest_between(self, after: datetime, until: datetime, limit: int) -> list[Slot]:
        return [Slot(None, at) for at in self.table.newest(after, until, limit)]

    def remaining(self, after: datetime) -> int | None:
        return None

    def notes(self, slot: Slot) -> list[str]:
        wall = local(slot.at, self.zone)
        if not self.table.has_local(wall):
            return [words.moved_note(wall, self.zone)]
        return words.clock_notes(wall, slot.at, self.zone)

    def describe(self) -> dict[str, str]:
        return words.describe_cron(self.table.fields, self.zone)


def check_timezone(name: str) -> None:
    """Raises ScheduleError (field `schedule_timezone`) unless `name` is an IANA zone."""
    find_zone(name)


@lru_cache(maxsize=8192)
def parse(text: str, timezone: str | None = None, anchor: datetime | None = None) -> Schedule:
    """Read a schedule.

    `timezone`: the IANA zone of calendar steps, of cron, and of a date without an offset; None for the start's own
    offset, or else UTC. `anchor`: the aware instant at which the schedule was set, for the forms without a start.
    Raises ScheduleError, which names the faulty part, its place and a correct example.
    """
    if anchor is not None and anchor.utcoffset() is None:
        raise ValueError("the anchor has no zone")
    zone = None if timezone is None else find_zone(timezone)
    try:
        return _read(text, zone, anchor)
    except ScheduleError as error:
        raise _with_hint(error, text) from None


def _with_hint(error: ScheduleError, text: str) -> ScheduleError:
    """The error, with what to write instead if what was meant can be guessed and read."""
    if len(text) <= MAX_LENGTH:
        for hint in islice(hints(text), MAX_HINTS):
            if _is_readable(hint.right):
                if hint.why is None:
                    return with_example(error, hint.right)
                shown = text[hint.position :].split(None, 1)[0] if hint.position else text
                return Part("schedule_mode", shown, hint.position).fault(hint.why, hint.right)
    return error


def _is_readable(text: str) -> bool:
    try:
        _read(text, None, None)
    except ScheduleError:
        return False
    return True


def _read(text: str, zone: tzinfo | None, anchor: datetime | None) -> Schedule:
    check_characters(text)
    if text.startswith("R"):
        return _interval(text, zone, anchor)
    if text.startswith("@") or " " in text or "\t" in text:
        return Cron(text, zone or UTC, False, CronTable(read_cron(text), zone or UTC))
    raise Part("schedule_mode", text, 0).fault("is neither R[n]/start/duration nor five cron fields, as in 30 2 * * *")


def _interval(text: str, named: tzinfo | None, anchor: datetime | None) -> Interval:
    read = read_repeating(text)
    match read.first, read.second:
        case Moment() as begin, Period() as period:
            zone = named or begin.offset or UTC
            wall, start = _place(begin, zone)
        case Moment() as begin, Moment() as end:
            zone = named or begin.offset or UTC
            wall, start = _place(begin, zone)
            # ISO 8601:2004, 4.4.5: an end without an offset has the start's
            period = _difference(start, _place(end, zone, begin.offset)[1], end.part)
        case Period() as period, Moment() as end:
            return _counted_back(text, read, period, end, named or end.offset or UTC)
        case _, Period() as period:
            zone = named or UTC
            if anchor is None:
                return Interval(text, zone, True, read.times, period, None, None)
            start = anchor.astimezone(UTC)
            return Interval(text, zone, True, read.times, period, local(start, zone), start)
    return Interval(text, zone, False, read.times, period, wall, start)


def _place(moment: Moment, zone: tzinfo, offset: tzinfo | None = None) -> tuple[datetime, datetime]:
    """The wall clock in `zone` and the instant; `offset` is for a moment that has none of its own."""
    own = moment.offset or offset
    try:
        if own is None:
            wall, at = moment.wall, instant(moment.wall, zone)
        else:
            at = moment.wall.replace(tzinfo=own).astimezone(UTC)
            wall = local(at, zone)
    except OverflowError:
        raise moment.part.fault("is outside the years 1 to 9999, in UTC or in the schedule's zone") from None
    return wall, at


def _difference(start: datetime, end: datetime, part: Part) -> Period:
    if end - start < timedelta(seconds=1):
        raise part.fault("is not a second or more after the start", "R5/2026-01-31T08:00:00Z/2026-01-31T09:00:00Z")
    return Period(0, 0, end - start)


def _counted_back(text: str, read: Repeating, period: Period, end: Moment, zone: tzinfo) -> Interval:
    """ISO 8601:2004, 4.5.1: a duration and an end name the last interval, so the last run is at the end."""
    times = read.times or 0
    wall, at = _place(end, zone)
    interval = Interval(text, zone, False, times, period, wall, at, max(times - 1, 0))
    if times and not interval.is_in_calendar(0):
        most = times - bisect_left(range(times), True, key=interval.is_in_calendar)
        written, slash, rest = text.partition("/")
        why = f"the first of so many runs, counted back from {end.part.text}, would be before year 1"
        raise Part("number of runs", written, 0).fault(why, f"R{most}{slash}{rest}")
    return interval
