"""A cron expression in Chinese: the days, then the time of day, from the sets that cronsim uses."""

import re
from collections.abc import Sequence

from jobd.schedule.cron_sets import LAST, CronSets, DayRule, Run, listed, runs

WEEKDAYS = "一二三四五六日"
_BETWEEN_SCRIPTS = re.compile(r"(?<=[\u4e00-\u9fff])(?=[0-9])|(?<=[0-9])(?=[\u4e00-\u9fff])")


def sentence(sets: CronSets, zone: str) -> str:
    """The sentence for these sets; `zone` is the name of the time zone."""
    return f"{spaced(f'{_days(sets)}{_times(sets)}执行')}（时区 {zone}）。"


def spaced(text: str) -> str:
    """The text with a blank wherever a number stands beside a Chinese character."""
    return _BETWEEN_SCRIPTS.sub(" ", text)


def month_series(months: Sequence[int]) -> str:
    return "、".join(listed(months, lambda month: f"{month}月", _through))


def _times(sets: CronSets) -> str:
    hours, minutes = sets.hours, sets.minutes
    if sets.are_times_few:
        return "、".join(_clock(hour, minute) for hour in hours for minute in minutes)
    if sets.is_every_hour and (sets.is_every_minute or sets.even_minutes):
        return f"每{_amount(sets.even_minutes or 1, '分钟')}"
    if sets.is_every_hour and minutes == [0]:
        return "每小时整点"
    stretch = sets.hour_series or (Run(hours[0], hours[0], 1) if len(hours) == 1 else None)
    if stretch and stretch.step == 1 and not sets.is_every_hour and sets.even_minutes:
        every = _amount(sets.even_minutes, "分钟")
    elif stretch and not sets.is_every_hour and len(minutes) == 1:
        every = _amount(stretch.step, "小时")
    else:
        return f"{_hours(sets)}的{_minutes(sets)}"
    return f"{_clock(stretch.first, minutes[0])}至{_clock(stretch.last, minutes[-1])}每{every}"


def _hours(sets: CronSets) -> str:
    if sets.is_every_hour:
        return "每小时"
    series = runs(sets.hours)[0]
    if series.step > 1:
        return f"{series.first}点至{series.last}点每{series.step}小时"
    return "、".join(listed(sets.hours, lambda hour: f"{hour}点", _through))


def _minutes(sets: CronSets) -> str:
    if sets.is_every_minute:
        return "每分钟"
    series = runs(sets.minutes)[0]
    if series.step > 1:
        return f"第{series.first}分至第{series.last}分每{series.step}分钟"
    return f"第{'、'.join(listed(sets.minutes, str, _through))}分"


def _days(sets: CronSets) -> str:
    """The days; empty where the time of day already says that it is every day."""
    of_months = "每月的" if sets.is_every_month else f"{month_series(sets.months)}的"
    match sets.rule:
        case DayRule.EVERY if sets.is_every_month:
            return "" if sets.is_every_hour else "每天"
        case DayRule.EVERY:
            return f"{month_series(sets.months)}每天"
        case DayRule.WEEKDAYS if not sets.nth_weekdays:
            plain = "、".join(listed(sets.weekdays, _weekday, _through))
            return f"每{plain}" if sets.is_every_month else f"{of_months}每{plain}"
        case DayRule.WEEKDAYS:
            return f"{of_months}{'、'.join(_weekdays(sets))}"
        case DayRule.EITHER:
            return f"{of_months}{'、'.join(_month_days(sets))}或任意{'、'.join(_weekdays(sets))}"
    days = _month_days(sets)
    is_short = sets.is_every_month or len(sets.months) == len(sets.days) == len(days) == 1
    which = f"{of_months.removesuffix('的') if is_short else of_months}{'、'.join(days)}"
    return which if sets.rule is DayRule.MONTH_DAYS else f"{which}（仅限{'、'.join(_weekdays(sets))}）"


def _month_days(sets: CronSets) -> list[str]:
    stretches = runs(sets.days)
    if stretches and stretches[0].step > 1:
        first, last, step = stretches[0]
        items = [f"{first}日至{last}日每{step}天"]
    else:
        items = listed(sets.days, lambda day: f"{day}日", _through)
    special = {"最后一天": sets.has_last_day, "最后一个工作日": sets.has_last_weekday}
    return items + [name for name, is_named in special.items() if is_named]


def _weekdays(sets: CronSets) -> list[str]:
    items = listed(sets.weekdays, _weekday, _through)
    return items + [
        f"{'最后一个' if which == LAST else f'第{which}个'}{_weekday(day)}" for day, which in sets.nth_weekdays
    ]


def _through(first: str, last: str) -> str:
    return f"{first}至{last}"


def _weekday(day: int) -> str:
    return f"周{WEEKDAYS[day - 1]}"


def _amount(number: int, unit: str) -> str:
    return unit if number == 1 else f"{number}{unit}"


def _clock(hour: int, minute: int) -> str:
    return f"{hour:02}:{minute:02}"
