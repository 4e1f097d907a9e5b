"""The text of a repeating interval (ISO 8601-1, 5.6): its parts, and what is wrong with them."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache

import isodate

from jobd.errors import ScheduleError

MAX_TIMES = 10**12
MAX_LENGTH = 255
MAX_PERIOD = timedelta(days=366 * 10_000)
EXAMPLE = "R10/2026-01-31T08:00:00Z/P1M"

_MOMENT = re.compile(
    r"(?P<year>\d{4})(?P<dash>-?)"
    r"(?:(?P<month>\d\d)(?P=dash)(?P<day>\d\d)|W(?P<week>\d\d)(?P=dash)(?P<weekday>\d)|(?P<ordinal>\d{3}))"
    r"(?:T(?P<hour>\d\d)(?:(?P<colon>:?)(?P<minute>\d\d)(?:(?P=colon)(?P<second>\d\d))?)?(?:[.,](?P<fraction>\d+))?"
    r"(?P<zone>Z|(?P<sign>[+-])(?P<zone_hour>\d\d)(?::?(?P<zone_minute>\d\d))?)?)?",
    re.ASCII,
)
_NUMBER = r"\d+(?:[.,]\d+)?"
_DURATION = re.compile(
    rf"P(?=\d|T)(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?=\d)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Part:
    """A piece of the text: its name (`start`, `duration` …), its text, and where it begins (0-based)."""

    name: str
    text: str
    position: int

    def fault(self, why: str, example: str = EXAMPLE) -> ScheduleError:
        """A ScheduleError that names this part, its place and a correct example."""
        shown = f" {self.text[:40]!r}" if self.text else ""
        message = f"{self.name}{shown} at character {self.position + 1}: {why}; expected {example}"
        return ScheduleError(message, position=self.position, example=example)


def with_example(error: ScheduleError, example: str) -> ScheduleError:
    """The same error with another correct example."""
    message = f"{error.message.removesuffix(f'; expected {error.example}')}; expected {example}"
    return ScheduleError(message, position=error.position, example=example)


@dataclass(frozen=True)
class Moment:
    """A date and time as written: the wall clock (naive), its own offset if it has one, and the part of the text."""

    wall: datetime
    offset: timezone | None
    part: Part


@dataclass(frozen=True)
class Period:
    """A duration: calendar steps in `months` and `days` (a week is seven), then `elapsed` time."""

    months: int
    days: int
    elapsed: timedelta

    @property
    def is_calendar(self) -> bool:
        return bool(self.months or self.days)


@dataclass(frozen=True)
class Repeating:
    """`R[times]/first/second`. `times` is None if endless; `first` is None for the instant at which the schedule is
    set.

    With a Period and then a Moment, `times` is never None: the Moment is the last of so many runs.
    """

    times: int | None
    first: Moment | Period | None
    second: Moment | Period


def check_characters(text: str) -> None:
    """Raises ScheduleError for what cannot be a schedule in any form: nothing, too much, lookalikes, control
    characters.
    """
    whole = Part("schedule_mode", "", 0)
    if not text:
        raise whole.fault("is empty")
    if len(text) > MAX_LENGTH:
        raise Part("schedule_mode", "", MAX_LENGTH).fault(f"has {len(text)} characters, {MAX_LENGTH} are the most")
    for position, character in enumerate(text):
        if not (" " <= character <= "~" or character == "\t"):
            name = unicodedata.name(character, "a control character" if ord(character) < 160 else "no character")
            raise Part("schedule_mode", "", position).fault(f"U+{ord(character):04X} ({name}) has no place here")


@lru_cache(maxsize=8192)
def read_repeating(text: str) -> Repeating:
    """The parts of `text`, each checked by itself. Raises ScheduleError, which names the first faulty part."""
    pieces, position = [], 0
    for piece in text.split("/"):
        pieces.append((piece, position))
        position += len(piece) + 1
    times = _times(Part("number of runs", *pieces[0]))
    if len(pieces) not in (2, 3):
        raise Part("interval", text, 0).fault(f"has {len(pieces)} parts with / between them, not 2 or 3")
    if len(pieces) == 2:
        return Repeating(times, None, _period(Part("duration", *pieces[1])))
    (first, _), (second, _) = pieces[1:]
    if not second:
        raise Part("duration", *pieces[2]).fault("is missing")
    if not first:
        return Repeating(times, None, _period(Part("duration", *pieces[2])))
    if not _is_duration(first):
        start = _moment(Part("start", *pieces[1]))
        if _is_duration(second):
            return Repeating(times, start, _period(Part("duration", *pieces[2])))
        return Repeating(times, start, _moment(Part("end", *pieces[2])))
    period = _period(Part("duration", *pieces[1]))
    if _is_duration(second):
        raise Part("end", *pieces[2]).fault("is a second duration; one of the two must be a date and time")
    end = _moment(Part("end", *pieces[2]))
    if times is None:
        why = f"without a number there is no first run before an end; endless from a start: R/{second}/{first}"
        raise Part("number of runs", *pieces[0]).fault(why, f"R10/{first}/{second}")
    return Repeating(times, period, end)


def _is_duration(text: str) -> bool:
    return text.lstrip("+-").startswith("P")


def _times(part: Part) -> int | None:
    digits = part.text[1:]
    if not part.text.startswith("R") or (digits and not digits.isdecimal()):
        raise part.fault("is not R, or R and a number")
    if digits and int(digits) > MAX_TIMES:
        raise part.fault(f"is more than {MAX_TIMES}; R alone is endless")
    return int(digits) if digits else None


def _moment(part: Part) -> Moment:
    match = _MOMENT.fullmatch(part.text)
    if match is None:
        raise part.fault("is no date and time")
    groups = match.groupdict()
    if groups["minute"] and (groups["dash"] == "-") != (groups["colon"] == ":"):
        raise part.fault("has - in the date and no : in the time, or the other way round")
    try:
        return Moment(_wall(groups), _offset(groups), part)
    except OverflowError:
        raise part.fault("is outside the years 1 to 9999") from None
    except ValueError as error:
        raise part.fault(f"is no date and time, {error}") from None


def _wall(groups: dict[str, str | None]) -> datetime:
    number = {key: int(value) for key, value in groups.items() if value and value.isdecimal()}
    year = number["year"]
    if year == 0:
        raise ValueError("years go from 1 to 9999")
    if "week" in number:
        day = date.fromisocalendar(year, number["week"], number["weekday"])
    elif "ordinal" in number:
        day = date(year, 1, 1) + timedelta(days=number["ordinal"] - 1)
        if day.year != year:
            raise ValueError(f"{year} has no day {number['ordinal']}")
    else:
        day = date(year, number["month"], number["day"])
    hour, minute, second = (number.get(unit, 0) for unit in ("hour", "minute", "second"))
    fraction = groups["fraction"] or "0"
    unit = 1 if "second" in number else 60 if "minute" in number else 3600
    part = timedelta(microseconds=int(fraction) * unit * 10**6 // 10 ** len(fraction))
    if hour == 24 and not (minute or second or part):
        return datetime.combine(day, datetime.min.time()) + timedelta(days=1)
    return datetime(day.year, day.month, day.day, hour, minute, second) + part


def _offset(groups: dict[str, str | None]) -> timezone | None:
    if groups["zone"] is None:
        return None
    if groups["zone"] == "Z":
        return UTC
    hours, minutes = int(groups["zone_hour"] or 0), int(groups["zone_minute"] or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(f"{groups['zone']} is no offset from UTC")
    size = timedelta(hours=hours, minutes=minutes)
    return timezone(-size if groups["sign"] == "-" else size)


def _period(part: Part) -> Period:
    text = part.text
    if text.startswith(("-", "+")):
        raise part.fault("has a sign, a period only goes forward")
    if not _DURATION.fullmatch(text):
        raise part.fault("is no duration")
    if re.search(r"[.,]\d+[A-Z].", text):
        raise part.fault("has a fraction before its last unit")
    calendar, _, clock = text.partition("T")
    if re.search(r"[.,]\d+[YM]", calendar):
        raise part.fault(
            "has a fraction of a month or a year, which is no number of days", "R10/2026-01-31T08:00:00Z/P1M15D"
        )
    try:
        period = _reckon(calendar, clock)
    except (OverflowError, ValueError):
        raise part.fault("is longer than all years from 1 to 9999") from None
    if not period.is_calendar and period.elapsed < timedelta(seconds=1):
        raise part.fault("is shorter than a second" if period.elapsed else "is zero")
    return period


def _reckon(calendar: str, clock: str) -> Period:
    """The calendar and the clock part, each by itself, since isodate makes one timedelta of P1D and PT24H. A fraction
    of a day is elapsed time.
    """
    months, days, elapsed = 0, 0, timedelta(0)
    if calendar != "P":
        steps = isodate.parse_duration(calendar, as_timedelta_if_possible=False)
        months, days = int(steps.years) * 12 + int(steps.months), steps.tdelta.days
        elapsed = steps.tdelta - timedelta(days=days)
    if clock:
        # isodate rounds: cut instead, so that PT0.9999999S stays shorter than a second
        elapsed += isodate.parse_duration("PT" + re.sub(r"([.,]\d{6})\d+S", r"\1S", clock))
    if timedelta(days=31 * months + days) + elapsed > MAX_PERIOD:
        raise OverflowError("no slot but the first could come")
    return Period(months, days, elapsed)
