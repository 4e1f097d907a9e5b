"""What is refused, and how the refusal helps."""

from datetime import UTC, datetime
from itertools import chain

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobd.errors import ScheduleError
from jobd.schedule import check_timezone, parse
from jobd.schedule.zone_names import ABBREVIATIONS, ALIASES

ANCHOR = datetime(2026, 5, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "position", "part"),
    [
        ("", 0, "empty"),
        ("hello", 0, "neither"),
        ("PT", 0, "neither"),
        ("2026-01-01T00:00:00Z/P1D", 0, "neither"),
        ("r1/2026-01-01T00:00:00Z/P1D", 0, "neither"),
        ("61 * * * *", 0, "minute '61' at character 1: is not made of numbers from 0 to 59"),
        ("R", 0, "parts"),
        ("R1/2026-01-01/P1D/P1D", 0, "parts"),
        ("R-1/2026-01-01/P1D", 0, "number of runs 'R-1'"),
        ("R1.5/2026-01-01/P1D", 0, "number of runs"),
        ("R1000000000001/2026-01-01/P1D", 0, "more than 1000000000000"),
        ("R/PT", 2, "duration 'PT'"),
        ("R/P", 2, "duration 'P'"),
        ("R/P1DT", 2, "duration"),
        ("R/P1H", 2, "duration"),
        ("R/P1D1M", 2, "duration"),
        ("R/p1d", 2, "duration"),
        ("R/P0D", 2, "zero"),
        ("R/PT0S", 2, "zero"),
        ("R/PT0.5S", 2, "shorter than a second"),
        ("R/PT0.9999999S", 2, "shorter than a second"),
        ("R/-P1D", 2, "sign"),
        ("R//-PT1H", 3, "sign"),
        ("R/P0.5M", 2, "fraction of a month"),
        ("R/P1,5Y", 2, "fraction of a month"),
        ("R/P1.5DT1H", 2, "fraction before its last unit"),
        ("R/P0001-00-04T05:06:07", 2, "duration"),
        ("R/P99999999999999999999D", 2, "longer than"),
        ("R/2026-01-01T00:00:00Z", 2, "duration"),
        ("R/2026-01-01/", 13, "missing"),
        ("R//", 3, "missing"),
        ("R//2026-01-01", 3, "duration"),
        ("R/P1D/P1D", 6, "second duration"),
        ("R/2026-01-01/-P1D", 13, "sign"),
        ("R5/2026-13-01/P1D", 3, "month must be in 1..12"),
        ("R5/2026-02-29/P1D", 3, "day"),
        ("R5/2026-366/P1D", 3, "no day 366"),
        ("R5/2026-W54-1/P1D", 3, "week"),
        ("R5/2026-01/P1D", 3, "start '2026-01'"),
        ("R5/2026-01-01 00:00/P1D", 3, "start"),
        ("R5/2026-01-01T25:00Z/P1D", 3, "hour"),
        ("R5/2026-01-01T24:01Z/P1D", 3, "hour"),
        ("R5/2026-01-01T00:00:60Z/P1D", 3, "second"),
        ("R5/2026-01-01T00:00:00+25:00/P1D", 3, "+25:00 is no offset"),
        ("R5/2026-01-01T00:00:00+08:60/P1D", 3, "offset"),
        ("R5/2026-01-01Z/P1D", 3, "start"),
        ("R5/20260101T00:00Z/P1D", 3, "in the date"),
        ("R5/0000-01-01/P1D", 3, "years go from 1 to 9999"),
        ("R5/10000-01-01/P1D", 3, "start"),
        ("R5/-0001-01-01/P1D", 3, "start"),
        ("R5/0001-01-01T00:00+08:00/P1D", 3, "years 1 to 9999"),
        ("R5/9999-12-31T23:00-08:00/P1D", 3, "years 1 to 9999"),
        ("R5/9999-12-31T24:00Z/P1D", 3, "years 1 to 9999"),
        ("R5/P1Y/0001-06-01", 0, "before year 1; expected R1/P1Y/0001-06-01"),
        ("R1000000000000/P1D/2026-01-01T00:00:00Z", 0, "before year 1; expected R739617/P1D/2026-01-01T00:00:00Z"),
        ("R/P1D/2026-12-24T00:00:00Z", 0, "number of runs 'R'"),
        ("R/P1D/2026-12-24T00:00:00Z", 0, "R/2026-12-24T00:00:00Z/P1D; expected R10/P1D/2026-12-24T00:00:00Z"),
        ("R5/2026-01-02/2026-01-01", 14, "a second or more after the start"),
        ("R5/2026-01-01/2026-01-01", 14, "a second or more after the start"),
        ("R5/2026-01-01T00:00Z/2026-01-01T00:00:00.5Z", 21, "a second or more after the start"),
        ("R１/2026-01-01/P1D", 1, "U+FF11 (FULLWIDTH DIGIT ONE)"),
        ("R/PТ1H", 3, "CYRILLIC"),
        ("R/2026‑01‑01/P1D", 6, "NON-BREAKING HYPHEN"),
        ("R/P1D\0", 5, "U+0000"),
        ("R/P1D\n", 5, "U+000A"),
        ("R/P1D ", 2, "duration"),
        (" R/P1D", 0, "begins with a blank"),
        ("R/P" + "1" * 253 + "D", 255, "257 characters, 255 are the most"),
        ("* * * * * *", 0, "no field for seconds"),
        ("* * * *", 0, "4 fields"),
        ("0 0 30 2 *", 4, "day-of-month '30' at character 5: none of the months has that day, so it would never run"),
        ("0 25 * * *", 2, "hour '25'"),
        ("0  0 1 13 *", 7, "month '13'"),
        ("0 0 * * FUNDAY", 8, "day-of-week 'FUNDAY'"),
        ("*/0 * * * *", 0, "minute '*/0'"),
        ("0 0 */15 * 1#2", 0, "no day ever matches"),
        ("@weekend", 0, "@hourly"),
        ("@Daily", 0, "@daily"),
        ("?", 0, "neither"),
    ],
)
def test_a_text_that_says_nothing_is_refused_with_its_part_its_place_and_a_right_one(text, position, part):
    with pytest.raises(ScheduleError) as caught:
        parse(text, anchor=ANCHOR)
    error = caught.value
    assert part in error.message
    assert error.position == position
    assert f"at character {position + 1}:" in error.message
    assert error.message.endswith(f"expected {error.example}")
    assert error.fields == {"schedule_mode": [error.message]}
    assert parse(error.example, anchor=ANCHOR).next_after(datetime.min.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars",
        "Europe/Berlim",
        "europe/berlin",
        "America",
        "../../etc/passwd",
        "/etc/localtime",
        "a\0b",
        "+08:00",
        "right/UTC",
        "中国",
    ],
)
def test_a_zone_that_is_none_is_refused_under_its_own_field(name):
    for ask in (lambda: parse("R/P1D", name), lambda: check_timezone(name)):
        with pytest.raises(ScheduleError) as caught:
            ask()
        assert list(caught.value.fields) == ["schedule_timezone"]
        check_timezone(caught.value.example)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("Asia/Peking", "expected Asia/Shanghai"),
        ("Asia/Beijing", "expected Asia/Shanghai"),
        ("China Standard Time", "expected Asia/Shanghai"),
        ("Europe/Munich", "expected Europe/Berlin"),
        ("europe/berlin", "expected Europe/Berlin"),
        ("Berlin", "expected Europe/Berlin"),
        ("new york", "expected America/New_York"),
        ("CST", "an abbreviation does not name one; expected America/Chicago or Asia/Shanghai"),
        ("JST", "an abbreviation does not name one; expected Asia/Tokyo"),
        ("UTC+8", "the zone of an offset has the other sign; expected Etc/GMT-8"),
        ("-03:00", "the zone of an offset has the other sign; expected Etc/GMT+3"),
        ("+05:30", "expected a name such as Asia/Shanghai"),
        ("Mars", "expected a name such as Asia/Shanghai"),
        ("Asia/Atlantis", "expected a name such as Asia/Shanghai"),
    ],
)
def test_a_zone_is_told_what_was_meant_and_nothing_that_misleads(name, right):
    with pytest.raises(ScheduleError) as caught:
        check_timezone(name)
    assert caught.value.message.endswith(right)


