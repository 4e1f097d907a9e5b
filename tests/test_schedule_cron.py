"""Cron expressions: when they run, how they meet changed clocks, and what they say in words."""

import random
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from cronsim import CronSim
from dateutil.rrule import DAILY, rrule
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.errors import ScheduleError
from jobd.schedule import SlotRange, parse
from tests.schedule_answers import calls, utc

NOW = datetime(2026, 11, 24, 10, 11, 12, 500_000, tzinfo=UTC)
ODD = {
    "America/New_York": [(2026, 3), (2026, 11)],
    "Australia/Lord_Howe": [(2026, 4), (2026, 10)],
    "Pacific/Apia": [(2011, 12)],
    "Europe/Dublin": [(2026, 3), (2026, 10)],
    "Africa/Casablanca": [(2026, 2), (2026, 3)],
    "America/Havana": [(2026, 3), (2026, 11)],
}


def shown(text: str, count: int, zone: str | None = None, after: datetime = NOW) -> list[str]:
    """The next runs as the clocks of the zone show them."""
    schedule = parse(text, zone)
    found = []
    while len(found) < count and (slot := schedule.next_after(after)):
        found.append(schedule.local(slot.at).isoformat(timespec="minutes"))
        after = slot.at
    return found


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("30 2 * * *", ["2026-11-25T02:30+00:00", "2026-11-26T02:30+00:00"]),
        ("*/20 * * * *", ["2026-11-24T10:20+00:00", "2026-11-24T10:40+00:00", "2026-11-24T11:00+00:00"]),
        ("0 9-17/4 * * mon-FRI", ["2026-11-24T13:00+00:00", "2026-11-24T17:00+00:00", "2026-11-25T09:00+00:00"]),
        ("0 0 1,15 JAN,jul *", ["2027-01-01T00:00+00:00", "2027-01-15T00:00+00:00", "2027-07-01T00:00+00:00"]),
        ("0 0 13 * 5", ["2026-11-27T00:00+00:00", "2026-12-04T00:00+00:00", "2026-12-11T00:00+00:00"]),
        ("0 0 * * 7", ["2026-11-29T00:00+00:00"]),
        ("0 0 L * *", ["2026-11-30T00:00+00:00", "2026-12-31T00:00+00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00"]),
        ("\t0  12   * * *", ["2026-11-24T12:00+00:00"]),
        ("@hourly", ["2026-11-24T11:00+00:00", "2026-11-24T12:00+00:00"]),
        ("@daily", ["2026-11-25T00:00+00:00", "2026-11-26T00:00+00:00"]),
        ("@midnight", ["2026-11-25T00:00+00:00"]),
        ("@weekly", ["2026-11-29T00:00+00:00", "2026-12-06T00:00+00:00"]),
        ("@monthly", ["2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"]),
        ("@yearly", ["2027-01-01T00:00+00:00", "2028-01-01T00:00+00:00"]),
        ("@annually", ["2027-01-01T00:00+00:00"]),
    ],
)
def test_a_cron_expression_runs_when_its_fields_match(text, runs):
    assert shown(text, len(runs)) == runs


def test_cron_runs_by_the_clocks_of_its_zone():
    assert shown("0 8 * * *", 1, "Asia/Shanghai") == ["2026-11-25T08:00+08:00"]


def test_a_fixed_time_in_a_gap_runs_right_after_it():
    before = utc("2026-03-07T12:00:00Z")
    assert shown("30 2 * * *", 3, "America/New_York", before) == [
        "2026-03-08T03:00-04:00",
        "2026-03-09T02:30-04:00",
        "2026-03-10T02:30-04:00",
    ]


