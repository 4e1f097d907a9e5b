"""What `Rn/duration/end` runs: n times up to the end."""

from datetime import timedelta

from jobd.schedule import parse
from tests.schedule_answers import EVER, calls, dates, first, shown, utc


def test_duration_and_end_run_n_times_up_to_the_end():
    assert dates(parse("R3/P1D/2026-03-01T00:00:00Z"), 9) == ["2026-02-27", "2026-02-28", "2026-03-01"]
    assert dates(parse("R1/P1D/2026-03-01"), 9) == ["2026-03-01"]
    assert dates(parse("R0/P1D/2026-03-01"), 9) == []
    assert shown(parse("R3/P1D/2026-03-09T12:00:00", "America/New_York"), 9) == [
        "2026-03-07T12:00:00-05:00",
        "2026-03-08T12:00:00-04:00",
        "2026-03-09T12:00:00-04:00",
    ]
    assert shown(parse("R3/PT24H/2026-03-09T12:00:00", "America/New_York"), 9) == [
        "2026-03-07T11:00:00-05:00",
        "2026-03-08T12:00:00-04:00",
        "2026-03-09T12:00:00-04:00",
    ]


def test_month_ends_are_counted_back_from_the_end_each_time():
    assert dates(parse("R2/P1M/2026-03-31"), 9) == ["2026-02-28", "2026-03-31"]
    assert dates(parse("R4/P1M/2026-03-31"), 9) == ["2025-12-31", "2026-01-31", "2026-02-28", "2026-03-31"]
    assert dates(parse("R3/P1Y/2028-02-29"), 9) == ["2026-02-28", "2027-02-28", "2028-02-29"]


def test_runs_before_an_end_are_numbered_from_the_first_and_counted():
    schedule = parse("R3/P1D/2026-03-01T00:00:00Z")
    assert [slot.index for slot in first(schedule, 9)] == [0, 1, 2]
    assert [schedule.remaining(utc(f"2026-02-{day}T12:00:00Z")) for day in (26, 27, 28)] == [3, 2, 1]
    assert schedule.remaining(utc("2026-03-01T00:00:00Z")) == 0
    assert schedule.slot(3) is None
    assert not schedule.needs_anchor


def test_a_run_before_an_end_may_meet_changed_clocks_and_short_months():
    gap = parse("R2/P1D/2026-03-09T02:30:00", "America/New_York")
    assert shown(gap, 9) == ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"]
    assert "02:30 does not exist" in gap.notes(gap.slot(0))[0]
    short = parse("R2/P1M/2026-03-31")
    assert short.notes(short.slot(0)) == ["2026-02 has no day 31: its last day, 28, is taken"]
    assert short.notes(short.slot(1)) == []
    second = parse("R2/P1D/2026-11-01T01:30:00-05:00", "America/New_York")
    assert shown(second, 9) == ["2026-10-31T01:30:00-04:00", "2026-11-01T01:30:00-05:00"]


def test_two_runs_before_an_end_on_a_skipped_day_are_one_and_count_twice():
    schedule = parse("R4/P1D/2012-01-01T00:00:00", "Pacific/Apia")
    assert shown(schedule, 9) == ["2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"]
    assert schedule.remaining(EVER) == 3


def test_a_mixed_duration_before_an_end_arrives_at_the_end():
    schedule = parse("R3/P1M2DT3H/2026-05-20T01:00:00", "Europe/Paris")
    assert shown(schedule, 9) == [
        "2026-03-15T19:00:00+01:00",
        "2026-04-17T22:00:00+02:00",
        "2026-05-20T01:00:00+02:00",
    ]


def test_the_number_of_runs_before_an_end_is_no_burden():
    schedule = parse("R1000000000/PT1S/2026-03-01T00:00:00Z")
    now = utc("2020-06-01T10:11:12.5Z")
    assert schedule.next_after(now).at == utc("2020-06-01T10:11:13Z")
    assert schedule.remaining(now) == (utc("2026-03-01T00:00:00Z") - now) // timedelta(seconds=1) + 1
    assert calls(lambda: parse("R1000000000/PT1S/2026-03-01T00:00:00Z").next_after(now)) < 2000
    assert calls(lambda: parse("R500000/P1DT1H/2126-03-01", "Europe/Berlin").next_after(now)) < 3000
