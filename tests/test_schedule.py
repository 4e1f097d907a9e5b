"""What a repeating interval runs, slot by slot."""

from datetime import UTC, datetime, timedelta

import pytest

from jobd.schedule import Slot, SlotRange, parse
from tests.schedule_answers import END, EVER, calls, dates, first, shown, utc

SET_AT = datetime(2026, 5, 4, 12, 0, 0, 123, tzinfo=UTC)


def test_the_seeds_text_runs_once_at_its_start():
    schedule = parse("R1/2015-12-31T16:00:23.446Z/PT1H")
    assert first(schedule, 5) == [Slot(0, datetime(2015, 12, 31, 16, 0, 23, 446000, tzinfo=UTC))]
    assert not schedule.needs_anchor


@pytest.mark.parametrize(
    ("start", "days"),
    [
        ("2027-01-29", ["2027-01-29", "2027-02-28", "2027-03-29", "2027-04-29", "2027-05-29"]),
        ("2027-01-30", ["2027-01-30", "2027-02-28", "2027-03-30", "2027-04-30", "2027-05-30"]),
        ("2027-01-31", ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]),
        ("2028-01-29", ["2028-01-29", "2028-02-29", "2028-03-29", "2028-04-29", "2028-05-29"]),
        ("2028-01-30", ["2028-01-30", "2028-02-29", "2028-03-30", "2028-04-30", "2028-05-30"]),
        ("2028-01-31", ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31"]),
        ("2100-01-31", ["2100-01-31", "2100-02-28", "2100-03-31", "2100-04-30", "2100-05-31"]),
    ],
)
def test_a_month_end_does_not_drift(start, days):
    assert dates(parse(f"R/{start}/P1M"), 5) == days


def test_a_leap_day_comes_back_every_leap_year():
    assert dates(parse("R/2024-02-29/P1Y"), 5) == ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]
    assert dates(parse("R/2096-02-29/P4Y"), 3) == ["2096-02-29", "2100-02-28", "2104-02-29"]


def test_a_month_end_is_the_zones_and_not_that_of_utc():
    schedule = parse("R/2026-01-31T00:30:00/P1M", "Asia/Shanghai")
    assert shown(schedule, 2) == ["2026-01-31T00:30:00+08:00", "2026-02-28T00:30:00+08:00"]
    assert schedule.slot(1).at == utc("2026-02-27T16:30:00Z")


def test_without_a_zone_calendar_steps_are_those_of_the_starts_own_offset():
    assert shown(parse("R/2026-01-31T00:30:00+08:00/P1M"), 2)[1] == "2026-02-28T00:30:00+08:00"


def test_a_day_keeps_its_local_time_when_summer_time_begins():
    assert shown(parse("R/2026-03-07T12:00:00/P1D", "America/New_York"), 3) == [
        "2026-03-07T12:00:00-05:00",
        "2026-03-08T12:00:00-04:00",
        "2026-03-09T12:00:00-04:00",
    ]


def test_a_day_keeps_its_local_time_when_summer_time_ends():
    assert shown(parse("R/2026-10-31T12:00:00/P1D", "America/New_York"), 3) == [
        "2026-10-31T12:00:00-04:00",
        "2026-11-01T12:00:00-05:00",
        "2026-11-02T12:00:00-05:00",
    ]


def test_24_hours_are_elapsed_time_whatever_the_clocks_do():
    assert shown(parse("R/2026-03-07T12:00:00/PT24H", "America/New_York"), 3) == [
        "2026-03-07T12:00:00-05:00",
        "2026-03-08T13:00:00-04:00",
        "2026-03-09T13:00:00-04:00",
    ]


def test_a_time_that_does_not_exist_moves_to_the_end_of_the_gap_on_that_day_only():
    assert shown(parse("R/2026-03-07T02:30:00/P1D", "America/New_York"), 3) == [
        "2026-03-07T02:30:00-05:00",
        "2026-03-08T03:00:00-04:00",
        "2026-03-09T02:30:00-04:00",
    ]