@pytest.mark.parametrize("zone", sorted({*ALIASES.values(), *chain(*ABBREVIATIONS.values())}))
def test_what_a_name_is_told_to_mean_is_a_zone(zone):
    check_timezone(zone)


@pytest.mark.parametrize("name", list(ALIASES))
def test_no_name_that_is_a_zone_is_told_to_mean_another(name):
    with pytest.raises(ScheduleError):
        check_timezone(name)


def test_a_misspelt_zone_is_told_the_one_that_was_meant():
    with pytest.raises(ScheduleError, match="expected Europe/Berlin"):
        parse("@daily", "Europe/Berlim")


@pytest.mark.parametrize(
    "text",
    [
        "R1000000000000/2026-01-01/P1D",
        "R/PT1S",
        "R/PT1.5S",
        "R/P1Y2M3W4DT5H6M7.8S",
        "R/P0Y1D",
        "R007/P1D",
        "R/P" + "0" * 250 + "1D",
    ],
)
def test_the_edges_of_what_is_allowed_are_allowed(text):
    assert parse(text, anchor=ANCHOR).next_after(ANCHOR)


@pytest.mark.parametrize(
    ("text", "position", "why", "right"),
    [
        ("CRON_TZ=Asia/Shanghai 30 2 * * *", 0, "the zone goes into schedule_timezone: Asia/Shanghai", "30 2 * * *"),
        ("TZ=UTC @every 1h", 0, "the zone goes into schedule_timezone: UTC", "R/PT1H"),
        ("@every 1h30m", 0, "@every is not known", "R/PT1H30M"),
        ("@every 90s", 0, "@every is not known", "R/PT90S"),
        ("@every 1.5s", 0, "@every is not known", "R/PT1.5S"),
        ("@reboot", 0, "once, as soon as it is set", "R1/PT1S"),
        ("@Daily", 0, "not known by that name", "@daily"),
        ("@quarterly", 0, "not known by that name", "0 0 1 1,4,7,10 *"),
        ("@dayly", 0, "is none of", "@daily"),
        ("22-5 * * * *", 0, "across the end it is a list", "22-59,0-5 * * * *"),
        ("0 22-5 * * *", 2, "across the end it is a list", "0 22-23,0-5 * * *"),
        ("0 22-6/2 * * *", 2, "across the end it is a list", "0 22,0,2,4,6 * * *"),
        ("0 0 * * SAT-SUN", 8, "across the end it is a list", "0 0 * * SAT,SUN"),
        ("0 0 * * fri-mon", 8, "across the end it is a list", "0 0 * * FRI-SAT,SUN-MON"),
        ("0 0 * NOV-FEB *", 6, "across the end it is a list", "0 0 * NOV-DEC,JAN-FEB *"),
        (
            "R/2026-01-31T08:00:00+08:00[Asia/Shanghai]/P1M",
            27,
            "goes into schedule_timezone: Asia/Shanghai",
            "R/2026-01-31T08:00:00+08:00/P1M",
        ),
        (" R/P1D", 0, "begins with a blank", "R/P1D"),
        ("\tR5/2026-01-31/P1D ", 0, "begins with a blank", "R5/2026-01-31/P1D"),
        (" @daily", 0, "begins with a blank", "@daily"),
        ("R/P1D ", 2, "duration 'P1D '", "R/P1D"),
        ("R/P1D\n", 5, "U+000A", "R/P1D"),
        ("R / P1D", 0, "number of runs 'R '", "R/P1D"),
        ("0 30 2 * * *", 0, "no field for seconds", "30 2 * * *"),
        ("*/10 * * * * *", 0, "no field for seconds", "R/PT10S"),
        ("* * * * * *", 0, "no field for seconds", "R/PT1S"),
        ("0 30 2 * * ?", 0, "no field for seconds", "30 2 * * *"),
        ("0 0 12 ? * 2-6", 0, "no field for seconds", "0 12 * * MON-FRI"),
        ("0 0 12 ? * 6L", 0, "no field for seconds", "0 12 * * 5L"),
        ("0 0 12 ? * 6#3 2026", 0, "no field for seconds or years", "0 12 * * 5#3"),
        ("0 0 ? * MON", 4, "any value is written *", "0 0 * * MON"),
        (" 0 0 * * ?", 9, "any value is written *", "0 0 * * *"),
        ("cron(0 12 * * ? *)", 0, "without cron(", "0 12 * * *"),
        ("cron(0 12 ? * 2-6 *)", 0, "without cron(", "0 12 * * MON-FRI"),
        ("rate(5 minutes)", 0, "repeating interval", "R/PT5M"),
        ("rate(1 day)", 0, "repeating interval", "R/P1D"),
        ("at(2026-11-20T13:00:00)", 0, "repeating interval", "R1/2026-11-20T13:00:00/P1D"),
        ("H 2 * * *", 0, "H is Jenkins' own", "17 2 * * *"),
        ("H/15 * * * *", 0, "H is Jenkins' own", "*/15 * * * *"),
        ("H(0-29)/10 * * * *", 0, "H is Jenkins' own", "0-29/10 * * * *"),
        ("Mon..Fri *-*-* 02:30:00", 0, "systemd", "30 2 * * Mon-Fri"),
        ("*-*-01 00:00:00", 0, "systemd", "0 0 1 * *"),
        ("*:0/15", 0, "systemd", "*/15 * * * *"),
        ("OnCalendar=Mon,Wed 09:00", 0, "more than the schedule", "0 9 * * Mon,Wed"),
        ("weekly", 0, "not known by that name", "@weekly"),
        ("RRULE:FREQ=DAILY;INTERVAL=2;COUNT=10", 0, "more than the schedule", "R10/P2D"),
        ("FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9;BYMINUTE=0", 0, "RFC 5545", "0 9 * * MON,WED"),
        ("DTSTART:20260101T090000Z RRULE:FREQ=WEEKLY", 0, "RFC 5545", "R/20260101T090000Z/P1W"),
        ("p1d", 0, "neither", "R/P1D"),
        ("R/p1d", 2, "duration 'p1d'", "R/P1D"),
        ("r5/2026-01-01t00:00:00z/pt1h", 0, "neither", "R5/2026-01-01T00:00:00Z/PT1H"),
        ("R/P1H", 2, "duration 'P1H'", "R/PT1H"),
        ("R/P1D12H", 2, "duration 'P1D12H'", "R/P1DT12H"),
        ("R/1h30m", 2, "duration '1h30m'", "R/PT1H30M"),
        ("1h30m", 0, "a period", "R/PT1H30M"),
        ("every 5 minutes", 0, "a period", "R/PT5M"),
        ("every day", 0, "a period", "R/P1D"),
        ("every day at 2:30", 0, "a time of day", "30 2 * * *"),
        ("2026-01-01T00:00:00Z", 0, "neither", "R1/2026-01-01T00:00:00Z/P1D"),
        ("2026-01-01T00:00:00Z/P1D", 0, "neither", "R/2026-01-01T00:00:00Z/P1D"),
        ("R5/2026-01-01 00:00/P1D", 3, "start", "R5/2026-01-01T00:00/P1D"),
        ("R１/2026-01-01/P1D", 1, "FULLWIDTH", "R1/2026-01-01/P1D"),
        ("0 0 * * MONDAY", 8, "three letters", "0 0 * * MON"),
        ("0 0 1 January *", 6, "three letters", "0 0 1 JAN *"),
        ("0 0 * * FRIL", 8, "a number and L", "0 0 * * 5L"),
        ("0 24 * * *", 2, "hours go from 0 to 23", "0 0 * * *"),
        ("0 0-24 * * *", 2, "hours go from 0 to 23", "0 0-23 * * *"),
        ("60 * * * *", 0, "minutes go from 0 to 59", "0 * * * *"),
        ("0 0 L-3 * *", 4, "L and LW are", "0 0 L * *"),
        ("0 0 1, 15 * *", 0, "6 fields", "0 0 1,15 * *"),
        ("0 0 * * MON - FRI", 0, "7 fields", "0 0 * * MON-FRI"),
        ('"30 2 * * *"', 0, "in quotes", "30 2 * * *"),
        ("30 2 * * * /usr/bin/backup --all", 0, "what follows the fifth field", "30 2 * * *"),
    ],
)
def test_a_form_of_another_program_is_told_what_to_write_here(text, position, why, right):
    with pytest.raises(ScheduleError) as caught:
        parse(text)
    error = caught.value
    assert why in error.message
    assert (error.position, error.example) == (position, right)
    assert error.message.endswith(f"; expected {right}")
    assert parse(right)


