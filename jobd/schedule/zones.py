"""Local time in a zone: from wall clock to instant and back, including gaps and overlaps."""

from bisect import bisect_left
from calendar import monthrange
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from jobd.errors import ScheduleError
from jobd.schedule import zone_rules
from jobd.schedule.zone_names import meant_by

MICROSECOND = timedelta(microseconds=1)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
ZONES_BEGIN, ZONES_CHANGE_UNTIL = 1840, 2100
"""The years between which the IANA database has zones that moved across the date line."""


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    zone_rules.in_use()
    return frozenset(available_timezones())


def find_zone(name: str) -> ZoneInfo:
    """The IANA zone `name`, in the database's own case. Raises ScheduleError (field `schedule_timezone`) if there is
    none.
    """
    if name in _names():
        return ZoneInfo(name)
    meant = meant_by(name, _names())
    message = f"schedule_timezone {name[:64]!a} is no IANA time zone{meant.why}; expected {meant.advice}"
    raise ScheduleError(message, field="schedule_timezone", example=meant.right)


def local(at: datetime, zone: tzinfo) -> datetime:
    """The naive wall clock in `zone` at the instant `at`."""
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def instant(wall: datetime, zone: tzinfo) -> datetime:
    """The UTC instant of a naive wall clock: the first of two, and after a gap its first instant.

    Raises OverflowError if it is outside the years 1 to 9999 of UTC.
    """
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if local(first, zone) == wall:
        return first
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    steps = range((first - before) // MICROSECOND)
    return before + MICROSECOND * bisect_left(steps, True, key=lambda n: local(before + n * MICROSECOND, zone) >= wall)


def step(wall: datetime, months: int, days: int) -> datetime:
    """`wall` moved by months, then by days; a day that the month does not have becomes its last day.

    Raises OverflowError outside the years 1 to 9999.
    """
    year, month = divmod(wall.year * 12 + wall.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError("year out of range")
    last = monthrange(year, month + 1)[1]
    return wall.replace(year=year, month=month + 1, day=min(wall.day, last)) + timedelta(days=days)


def occurs_twice(wall: datetime, zone: tzinfo) -> bool:
    """Whether the clocks show `wall` twice, as when summer time ends."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return first is not None and second is not None and first > second


@lru_cache(maxsize=1024)
def last_instant(zone: tzinfo) -> datetime:
    """The last instant (UTC) that is in year 9999 both in UTC and in `zone`."""
    offset = datetime.max.replace(tzinfo=zone).utcoffset() or timedelta(0)
    return END_OF_TIME - max(offset, timedelta(0))


def name_of(zone: tzinfo) -> str:
    """`Europe/Paris`, `UTC` or `UTC+08:00`."""
    return str(zone)


@lru_cache(maxsize=1024)
def skipped_days(zone: tzinfo) -> tuple[datetime, ...]:
    """The instants (UTC) at which a zone crossed the date line and skipped a day, as Pacific/Apia did in 2011.

    Only there can two slots that are a day or more apart on the wall clock be at the same instant.
    """
    years = [datetime(year, 1, 1, tzinfo=UTC) for year in range(ZONES_BEGIN, ZONES_CHANGE_UNTIL + 1)]
    return tuple(_jump(begin, end, zone) for begin, end in pairwise(years) if _moved(begin, end, zone))


def _jump(begin: datetime, end: datetime, zone: tzinfo) -> datetime:
    """The first instant from `begin` on at which the zone is across the date line."""
    second = timedelta(seconds=1)
    seconds = range((end - begin) // second)
    return begin + second * bisect_left(seconds, True, key=lambda n: _moved(begin, begin + n * second, zone))


def _moved(begin: datetime, end: datetime, zone: tzinfo) -> bool:
    """Whether local time has jumped ahead by much more than summer time does."""
    return _offset(end, zone) - _offset(begin, zone) > timedelta(hours=12)


def _offset(at: datetime, zone: tzinfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)