def test_a_start_that_does_not_exist_keeps_its_time_for_the_days_after():
    assert shown(parse("R/2026-03-08T02:30:00/P1D", "America/New_York"), 2) == [
        "2026-03-08T03:00:00-04:00",
        "2026-03-09T02:30:00-04:00",
    ]


def test_a_time_that_occurs_twice_is_the_first_of_the_two():
    schedule = parse("R/2026-10-31T01:30:00/P1D", "America/New_York")
    assert shown(schedule, 3) == [
        "2026-10-31T01:30:00-04:00",
        "2026-11-01T01:30:00-04:00",
        "2026-11-02T01:30:00-05:00",
    ]


def test_a_start_with_an_offset_may_be_the_second_of_two_equal_times():
    schedule = parse("R/2026-11-01T01:30:00-05:00/P1D", "America/New_York")
    assert shown(schedule, 2) == ["2026-11-01T01:30:00-05:00", "2026-11-02T01:30:00-05:00"]
    assert "this is the second" in schedule.notes(schedule.slot(0))[0]


def test_a_half_hour_gap_is_left_at_its_end():
    assert shown(parse("R/2026-10-03T02:15:00/P1D", "Australia/Lord_Howe"), 2)[1] == "2026-10-04T02:30:00+11:00"


def test_two_slots_on_a_skipped_day_are_one_run_and_count_twice():
    schedule = parse("R4/2011-12-29T00:00:00/P1D", "Pacific/Apia")
    assert shown(schedule, 9) == ["2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"]
    assert [slot.index for slot in first(schedule, 9)] == [0, 1, 3]
    assert schedule.remaining(EVER) == 3
    assert schedule.between(EVER, END).count == 3
    assert schedule.newest_between(EVER, END, 2) == first(schedule, 9)[1:]
    assert "2 slots fall on this instant: they are one run" in schedule.notes(schedule.slot(1))


def test_on_a_skipped_day_a_later_time_runs_when_the_next_day_begins():
    assert shown(parse("R/2011-12-29T10:00:00/P1D", "Pacific/Apia"), 3) == [
        "2011-12-29T10:00:00-10:00",
        "2011-12-31T00:00:00+14:00",
        "2011-12-31T10:00:00+14:00",
    ]


def test_a_mixed_duration_steps_the_calendar_first_and_then_lets_time_elapse():
    schedule = parse("R/2026-01-31T00:00:00/P1M1DT3H", "Europe/Paris")
    assert shown(schedule, 4) == [
        "2026-01-31T00:00:00+01:00",
        "2026-03-01T03:00:00+01:00",
        "2026-04-02T06:00:00+02:00",
        "2026-05-03T09:00:00+02:00",
    ]


@pytest.mark.parametrize(("n", "runs"), [("0", 0), ("1", 1), ("10", 10)])
def test_n_is_the_number_of_runs(n, runs):
    schedule = parse(f"R{n}/2026-01-01T00:00:00Z/PT1H")
    assert len(first(schedule, 20)) == runs
    assert schedule.remaining(EVER) == runs
    assert schedule.slot(runs) is None


def test_r_alone_is_endless():
    schedule = parse("R/2026-01-01T00:00:00Z/PT1H")
    assert schedule.remaining(EVER) is None
    assert schedule.slot(10**7).at == utc("2026-01-01T00:00:00Z") + timedelta(hours=10**7)


@pytest.mark.parametrize("text", ["R3/PT1H", "R3//PT1H"])
def test_a_form_without_a_start_begins_when_it_is_set(text):
    schedule = parse(text, anchor=SET_AT)
    assert schedule.needs_anchor
    assert [slot.at for slot in first(schedule, 9)] == [SET_AT + timedelta(hours=k) for k in range(3)]