def test_a_fixed_time_on_a_skipped_day_runs_as_the_next_day_begins_and_is_counted():
    schedule = parse("30 2 * * *", "Pacific/Apia")
    after, until = utc("2011-12-29T12:00:00-10:00"), utc("2011-12-31T12:00:00+14:00")
    runs = ["2011-12-31T00:00:00+14:00", "2011-12-31T02:30:00+14:00"]
    assert [schedule.local(slot.at).isoformat() for slot in schedule.newest_between(after, until, 9)] == runs
    assert schedule.between(after, until).count == 2
    assert shown("30 2 * * *", 1, "Pacific/Apia", after) == ["2011-12-31T00:00+14:00"]


def test_a_fixed_time_that_occurs_twice_runs_once():
    before = utc("2026-10-31T12:00:00Z")
    assert shown("30 1 * * *", 2, "America/New_York", before) == ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]


def test_asked_between_the_two_the_next_run_is_that_of_the_next_day():
    between = utc("2026-11-01T06:10:00Z")
    assert shown("30 1 * * *", 1, "America/New_York", between) == ["2026-11-02T01:30-05:00"]


def test_an_hourly_run_takes_no_notice_of_changed_clocks():
    before = utc("2026-11-01T04:59:00Z")
    assert shown("0 * * * *", 3, "America/New_York", before) == [
        "2026-11-01T01:00-04:00",
        "2026-11-01T01:00-05:00",
        "2026-11-01T02:00-05:00",
    ]


def test_cron_has_no_numbers_and_no_end():
    schedule = parse("@daily")
    assert schedule.slot(0) is None
    assert schedule.next_after(NOW).index is None
    assert schedule.remaining(NOW) is None
    assert not schedule.needs_anchor


def test_cron_ends_with_year_9999():
    schedule = parse("0 0 * * *")
    assert schedule.next_after(utc("9999-12-30T12:00:00Z")).at == utc("9999-12-31T00:00:00Z")
    assert schedule.next_after(utc("9999-12-31T00:00:00Z")) is None
    assert parse("0 0 * * *", "Asia/Shanghai").next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert parse("0 0 * * *").between(utc("9999-12-29T12:00:00Z"), datetime.max.replace(tzinfo=UTC)).count == 2


def test_a_stretch_of_time_is_open_at_its_start_and_closed_at_its_end():
    schedule = parse("*/10 * * * *")
    one, two = utc("2026-11-24T10:00:00Z"), utc("2026-11-24T10:30:00Z")
    found = schedule.between(one, two)
    assert (found.count, found.first.at, found.last.at) == (3, utc("2026-11-24T10:10:00Z"), two)
    assert [slot.at.minute for slot in schedule.newest_between(one, two, 2)] == [20, 30]
    assert schedule.newest_between(one, two, 0) == []
    assert schedule.between(two, one) == SlotRange(0, None, None)


def test_a_hundred_thousand_runs_are_counted_by_the_day(monkeypatch):
    steps = 0
    step = CronSim.__next__

    def counted(self):
        nonlocal steps
        steps += 1
        return step(self)

    monkeypatch.setattr(CronSim, "__next__", counted)
    schedule = parse("* * * * *", "America/New_York")
    until = utc("2027-01-01T05:00:00Z")
    assert schedule.between(until - timedelta(days=365), until).count == 365 * 1440
    assert len(schedule.newest_between(until - timedelta(days=365), until, 100_000)) == 100_000
    assert steps < 10_000


@pytest.mark.parametrize("zone", list(ODD))
def test_counted_runs_are_those_that_one_meets_stepping(zone):
    pick = random.Random(zone)
    texts = ["30 2 * * *", "*/30 1-2 * * *", "0 0 * * *", "15 * * * *", "*/7 * * * *", "0,30 0-3 */2 * *", "0 23 L * *"]
    for year, month in ODD[zone]:
        for text in texts:
            schedule = parse(text, zone)
            after = datetime(year, month, 1, tzinfo=UTC) + timedelta(minutes=pick.randrange(20_000))
            until = after + timedelta(minutes=pick.randrange(40_000))
            met, at = [], after
            while (slot := schedule.next_after(at)) and slot.at <= until:
                met.append(slot)
                at = slot.at
            assert schedule.newest_between(after, until, 10**6) == met
            assert schedule.newest_between(after, until, 3) == met[-3:]
            assert schedule.between(after, until).count == len(met)


