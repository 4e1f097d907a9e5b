"""What may surprise about a cron expression: steps that begin anew, days that some months do not have."""

import re
from calendar import monthrange
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jobd.schedule import cron_chinese, cron_english
from jobd.schedule.cron_sets import CronSets, DayRule, runs

SHORTEST_MONTH, LEAP_FEBRUARY = 28, 29
"""In days."""
_STEP = re.compile(r"(?:\*|0|0-59|0-23|1|1-31|1-12)/([0-9]{1,6})")


class Note(NamedTuple):
    """One or two sentences in English and in Chinese."""

    en: str
    zh: str


class Unit(NamedTuple):
    """A field whose steps begin anew: its number of values, its name, the larger unit with which the steps begin
    anew, and the form of a duration of so many steps.
    """

    values: int
    name_en: str
    name_zh: str
    whole_en: str
    whole_zh: str
    duration: str


MINUTE = Unit(60, "minute", "分钟", "hour", "小时", "PT{}M")
HOUR = Unit(24, "hour", "小时", "day", "天", "PT{}H")
DAY = Unit(31, "day", "天", "month", "月", "P{}D")
MONTH = Unit(12, "month", "个月", "year", "年", "P{}M")


def cron_notes(texts: Sequence[str], sets: CronSets) -> list[Note]:
    """The notes on an expression; `texts` are its five fields as written."""
    minute, hour, day, month = texts[:4]
    is_any_day = sets.rule is DayRule.EVERY
    steps = [
        _step_note(minute, MINUTE) if len(sets.hours) > 1 else None,
        _step_note(hour, HOUR) if is_any_day else None,
        None if is_any_day else _step_note(day, DAY),
        _step_note(month, MONTH),
    ]
    missing = [] if is_any_day or sets.rule is DayRule.WEEKDAYS else list(_missing_days(sets))
    if missing and not sets.has_last_day:
        missing.append(Note("L is the last day of every month.", "每月最后一天写作 L。"))
    return [note for note in steps if note] + missing


def _step_note(text: str, unit: Unit) -> Note | None:
    """A note on a step that is larger than its field, or leaves a shorter gap at the field's end; months differ in
    length.
    """
    match = _STEP.fullmatch(text)
    step = int(match[1]) if match else 1
    duration = f"R/{unit.duration.format(step)}"
    if step >= unit.values:
        return Note(
            f"A step of {step} {unit.name_en}s ends with the {unit.whole_en}, so it is once in each {unit.whole_en}; "
            f"evenly every {step} {unit.name_en}s would be {duration}.",
            cron_chinese.spaced(
                f"步长{step}{unit.name_zh}超出一{unit.whole_zh}，因此每{unit.whole_zh}只有一次；"
                f"均匀地每{step}{unit.name_zh}一次应写作 {duration}。"
            ),
        )
    if step == 1 or (unit is not DAY and unit.values % step == 0):
        return None
    gap = unit.values % step
    is_shorter = "can be shorter" if unit is DAY else f"is only {gap} {unit.name_en}{'s' if gap > 1 else ''}"
    return Note(
        f"The {unit.name_en}s begin anew with each {unit.whole_en}, where the gap {is_shorter}; "
        f"evenly every {step} {unit.name_en}s would be {duration}.",
        cron_chinese.spaced(
            f"步长在每{unit.whole_zh}开始时重新计算，"
            f"交界处的间隔{'可能更短' if unit is DAY else f'只有{gap}{unit.name_zh}'}；"
            f"均匀地每{step}{unit.name_zh}一次应写作 {duration}。"
        ),
    )


def _missing_days(sets: CronSets) -> Iterator[Note]:
    """Notes on single days that some of the months do not have, such as the 31st; not on the ends of ranges."""
    for day in (run.first for run in runs(sets.days) if run.step == 1 and run.first > SHORTEST_MONTH):
        short = [month for month in sets.months if _length(month) < day]
        if short:
            have = "has" if len(short) == 1 else "have"
            months = cron_chinese.month_series(short)
            yield Note(
                f"{cron_english.month_series(short)} {have} no day {day}, and no run for it.",
                cron_chinese.spaced(f"{months}没有{day}日，届时不会执行。"),
            )
        elif day == LEAP_FEBRUARY and 2 in sets.months:
            yield Note("February has a day 29 in leap years only.", "2 月只有闰年才有 29 日。")


def _length(month: int) -> int:
    """The length of a month in days; for February, in a leap year."""
    return monthrange(2000, month)[1]