@pytest.mark.parametrize("text", ["R3/PT1H", "R/P1D"])
def test_a_form_without_a_start_can_be_checked_but_has_no_slots_before_it_is_set(text):
    schedule = parse(text)
    assert "the moment at which the schedule is set" in schedule.describe()["en"]
    for ask in (
        lambda: schedule.next_after(SET_AT),
        lambda: schedule.slot(0),
        lambda: schedule.between(EVER, END),
        lambda: schedule.newest_between(EVER, END, 1),
    ):
        with pytest.raises(ValueError, match="without a start"):
            ask()


def test_an_anchor_does_not_move_a_start_that_is_written_down():
    assert parse("R1/2026-01-01T00:00:00Z/P1D", anchor=SET_AT).slot(0).at == utc("2026-01-01T00:00:00Z")


def test_an_anchor_without_a_zone_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="no zone"):
        parse("R/P1D", anchor=datetime(2026, 1, 1))


def test_a_start_in_the_past_has_slots_that_count_towards_n():
    schedule = parse("R10/2026-01-01T00:00:00Z/P1D")
    now = utc("2026-01-07T12:00:00Z")
    assert schedule.next_after(now) == Slot(7, utc("2026-01-08T00:00:00Z"))
    assert schedule.remaining(now) == 3


def test_start_and_end_are_one_period_of_elapsed_time_apart():
    schedule = parse("R3/2026-03-07T12:00:00/2026-03-08T12:00:00", "America/New_York")
    assert [slot.at for slot in first(schedule, 9)] == [
        utc("2026-03-07T12:00:00-05:00") + k * timedelta(hours=23) for k in range(3)
    ]


def test_an_end_without_an_offset_has_the_starts():
    schedule = parse("R/2026-01-01T00:00:00+08:00/2026-01-01T01:00:00", "America/New_York")
    assert schedule.slot(1).at - schedule.slot(0).at == timedelta(hours=1)


def test_weeks_are_seven_calendar_days():
    assert shown(parse("R/2026-03-06T09:00:00/P1W", "America/New_York"), 2)[1] == "2026-03-13T09:00:00-04:00"
    assert dates(parse("R/2026-01-01/P2W"), 3) == ["2026-01-01", "2026-01-15", "2026-01-29"]


def test_part_of_a_day_is_elapsed_time():
    assert parse("R/2026-01-01T00:00:00Z/P0.5D").slot(1).at == utc("2026-01-01T12:00:00Z")
    assert shown(parse("R/2026-03-07T12:00:00/P1.5D", "America/New_York"), 2)[1] == "2026-03-09T00:00:00-04:00"


@pytest.mark.parametrize(
    "start",
    [
        "2026-02-03T04:05:06Z",
        "20260203T040506Z",
        "2026-02-03T04:05:06,0Z",
        "2026-02-03T04:05:06+00",
        "2026-02-03T12:05:06+08:00",
        "20260203T120506+0800",
        "2026-02-03T12:05:06+0800",
        "2026-02-02T23:35:06-04:30",
        "2026-02-03T04:05.1Z",
        "20260203T0405.1Z",
        "2026-034T04:05:06Z",
        "2026034T040506Z",
        "2026-W06-2T04:05:06Z",
        "2026W062T040506Z",
        "2026-02-03T04:05:06",
    ],
)
def test_every_way_to_write_an_instant_is_the_same_instant(start):
    assert parse(f"R/{start}/PT1H").slot(0).at == utc("2026-02-03T04:05:06Z")


@pytest.mark.parametrize(
    ("start", "at"),
    [
        ("2026-02-03", "2026-02-03T00:00:00Z"),
        ("20260203", "2026-02-03T00:00:00Z"),
        ("2026-02-03T04Z", "2026-02-03T04:00:00Z"),
        ("2026-02-03T04.5Z", "2026-02-03T04:30:00Z"),
        ("2026-02-03T24:00Z", "2026-02-04T00:00:00Z"),
        ("2026-02-03T04:05:06.1234567891Z", "2026-02-03T04:05:06.123456Z"),
        ("2028-366", "2028-12-31T00:00:00Z"),
        ("2026-W53-7", "2027-01-03T00:00:00Z"),
    ],
)
def test_an_instant_may_be_short_or_have_a_fraction(start, at):
    assert parse(f"R/{start}/P1D").slot(0).at == utc(at)