VALID = (
    "R1/2015-12-31T16:00:23.446Z/PT1H",
    "R/20260131T080000+0800/P1M2DT3H",
    "R5/P1W/2026-02-28",
    "R//P1Y",
    "*/5 9-17 1,L * MON-FRI",
    "0 0 29 2 1#5",
    "@weekly",
)


@st.composite
def nearly_valid(draw) -> str:
    text = list(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text)))
        text[place : place + draw(st.integers(0, 3))] = draw(st.text("RPTWYMDHSZL#*/-+:., @0123456789\0é", max_size=3))
    return "".join(text)


@given(st.one_of(nearly_valid(), st.text(), st.text("RPTYMWDHSZL#*/-+:., @0123456789")))
@settings(max_examples=1500, deadline=None)
@example("R/P" + "9" * 200 + "Y")
@example("R/PT" + "9" * 200 + "S")
@example("R/2026-01-01T00." + "9" * 200 + "/P1D")
@example("R" + "9" * 200 + "/P1D")
@example("9" * 100 + " * * * *")
@example("\ud800")
@example("cron(" * 50 + ")" * 5)
@example("TZ=" + "a" * 100 + " TZ=b " * 20)
@example("\"'" * 100)
@example("@every " + "9" * 200 + "h")
@example("22-5/" + "9" * 200 + " * * * *")
def test_whatever_the_text_it_is_read_or_refused_and_what_is_read_can_be_used(text):
    try:
        schedule = parse(text, anchor=ANCHOR)
    except ScheduleError as error:
        assert 0 <= error.position <= len(text)
        return
    assert set(schedule.describe()) == {"en", "zh"}
    slot = schedule.next_after(ANCHOR)
    assert slot is None or schedule.notes(slot) is not None
    assert len(schedule.newest_between(ANCHOR, ANCHOR.replace(day=6), 5)) <= 5


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_whatever_the_zone_it_is_known_or_refused(name):
    try:
        parse("R/P1D", name)
    except ScheduleError as error:
        assert list(error.fields) == ["schedule_timezone"]
