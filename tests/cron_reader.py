"""Reads the words that describe a cron expression back: which minutes of a day, and which days."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

Days = Callable[[date], bool]

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WEEKDAYS_ZH = [f"周{day}" for day in "一二三四五六日"]


@dataclass(frozen=True)
class Reading:
    """`times`: the minutes since midnight."""

    times: set[int]
    days: Days


def last_day(day: date) -> bool:
    return (day + timedelta(days=1)).month != day.month


def last_weekday(day: date) -> bool:
    """The last day from Monday to Friday of its month."""
    left = [day + timedelta(days=n) for n in range(1, 8)]
    return day.weekday() < 5 and not any(other.month == day.month and other.weekday() < 5 for other in left)


def nth(weekday: int, which: int | None) -> Days:
    """The `which`-th such weekday (0 is Monday) of the month; None: the last."""

    def matches(day: date) -> bool:
        if which is None:
            return day.weekday() == weekday and (day + timedelta(days=7)).month != day.month
        return day.weekday() == weekday and (day.day - 1) // 7 + 1 == which

    return matches


def any_of(rules: list[Days]) -> Days:
    return lambda day: any(rule(day) for rule in rules)


def both(one: Days, other: Days) -> Days:
    return lambda day: one(day) and other(day)


def month_day(days: set[int]) -> Days:
    return lambda day: day.day in days


def in_months(months: set[int]) -> Days:
    return lambda day: day.month in months


def on_weekdays(weekdays: set[int]) -> Days:
    return lambda day: day.weekday() in weekdays


def always(day: date) -> bool:
    return True


def span(first: int, last: int, step: int = 1) -> set[int]:
    return set(range(first, last + 1, step))


def read_english(words: str) -> Reading:
    """The first sentence; it must be readable in one way only."""
    body, end, _ = words.partition(", in UTC time.")
    assert end, words
    body = body[0].lower() + body[1:]
    readings = [
        Reading(times, days)
        for pattern, times_of in ENGLISH_TIMES
        if (match := re.match(pattern, body))
        for days in [english_days(body[match.end() :].strip())]
        if days is not None
        for times in [times_of(match)]
    ]
    assert len(readings) == 1, (words, len(readings))
    return readings[0]


LIST = r"\d+(?: through \d+)?(?:(?:, | and )\d+(?: through \d+)?)*"
END = r"(?= on (?!the hour)| every day|$)"


def english_numbers(text: str, unit: str, size: int) -> set[int]:
    if text == f"every {unit}":
        return set(range(size))
    if match := re.fullmatch(rf"every (\d+)(?:st|nd|rd|th) {unit} from (\d+) through (\d+)", text):
        return span(int(match[2]), int(match[3]), int(match[1]))
    return numbers(re.fullmatch(rf"{unit}s? ({LIST})", text)[1], " through ", ", | and ")


def numbers(text: str, through: str, between: str) -> set[int]:
    values = set()
    for item in re.split(between, text):
        first, _, last = item.partition(through)
        values |= span(int(first), int(last or first))
    return values


def clocks(match: re.Match[str]) -> set[int]:
    return {int(hour) * 60 + int(minute) for hour, minute in re.findall(r"(\d\d):(\d\d)", match[0])}


def stepped(match: re.Match[str]) -> set[int]:
    amount, unit, *clock = match.groups()
    first, last = int(clock[0]) * 60 + int(clock[1]), int(clock[2]) * 60 + int(clock[3])
    return span(first, last, int(amount or 1) * (60 if unit in ("hour", "小时") else 1))


def past(match: re.Match[str]) -> set[int]:
    minutes, hours = english_numbers(match[1], "minute", 60), english_numbers(match[2], "hour", 24)
    return {hour * 60 + minute for hour in hours for minute in minutes}


ENGLISH_TIMES: list[tuple[str, Callable[[re.Match[str]], set[int]]]] = [
    (rf"at \d\d:\d\d(?:(?:, | and )\d\d:\d\d)*{END}", clocks),
    (rf"every (?:(\d+) )?(minute|hour)s? from (\d\d):(\d\d) through (\d\d):(\d\d){END}", stepped),
    (rf"every (?:(\d+) )?minutes?{END}", lambda match: span(0, 1439, int(match[1] or 1))),
    (rf"every hour on the hour{END}", lambda match: span(0, 1439, 60)),
    (rf"every hour at minute (\d+){END}", lambda match: span(int(match[1]), 1439, 60)),
    (
        rf"at (every minute|minutes? {LIST}|every \d+\w\w minute from \d+ through \d+) past "
        rf"(every hour|hours? {LIST}|every \d+\w\w hour from \d+ through \d+){END}",
        past,
    ),
]


def english_days(text: str) -> Days | None:
    if text in ("", "every day"):
        return always
    if match := re.fullmatch(r"every day in (.*)", text):
        return in_months(english_months(match[1]))
    if match := re.fullmatch(rf"on ({'|'.join(MONTHS)}) (\d+)(?:, only if it is (.*))?", text):
        one = both(in_months({MONTHS.index(match[1]) + 1}), month_day({int(match[2])}))
        return both(one, english_items(match[3])) if match[3] else one
    if match := re.fullmatch(r"on (.*?) of (.*?)(?:, only if it is (.*))?", text):
        one = both(english_items(match[1]), in_months(english_months(match[2])))
        return both(one, english_items(match[3])) if match[3] else one
    if match := re.fullmatch(r"on (.*?)(?: in (.*))?", text):
        return both(english_items(match[1]), in_months(english_months(match[2] or "every month")))
    return None


def english_months(text: str) -> set[int]:
    if text == "every month":
        return set(range(1, 13))
    values = set()
    for item in re.split(", | and ", text):
        first, _, last = item.partition(" through ")
        values |= span(MONTHS.index(first) + 1, MONTHS.index(last or first) + 1)
    return values


def english_items(text: str) -> Days:
    return any_of([english_item(item) for item in re.split(", | and | or ", text)])


def english_item(text: str) -> Days:
    weekday = "|".join(WEEKDAYS)
    if text in ("the last day", "the last weekday"):
        return last_day if text == "the last day" else last_weekday
    if match := re.fullmatch(r"every (\d+)\w\w day from the (\d+)\w\w through the (\d+)\w\w", text):
        return month_day(span(int(match[2]), int(match[3]), int(match[1])))
    if match := re.fullmatch(r"the (\d+)(st|nd|rd|th)(?: through the (\d+)(st|nd|rd|th))?", text):
        for number, suffix in (match.group(1, 2), match.group(3, 4)):
            assert number is None or suffix == ordinal_suffix(int(number)), text
        return month_day(span(int(match[1]), int(match[3] or match[1])))
    if match := re.fullmatch(rf"(?:(?:any |a )?(?:day from )?)({weekday})(?: through ({weekday}))?", text):
        return on_weekdays(span(WEEKDAYS.index(match[1]), WEEKDAYS.index(match[2] or match[1])))
    match = re.fullmatch(rf"the (\d\w\w|last) ({weekday})", text)
    assert match, text
    return nth(WEEKDAYS.index(match[2]), None if match[1] == "last" else int(match[1][0]))


def ordinal_suffix(number: int) -> str:
    if number in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def read_chinese(words: str) -> Reading:
    """The first sentence; it must be readable in one way only."""
    body, end, _ = words.partition("执行（时区 UTC）。")
    assert end, words
    body = body.replace(" ", "")
    readings = [
        Reading(times_of(times), days)
        for days, end in chinese_days(body)
        for pattern, times_of in CHINESE_TIMES
        if (times := re.fullmatch(pattern, body[end:]))
    ]
    assert len(readings) == 1, (words, len(readings))
    return readings[0]


ZH_NUMBERS = r"\d+(?:至\d+)?(?:、\d+(?:至\d+)?)*"
ZH_HOURS = r"\d+点(?:至\d+点)?(?:、\d+点(?:至\d+点)?)*"
ZH_MONTHS = r"\d+月(?:至\d+月)?(?:、\d+月(?:至\d+月)?)*"
ZH_DAY = r"(?:\d+日至\d+日每\d+天|\d+日(?:至\d+日)?|最后一天|最后一个工作日)"
ZH_WEEKDAY = r"(?:第\d个周[一二三四五六日]|最后一个周[一二三四五六日]|周[一二三四五六日](?:至周[一二三四五六日])?)"


def chinese_hours(text: str) -> set[int]:
    if text == "每小时":
        return set(range(24))
    if match := re.fullmatch(r"(\d+)点至(\d+)点每(\d+)小时", text):
        return span(*(int(number) for number in match.groups()))
    return numbers(text.replace("点", ""), "至", "、")


def chinese_minutes(text: str) -> set[int]:
    if text == "每分钟":
        return set(range(60))
    if match := re.fullmatch(r"第(\d+)分至第(\d+)分每(\d+)分钟", text):
        return span(*(int(number) for number in match.groups()))
    return numbers(text[1:-1], "至", "、")


def chinese_past(match: re.Match[str]) -> set[int]:
    return {hour * 60 + minute for hour in chinese_hours(match[1]) for minute in chinese_minutes(match[2])}


def chinese_stepped(match: re.Match[str]) -> set[int]:
    first, last = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    return span(first, last, int(match[5] or 1) * (60 if match[6] == "小时" else 1))


CHINESE_TIMES: list[tuple[str, Callable[[re.Match[str]], set[int]]]] = [
    (r"\d\d:\d\d(?:、\d\d:\d\d)*", clocks),
    (r"(\d\d):(\d\d)至(\d\d):(\d\d)每(\d*)(分钟|小时)", chinese_stepped),
    (r"每(\d*)分钟", lambda match: span(0, 1439, int(match[1] or 1))),
    (r"每小时整点", lambda match: span(0, 1439, 60)),
    (
        rf"(每小时|\d+点至\d+点每\d+小时|{ZH_HOURS})的(每分钟|第\d+分至第\d+分每\d+分钟|第{ZH_NUMBERS}分)",
        chinese_past,
    ),
]


def chinese_days(body: str) -> Iterator[tuple[Days, int]]:
    """Each way in which a beginning of `body` names days, and where that ends."""
    days, weekdays = rf"{ZH_DAY}(?:、{ZH_DAY})*", rf"{ZH_WEEKDAY}(?:、{ZH_WEEKDAY})*"
    months = rf"(?:每月|{ZH_MONTHS})"
    yield always, 0
    if match := re.match(rf"(?:({ZH_MONTHS}))?每天", body):
        yield chinese_months(match[1] or "每月"), match.end()
    if match := re.match(rf"({months})的({days})或任意({weekdays})", body):
        either = any_of([chinese_items(match[2]), chinese_items(match[3])])
        yield both(chinese_months(match[1]), either), match.end()
    elif match := re.match(rf"({months})的?({days})(?:（仅限({weekdays})）)?", body):
        one = both(chinese_months(match[1]), chinese_items(match[2]))
        yield (both(one, chinese_items(match[3])) if match[3] else one), match.end()
    if match := re.match(rf"(?:({ZH_MONTHS})的)?每({weekdays})", body):
        yield both(chinese_months(match[1] or "每月"), chinese_items(match[2])), match.end()
    if match := re.match(rf"({months})的({weekdays})", body):
        yield both(chinese_months(match[1]), chinese_items(match[2])), match.end()


def chinese_months(text: str) -> Days:
    return always if text == "每月" else in_months(numbers(text.replace("月", ""), "至", "、"))


def chinese_items(text: str) -> Days:
    return any_of([chinese_item(item) for item in text.split("、")])


def chinese_item(text: str) -> Days:
    if text in ("最后一天", "最后一个工作日"):
        return last_day if text == "最后一天" else last_weekday
    if match := re.fullmatch(r"(\d+)日至(\d+)日每(\d+)天", text):
        return month_day(span(*(int(number) for number in match.groups())))
    if match := re.fullmatch(r"(\d+)日(?:至(\d+)日)?", text):
        return month_day(span(int(match[1]), int(match[2] or match[1])))
    if match := re.fullmatch(r"(第(\d)个|最后一个)(周.)", text):
        return nth(WEEKDAYS_ZH.index(match[3]), int(match[2]) if match[2] else None)
    first, _, last = text.partition("至")
    return on_weekdays(span(WEEKDAYS_ZH.index(first), WEEKDAYS_ZH.index(last or first)))