@pytest.mark.parametrize(
    ("text", "zone", "last"),
    [
        ("R/9999-12-31T23:59:57Z/PT1S", None, "9999-12-31T23:59:59Z"),
        ("R/9999-11-30T00:00:00Z/P1M", None, "9999-12-30T00:00:00Z"),
        ("R/9999-12-29T00:00:00/P1D", "Asia/Shanghai", "9999-12-30T16:00:00Z"),
        ("R/9999-12-31T20:00:00Z/PT1H", "America/New_York", "9999-12-31T23:00:00Z"),
        ("R/9999-12-31T10:00:00Z/PT1H", "Asia/Shanghai", "9999-12-31T15:00:00Z"),
        ("R/2026-01-01/P9000Y", None, "2026-01-01T00:00:00Z"),
    ],
)
def test_nothing_runs_after_year_9999(text, zone, last):
    schedule = parse(text, zone)
    end = schedule.between(EVER, END).last
    assert end.at == utc(last)
    assert schedule.next_after(end.at) is None
    assert schedule.slot(end.index + 1) is None
    assert schedule.local(end.at).year <= 9999


def test_a_stretch_of_time_is_open_at_its_start_and_closed_at_its_end():
    schedule = parse("R/2026-01-01T00:00:00Z/PT1H")
    one, three = utc("2026-01-01T01:00:00Z"), utc("2026-01-01T03:00:00Z")
    assert schedule.between(one, three) == SlotRange(2, schedule.slot(2), schedule.slot(3))
    assert schedule.between(one, one) == SlotRange(0, None, None)
    assert schedule.between(three, one) == SlotRange(0, None, None)


def test_the_newest_slots_come_oldest_first():
    schedule = parse("R/2026-01-01T00:00:00Z/PT1H")
    one, four = utc("2026-01-01T01:00:00Z"), utc("2026-01-01T04:00:00Z")
    assert schedule.newest_between(one, four, 2) == [schedule.slot(3), schedule.slot(4)]
    assert schedule.newest_between(one, four, 9) == [schedule.slot(k) for k in (2, 3, 4)]
    assert schedule.newest_between(one, four, 0) == []


@pytest.mark.parametrize("text", ["R/1970-01-01T00:00:00Z/PT1S", "R/0001-01-01T00:00:00Z/P1D"])
def test_the_next_slot_after_an_age_of_them_takes_no_more_calls_than_after_few(text):
    now = utc("2026-11-24T10:11:12.5Z")
    assert parse(text).next_after(now).at - now < timedelta(days=1)
    assert calls(lambda: parse(text).next_after(now)) < 2000
    assert calls(lambda: parse(text).between(EVER, now)) < 3000
    assert calls(lambda: parse(text).newest_between(EVER, now, 5)) < 3000


def test_an_age_of_slots_is_counted_exactly():
    now = utc("2026-11-24T10:11:12.5Z")
    assert parse("R/1970-01-01T00:00:00Z/PT1S").between(EVER, now).count == int(now.timestamp()) + 1
    assert parse("R/0001-01-02T00:00:00Z/P1D").between(EVER, now).count == now.toordinal() - 1
    apia = parse("R/1900-01-01T00:00:00/P1D", "Pacific/Apia").between(EVER, utc("2026-01-01T00:00:00+13:00"))
    assert apia.count == (datetime(2026, 1, 1) - datetime(1900, 1, 1)).days


def test_the_largest_n_is_no_burden():
    schedule = parse("R1000000000000/2026-01-01T00:00:00Z/PT1S")
    assert schedule.remaining(EVER) == (END - utc("2026-01-01T00:00:00Z")) // timedelta(seconds=1) + 1


