"""A cron expression in words names the days and times at which it runs, and no others."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from jobd.errors import ScheduleError
from jobd.schedule import parse
from tests.cron_reader import read_chinese, read_english

YEARS = [date(2027, 1, 1) + timedelta(days=n) for n in range(731)]
"""Two years, a leap year among them."""
MONTH_NAMES = ["JAN", "feb", "Mar", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAY_NAMES = ["SUN", "Mon", "TUE", "WED", "THU", "fri", "SAT"]


@lru_cache(maxsize=4096)
def days_that_run(days: str) -> set[date]:
    """`days`: the last three fields."""
    after = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    until = datetime(2028, 12, 31, 23, 59, tzinfo=UTC)
    return {slot.at.date() for slot in parse(f"0 0 {days}").newest_between(after, until, 10_000)}


@lru_cache(maxsize=4096)
def minutes_that_run(times: str) -> set[int]:
    """`times`: the first two fields."""
    begin = datetime(2027, 1, 1, tzinfo=UTC)
    slots = parse(f"{times} * * *").newest_between(begin - timedelta(minutes=1), begin + timedelta(hours=23.99), 10_000)
    return {(slot.at - begin) // timedelta(minutes=1) for slot in slots}


@st.composite
def terms(draw, low: int, high: int, names: list[str] | None = None) -> str:
    """A number, a name, a range or `*`, with or without a step."""
    kind = draw(st.sampled_from(["number", "number", "range", "star", "step", "range step"]))
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    step = draw(st.integers(1, high + 40))

    def written(number: int) -> str:
        return names[number - low] if names and number - low < len(names) and draw(st.booleans()) else str(number)

    return {
        "number": written(first),
        "range": f"{written(first)}-{written(last)}",
        "star": "*",
        "step": f"*/{step}",
        "range step": f"{written(first)}-{written(last)}/{step}",
    }[kind]


def lists(term: st.SearchStrategy[str], most: int = 4) -> st.SearchStrategy[str]:
    return st.lists(term, min_size=1, max_size=most).map(",".join)


month_days = lists(st.one_of(terms(1, 31), terms(1, 31), st.sampled_from(["L", "LW"])))
months = st.one_of(st.just("*"), lists(terms(1, 12, MONTH_NAMES), 3))
nth_weekdays = st.builds("{}#{}".format, st.integers(0, 7), st.integers(1, 5)) | st.builds(
    "{}L".format, st.integers(0, 7)
)
weekdays = st.one_of(st.just("*"), lists(st.one_of(terms(0, 7, DAY_NAMES), terms(0, 7, DAY_NAMES), nth_weekdays)))
days = st.builds("{} {} {}".format, st.just("*") | month_days, months, weekdays)
times = st.builds("{} {}".format, lists(terms(0, 59)), lists(terms(0, 23)))


@given(times, days)
@settings(max_examples=400, deadline=None)
@example("0 0", "1-31 * 1")
@example("0 0", "1 * 0-7")
@example("0 0", "13 * FRI")
@example("0 0", "*/2 * 1")
@example("0 0", "* * 0,7")
@example("0 0", "29 2 1")
@example("*/7 *", "31 * *")
@example("*/90 *", "22,23,31 1-3 *")
@example("*/61 9-17", "LW 3,6 5L,1#2,3")
@example("* 22,23,0-5", "1-30,L * *")
@example("5-20,40 */2", "L * 1-5")
@example("*/15 9-17", "1 1 *")
@example("0 */2", "1,15 1 *")
@example("* *", "* * *")
@example("0 *", "* 1-6 *")
@example("30 *", "1 1 */2")
def test_the_words_name_the_minutes_and_days_that_run_and_no_others(times, days):
    try:
        words = parse(f"{times} {days}").describe()
    except ScheduleError:
        assume(False)
    for reading in (read_english(words["en"]), read_chinese(words["zh"])):
        assert reading.times == minutes_that_run(times)
        assert {day for day in YEARS if reading.days(day)} == days_that_run(days)


@pytest.mark.parametrize(
    ("text", "english", "chinese"),
    [
        ("30 2 * * *", "At 02:30 every day, in Asia/Shanghai time.", "每天 02:30 执行（时区 Asia/Shanghai）。"),
        ("* * * * *", "Every minute, in Asia/Shanghai time.", "每分钟执行（时区 Asia/Shanghai）。"),
        ("@hourly", "Every hour on the hour, in Asia/Shanghai time.", "每小时整点执行（时区 Asia/Shanghai）。"),
        (
            "0,30 9-17 * * MON-FRI",
            "Every 30 minutes from 09:00 through 17:30 on Monday through Friday, in Asia/Shanghai time.",
            "每周一至周五 09:00 至 17:30 每 30 分钟执行（时区 Asia/Shanghai）。",
        ),
        (
            "0 0 L * *",
            "At 00:00 on the last day of every month, in Asia/Shanghai time.",
            "每月最后一天 00:00 执行（时区 Asia/Shanghai）。",
        ),
        ("@yearly", "At 00:00 on January 1, in Asia/Shanghai time.", "1 月 1 日 00:00 执行（时区 Asia/Shanghai）。"),
        ("0 0 1-31 * 1", "At 00:00 every day, in Asia/Shanghai time.", "每天 00:00 执行（时区 Asia/Shanghai）。"),
        ("0 0 1 * 0-7", "At 00:00 every day, in Asia/Shanghai time.", "每天 00:00 执行（时区 Asia/Shanghai）。"),
        (
            "0 0 13 * FRI",
            "At 00:00 on the 13th or any Friday of every month, in Asia/Shanghai time.",
            "每月的 13 日或任意周五 00:00 执行（时区 Asia/Shanghai）。",
        ),
        (
            "0 0 1-7 * */7",
            "At 00:00 on the 1st through the 7th of every month, only if it is a Sunday, in Asia/Shanghai time.",
            "每月 1 日至 7 日（仅限周日）00:00 执行（时区 Asia/Shanghai）。",
        ),
        ("0 0 * * 0,7", "At 00:00 on Sunday, in Asia/Shanghai time.", "每周日 00:00 执行（时区 Asia/Shanghai）。"),
        (
            "0 0 1,2,3,11,12,13,21,22,23 7 *",
            "At 00:00 on the 1st through the 3rd, the 11th through the 13th and the 21st through the 23rd of July,"
            " in Asia/Shanghai time.",
            "7 月的 1 日至 3 日、11 日至 13 日、21 日至 23 日 00:00 执行（时区 Asia/Shanghai）。",
        ),
        (
            "5-20,40 */2 1,15,L 1 MON-WED",
            "At minutes 5 through 20 and 40 past every 2nd hour from 0 through 22 on the 1st, the 15th, the last day"
            " or any day from Monday through Wednesday of January, in Asia/Shanghai time.",
            "1 月的 1 日、15 日、最后一天或任意周一至周三 0 点至 22 点每 2 小时的第 5 至 20、40 分执行"
            "（时区 Asia/Shanghai）。",
        ),
    ],
)
def test_a_cron_expression_says_in_words_what_it_will_do(text, english, chinese):
    assert parse(text, "Asia/Shanghai").describe() == {"en": english, "zh": chinese}


@pytest.mark.parametrize(
    ("text", "english", "chinese"),
    [
        (
            "*/90 * * * *",
            "A step of 90 minutes ends with the hour, so it is once in each hour; evenly every 90 minutes would be"
            " R/PT90M.",
            "步长 90 分钟超出一小时，因此每小时只有一次；均匀地每 90 分钟一次应写作 R/PT90M。",
        ),
        (
            "*/7 * * * *",
            "The minutes begin anew with each hour, where the gap is only 4 minutes; evenly every 7 minutes would be"
            " R/PT7M.",
            "步长在每小时开始时重新计算，交界处的间隔只有 4 分钟；均匀地每 7 分钟一次应写作 R/PT7M。",
        ),
        (
            "0 */5 * * *",
            "The hours begin anew with each day, where the gap is only 4 hours; evenly every 5 hours would be R/PT5H.",
            "步长在每天开始时重新计算，交界处的间隔只有 4 小时；均匀地每 5 小时一次应写作 R/PT5H。",
        ),
        (
            "0 0 */2 * *",
            "The days begin anew with each month, where the gap can be shorter; evenly every 2 days would be R/P2D.",
            "步长在每月开始时重新计算，交界处的间隔可能更短；均匀地每 2 天一次应写作 R/P2D。",
        ),
        (
            "0 0 1 */5 *",
            "The months begin anew with each year, where the gap is only 2 months; evenly every 5 months would be"
            " R/P5M.",
            "步长在每年开始时重新计算，交界处的间隔只有 2 个月；均匀地每 5 个月一次应写作 R/P5M。",
        ),
        (
            "0 1 31 * *",
            "February, April, June, September and November have no day 31, and no run for it. L is the last day of"
            " every month.",
            "2 月、4 月、6 月、9 月、11 月没有 31 日，届时不会执行。每月最后一天写作 L。",
        ),
        (
            "0 1 29 * *",
            "February has a day 29 in leap years only. L is the last day of every month.",
            "2 月只有闰年才有 29 日。每月最后一天写作 L。",
        ),
        (
            "0 1 30 * FRI",
            "February has no day 30, and no run for it. L is the last day of every month.",
            "2 月没有 30 日，届时不会执行。每月最后一天写作 L。",
        ),
    ],
)
def test_what_surprises_about_a_cron_expression_is_noted(text, english, chinese):
    words = parse(text).describe()
    assert words["en"].partition(" time. ")[2] == english
    assert words["zh"].partition("（时区 UTC）。")[2] == chinese


@pytest.mark.parametrize(
    "text",
    ["*/15 * * * *", "*/2 */6 * * *", "*/7 9 * * *", "0 0 31 1,3 *", "0 0 25-31 * *", "0 0 * * 5", "0 0 1-31 */2 1"],
)
def test_what_runs_as_anyone_expects_has_no_note(text):
    words = parse(text).describe()
    assert words["en"].endswith(", in UTC time.")
    assert words["zh"].endswith("（时区 UTC）。")
