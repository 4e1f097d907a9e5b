"""Intervals against an oracle that steps from slot to slot and finds local times by trying."""

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta
from dateutil.rrule import DAILY, HOURLY, MONTHLY, WEEKLY, YEARLY, rrule
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.schedule import Schedule, Slot, parse

STEPS = 9
"""Slots that the oracle steps through."""

ODD_DAYS = {
    "UTC": ["2024-02-29", "2027-12-31", "9999-11-30"],
    "America/New_York": ["2026-03-08", "2026-11-01", "1883-11-18"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],
    "Pacific/Apia": ["2011-12-30", "2011-12-31", "2010-09-26"],
    "Pacific/Kwajalein": ["1993-08-21", "1969-09-30"],
    "Europe/Dublin": ["2026-03-29", "2026-10-25", "1971-10-31"],
    "Africa/Casablanca": ["2026-02-15", "2026-03-22", "2025-02-23"],
    "America/Sao_Paulo": ["2018-11-04", "2019-02-17"],
    "America/Havana": ["2026-03-08", "2026-11-01"],
    "Africa/Monrovia": ["1972-01-07"],
}
"""Zones and the local days on which their clocks do something odd."""


def shows(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None)


def tried(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the clocks show `wall`; if they never do, the first at which they show more."""
    middle = min(wall, datetime(9999, 12, 30)).replace(tzinfo=UTC)
    around = [middle + timedelta(hours=hours) for hours in range(-30, 31, 6)]
    offsets = {at.astimezone(zone).utcoffset() for at in around}
    hits = [at for at in (wall.replace(tzinfo=UTC) - offset for offset in offsets) if shows(at, zone) == wall]
    if hits:
        return min(hits)
    at = (wall.replace(tzinfo=UTC) - max(offsets)).replace(microsecond=0)
    for unit in (timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)):
        while shows(at + unit, zone) < wall:
            at += unit
    return at + timedelta(seconds=1)


@dataclass(frozen=True)
class Case:
    """`wall` is the start or, with `is_end`, the end: the last of `times` slots, which then are at most STEPS."""

    zone: str
    wall: datetime
    offset: int | None
    months: int
    days: int
    elapsed: timedelta
    times: int | None
    is_end: bool = False

    @property
    def text(self) -> str:
        n = "" if self.times is None else self.times
        zone = "" if self.offset is None else f"{'-' if self.offset < 0 else '+'}{abs(self.offset):02}:00"
        calendar = f"{self.months}M" * bool(self.months) + f"{self.days}D" * bool(self.days)
        clock = f"T{self.elapsed.total_seconds():f}S" * bool(self.elapsed)
        moment, duration = f"{self.wall.isoformat()}{zone}", f"P{calendar}{clock}"
        return f"R{n}/{duration}/{moment}" if self.is_end else f"R{n}/{moment}/{duration}"

    def slots(self) -> list[tuple[int, datetime]]:
        """(number, instant) of the first slots, those on one instant once."""
        zone = ZoneInfo(self.zone)
        if self.offset is None:
            wall, start = self.wall, tried(self.wall, zone)
        else:
            start = self.wall.replace(tzinfo=UTC) - timedelta(hours=self.offset)
            wall = shows(start, zone)
        found: list[tuple[int, datetime]] = []
        count = STEPS if self.times is None else min(self.times, STEPS)
        for k in range(count):
            steps = k - count + 1 if self.is_end else k
            try:
                day = wall + relativedelta(months=steps * self.months) + timedelta(days=steps * self.days)
                at = start if steps == 0 or not (self.months or self.days) else tried(day, zone)
                at += steps * self.elapsed
                shows(at, zone)
            except (OverflowError, ValueError):
                break
            if not found or found[-1][1] != at:
                found.append((k, at))
        return found


def build(pick: random.Random) -> Case:
    zone = pick.choice(list(ODD_DAYS))
    months, days, seconds = 0, 0, 0
    while not (months or days or seconds):
        months = pick.choice([0, 0, 0, 1, 2, 3, 12, 13, 48])
        days = pick.choice([0, 0, 1, 1, 1, 2, 7, 30, 366])
        seconds = pick.choice([0, 0, 0, 1, 60, 1800, 3600, 5400, 86400, 90061])
    elapsed = timedelta(seconds=seconds, microseconds=pick.choice([0, 0, 500_000]) if seconds else 0)
    day = datetime.fromisoformat(pick.choice(ODD_DAYS[zone]))
    is_end = pick.random() < 0.3
    away = pick.choice([0, 1, 2, 3, 5]) * (-1 if is_end and day.year < 9999 else 1)
    day -= away * (relativedelta(months=months) + timedelta(days=days) + elapsed)
    clock = timedelta(minutes=pick.choice([0, 0, 30, 60, 75, 90, 120, 135, 150, 180, 1410, pick.randrange(1440)]))
    wall = day + clock + timedelta(microseconds=pick.choice([0, 0, 0, 446_000, 59_999_999]))
    return Case(
        zone=zone,
        wall=wall,
        offset=pick.choice([None, None, None, -5, 0, 3, 13]),
        months=months,
        days=days,
        elapsed=elapsed,
        times=pick.choice([0, 1, 2, 3, 5, STEPS]) if is_end else pick.choice([None, None, 0, 1, 2, 3, 10, 10**12]),
        is_end=is_end,
    )


def check(case: Case, pick: random.Random) -> None:
    """Every question about the stretch that the oracle knows gets the oracle's answer."""
    schedule = parse(case.text, case.zone)
    expected = [Slot(k, at) for k, at in case.slots()]
    assert stepped(schedule, len(expected)) == expected
    if not expected:
        assert schedule.remaining(datetime.min.replace(tzinfo=UTC)) == 0
        return
    edges = sorted(slot.at + timedelta(microseconds=pick.choice([-1, 0, 1])) for slot in pick.choices(expected, k=2))
    after, until = edges[0], min(edges[1], expected[-1].at)
    inside = [slot for slot in expected if after < slot.at <= until]
    found = schedule.between(after, until)
    assert (found.count, found.first, found.last) == (
        len(inside),
        inside[0] if inside else None,
        inside[-1] if inside else None,
    )
    limit = pick.randrange(1, 5)
    assert schedule.newest_between(after, until, limit) == inside[-limit:]
    if after < expected[-1].at:
        assert schedule.next_after(after) == next(slot for slot in expected if slot.at > after)
    if case.times is not None and case.times <= STEPS:
        assert schedule.remaining(after) == len([slot for slot in expected if slot.at > after])
        assert schedule.next_after(expected[-1].at) is None


def stepped(schedule: Schedule, count: int) -> list[Slot]:
    found: list[Slot] = []
    at = datetime.min.replace(tzinfo=UTC)
    while len(found) < count and (slot := schedule.next_after(at)):
        found.append(slot)
        at = slot.at
    return found


def test_ten_thousand_schedules_have_the_slots_of_the_oracle():
    pick = random.Random(8601)
    for _ in range(10_000):
        case = build(pick)
        try:
            check(case, pick)
        except AssertionError as error:
            raise AssertionError(f"{case.text} in {case.zone}") from error


@st.composite
def cases(draw) -> Case:
    """Like `build`, with periods of any size around the odd days."""
    zone = draw(st.sampled_from(list(ODD_DAYS)))
    months = draw(st.integers(0, 30))
    days = draw(st.integers(0, 60))
    least = 0 if months or days else 1_000_000
    elapsed = timedelta(microseconds=draw(st.integers(least, 200_000_000_000)))
    day = datetime.fromisoformat(draw(st.sampled_from(ODD_DAYS[zone])))
    is_end = draw(st.booleans())
    away = draw(st.integers(0, STEPS)) * (-1 if is_end and day.year < 9999 else 1)
    day -= away * (relativedelta(months=months) + timedelta(days=days) + elapsed)
    return Case(
        zone=zone,
        wall=day + timedelta(microseconds=draw(st.integers(0, 86_399_999_999))),
        offset=draw(st.none() | st.integers(-12, 14)),
        months=months,
        days=days,
        elapsed=elapsed,
        times=draw(st.integers(0, STEPS) if is_end else st.none() | st.integers(0, 10**12)),
        is_end=is_end,
    )


@given(cases(), st.integers(0, 10**6))
@settings(max_examples=500, deadline=None)
def test_any_schedule_has_the_slots_of_the_oracle(case, seed):
    check(case, random.Random(seed))


@given(cases().filter(lambda case: case.is_end and case.times), st.integers(10, 400))
@settings(max_examples=200, deadline=None)
def test_the_last_runs_before_an_end_are_the_same_whatever_their_number(case, times):
    few, many = parse(case.text, case.zone), parse(replace(case, times=times).text, case.zone)
    for k in range(case.times):
        expected, found = few.slot(case.times - 1 - k), many.slot(times - 1 - k)
        assert expected and found and found.at == expected.at
        following = many.next_after(found.at - timedelta(microseconds=1))
        assert following and following.at == found.at and following.index <= found.index


@given(
    start=st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
    unit=st.sampled_from("YMWDH"),
    amount=st.integers(1, 400),
)
@settings(max_examples=300, deadline=None)
def test_where_no_month_is_too_short_a_schedule_is_that_of_rrule(start, unit, amount):
    start = start.replace(day=min(start.day, 28), microsecond=0)
    frequency = {"Y": YEARLY, "M": MONTHLY, "W": WEEKLY, "D": DAILY, "H": HOURLY}[unit]
    schedule = parse(f"R/{start.isoformat()}Z/P{'T' if unit == 'H' else ''}{amount}{unit}")
    expected = list(rrule(frequency, dtstart=start, interval=amount, count=20))
    found = [schedule.slot(k) for k in range(len(expected))]
    assert [slot.at.replace(tzinfo=None) for slot in found if slot] == expected


@given(
    zone=st.sampled_from(list(ODD_DAYS)),
    k=st.integers(0, 10**12),
    start=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    duration=st.sampled_from(["P1D", "P1M", "P1Y", "P1W", "PT1S", "PT1H", "P1MT1H", "P13DT0.5S"]),
)
@settings(max_examples=500, deadline=None)
def test_far_slots_are_found_by_number_and_by_time_alike(zone, k, start, duration):
    schedule = parse(f"R/{start.isoformat()}/{duration}", zone)
    slot = schedule.slot(k % 400_000)
    if slot is None:
        assert schedule.next_after(datetime.max.replace(tzinfo=UTC)) is None
        return
    found = schedule.next_after(slot.at - timedelta(microseconds=1))
    assert found is not None
    assert found.at == slot.at
    assert slot.index - found.index in (0, 1)
    following = schedule.next_after(slot.at)
    assert following is None or following.at > slot.at


@pytest.mark.parametrize("zone", list(ODD_DAYS))
def test_the_oracle_itself_knows_gaps_and_overlaps(zone):
    for day in ODD_DAYS[zone]:
        for minutes in range(0, 1440, 15):
            wall = datetime.fromisoformat(day) + timedelta(minutes=minutes)
            at = tried(wall, ZoneInfo(zone))
            assert shows(at, ZoneInfo(zone)) >= wall > shows(at - timedelta(seconds=1), ZoneInfo(zone))