@pytest.mark.parametrize(
    ("text", "zone", "k", "note"),
    [
        ("R/2028-01-31/P1M", None, 1, "2028-02 has no day 31: its last day, 29, is taken"),
        (
            "R/2026-03-07T02:30:00/P1D",
            "America/New_York",
            1,
            "02:30 does not exist on 2026-03-08 in America/New_York, the clocks skip it: it runs at 03:00, right after",
        ),
        (
            "R/2026-10-31T01:30:00/P1D",
            "America/New_York",
            1,
            "01:30 occurs twice on 2026-11-01 in America/New_York, when the clocks go back: the first is taken",
        ),
    ],
)
def test_an_odd_slot_has_a_note_and_its_neighbours_have_none(text, zone, k, note):
    schedule = parse(text, zone)
    assert schedule.notes(schedule.slot(k)) == [note]
    assert schedule.notes(schedule.slot(k - 1)) == []


def test_elapsed_time_has_no_notes():
    schedule = parse("R/2026-11-01T00:30:00/PT1H", "America/New_York")
    assert [schedule.notes(slot) for slot in first(schedule, 4)] == [[], [], [], []]


def test_words_tell_a_written_start_in_full_and_when_a_schedule_was_set_to_the_second():
    written = parse("R1/2026-03-05T16:00:23.4460Z/PT1H").describe()
    assert written["en"] == "Runs once, at 2026-03-05 16:00:23.446 (UTC)."
    at = SET_AT.replace(second=10, microsecond=105_678)
    assert parse("R5/PT1H", anchor=at).describe() == {
        "en": "Runs every hour from 2026-05-04 12:00:10 (UTC), 5 times in all.",
        "zh": "从 2026-05-04 12:00:10 (UTC) 开始，每 1 小时执行一次，共 5 次。",
    }


@pytest.mark.parametrize(
    ("text", "zone", "english", "chinese"),
    [
        (
            "R1/2026-01-31T08:00:00Z/P1D",
            None,
            "Runs once, at 2026-01-31 08:00 (UTC).",
            "在 2026-01-31 08:00 (UTC) 执行一次。",
        ),
        (
            "R10/2026-01-31T08:00:00/P1M",
            "Asia/Shanghai",
            "Runs every month from 2026-01-31 08:00 (Asia/Shanghai), 10 times in all."
            " A month without day 31 uses its last day.",
            "从 2026-01-31 08:00 (Asia/Shanghai) 开始，每 1 个月执行一次，共 10 次。没有 31 日的月份取当月最后一天。",
        ),
        (
            "R/P1DT2H30M",
            None,
            "Runs every 1 day, 2 hours and 30 minutes from the moment at which the schedule is set, without end.",
            "从设定调度的那一刻开始，每 1 天 2 小时 30 分钟执行一次，一直重复。",
        ),
        ("R0/PT1H", None, "Never runs (R0).", "从不执行（R0）。"),
        ("R0/P1D/2026-03-31", None, "Never runs (R0).", "从不执行（R0）。"),
        ("R1/P1D/2026-03-31", None, "Runs once, at 2026-03-31 00:00 (UTC).", "在 2026-03-31 00:00 (UTC) 执行一次。"),
        (
            "R2/P1M/2026-03-31T08:00:00",
            "Asia/Shanghai",
            "Runs every month, 2 times in all, the last time at 2026-03-31 08:00 (Asia/Shanghai)."
            " A month without day 31 uses its last day.",
            "每 1 个月执行一次，共 2 次，最后一次在 2026-03-31 08:00 (Asia/Shanghai)。没有 31 日的月份取当月最后一天。",
        ),
    ],
)
def test_a_schedule_says_in_words_what_it_will_do(text, zone, english, chinese):
    assert parse(text, zone).describe() == {"en": english, "zh": chinese}