@st.composite
def fields(draw, low, high):
    values = draw(st.sets(st.integers(low, high), min_size=1, max_size=3))
    return values, ",".join(map(str, values))


@given(
    minute=fields(0, 59),
    hour=fields(0, 23),
    day=fields(1, 28),
    month=fields(1, 12),
    after=st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
)
@settings(max_examples=200, deadline=None)
def test_in_utc_cron_is_rrule(minute, hour, day, month, after):
    schedule = parse(f"{minute[1]} {hour[1]} {day[1]} {month[1]} *")
    rule = rrule(
        DAILY,
        dtstart=after.replace(hour=0, minute=0, second=0, microsecond=0),
        byminute=minute[0],
        byhour=hour[0],
        bymonthday=day[0],
        bymonth=month[0],
        bysecond=0,
    )
    expected = list(rule.xafter(after, count=5))
    found, at = [], after.replace(tzinfo=UTC)
    for _ in range(5):
        at = schedule.next_after(at).at
        found.append(at.replace(tzinfo=None))
    assert found == expected


@pytest.mark.parametrize(
    ("text", "after", "note"),
    [
        (
            "30 2 * * *",
            "2026-03-08T06:59:59Z",
            "the clocks skip the time named on 2026-03-08 in America/New_York: it runs at 03:00, right after",
        ),
        (
            "30 1 * * *",
            "2026-11-01T05:00:00Z",
            "01:30 occurs twice on 2026-11-01 in America/New_York, when the clocks go back: the first is taken",
        ),
        (
            "30 * * * *",
            "2026-11-01T06:00:00Z",
            "01:30 occurs twice on 2026-11-01 in America/New_York, when the clocks go back: this is the second",
        ),
    ],
)
def test_a_run_at_changed_clocks_has_a_note(text, after, note):
    schedule = parse(text, "America/New_York")
    slot = schedule.next_after(utc(after))
    assert schedule.notes(slot) == [note]
    assert schedule.notes(schedule.next_after(slot.at + timedelta(hours=2))) == []


def test_a_field_at_fault_is_named_with_its_place():
    with pytest.raises(ScheduleError) as caught:
        parse("0 0 * * FUNDAY")
    why = "is not made of numbers from 0 to 7 or names from SUN to SAT; expected 30 2 * * MON-FRI"
    assert caught.value.message == f"day-of-week 'FUNDAY' at character 9: {why}"


@given(
    times=st.sampled_from(["0 0", "30 2", "*/30 1-2", "59 23", "0 12"]),
    days=st.sampled_from(
        ["29 2 *", "29 2 */7", "31 12 *", "1 1 *", "* * 1#5", "L 2 *", "LW 3,10 */3", "8-14 3 */7", "30,31 12 *"]
    ),
    zone=st.sampled_from(["UTC", *ODD]),
    after=st.datetimes(datetime(1880, 1, 1), datetime(2130, 1, 1)),
)
@settings(max_examples=300, deadline=None)
def test_rare_runs_are_those_that_cronsim_steps_to(times, days, zone, after):
    text, after = f"{times} {days}", after.replace(tzinfo=UTC)
    schedule, at = parse(text, zone), after
    stepped = (moment.astimezone(UTC) for moment in CronSim(text, after.astimezone(schedule.zone)))
    for expected in islice((moment for moment in stepped if moment > after), 3):
        at = schedule.next_after(at).at
        assert at == expected


@pytest.mark.parametrize("text", ["0 0 29 2 */7", "0 0 29 2 *", "0 0 1 1 *"])
def test_rare_runs_are_found_without_a_look_at_each_day_between(text):
    schedule = parse(text)
    assert calls(lambda: schedule.next_after(utc("2032-02-29T00:00:00Z"))) < 1500
    assert schedule.next_after(utc("9999-12-31T12:00:00Z")) is None
