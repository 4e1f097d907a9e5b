"""What a cron expression names: the sets that cronsim has read, and how its two fields for days combine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from cronsim import CronSim

LAST = 6
"""Stands for the last one in the month; 1 to 5 stand for the first to the fifth."""
FEW_TIMES = 6
"""Up to so many times of a day are listed one by one."""
MIN_SERIES = 4
"""From this many on, values an even distance apart are described as a series."""


class DayRule(Enum):
    """Which of the two fields for days decide."""

    EVERY = "every day"
    MONTH_DAYS = "the days of the month alone"
    WEEKDAYS = "the days of the week alone"
    EITHER = "one of both is enough"
    BOTH = "both must match"


class Run(NamedTuple):
    """The values `first`, `first` + `step` … `last`; for a single value both are equal and the step is 1."""

    first: int
    last: int
    step: int


@dataclass(frozen=True)
class CronSets:
    """All in ascending order. `weekdays`: 1 is Monday, 7 is Sunday; `nth_weekdays`: (weekday, which one
    of the month).
    """

    minutes: Sequence[int]
    hours: Sequence[int]
    days: Sequence[int]
    has_last_day: bool
    has_last_weekday: bool
    months: Sequence[int]
    weekdays: Sequence[int]
    nth_weekdays: Sequence[tuple[int, int]]
    rule: DayRule

    @property
    def are_times_few(self) -> bool:
        return len(self.hours) * len(self.minutes) <= FEW_TIMES

    @property
    def is_every_hour(self) -> bool:
        return len(self.hours) == 24

    @property
    def is_every_minute(self) -> bool:
        return len(self.minutes) == 60

    @property
    def is_every_month(self) -> bool:
        return len(self.months) == 12

    @property
    def even_minutes(self) -> int | None:
        """The step of minutes that begin with 0 and are as far apart across the hour as within it; else None."""
        step = 60 // len(self.minutes)
        return step if len(self.minutes) > 1 and list(self.minutes) == list(range(0, 60, step)) else None

    @property
    def hour_series(self) -> Run | None:
        """The hours as one run of several, if they are one; else None."""
        first, *others = runs(self.hours)
        return first if not others and first.first < first.last else None


def read_sets(fields: CronSim) -> CronSets:
    """The sets of an expression; `fields` is the expression as cronsim has read it."""
    days = sorted(day for day in fields.days if day > 0)
    weekdays = sorted({_weekday(day) for day in fields.weekdays if isinstance(day, int)})
    nth = {(_weekday(day[0]), _which(day[1])) for day in fields.weekdays if not isinstance(day, int)}
    return CronSets(
        minutes=sorted(fields.minutes),
        hours=sorted(fields.hours),
        days=days,
        has_last_day=CronSim.LAST in fields.days,
        has_last_weekday=CronSim.LAST_WEEKDAY in fields.days,
        months=sorted(fields.months),
        weekdays=weekdays,
        nth_weekdays=sorted(nth),
        rule=_rule(len(days) == 31, len(weekdays) == 7, fields.day_and),
    )


def runs(values: Sequence[int]) -> list[Run]:
    """Ascending values as one even series; or as stretches of three or more successive values, with the rest one by
    one.
    """
    step = values[1] - values[0] if len(values) >= MIN_SERIES else 1
    if step > 1 and list(values) == list(range(values[0], values[-1] + 1, step)):
        return [Run(values[0], values[-1], step)]
    stretches, rest = [], list(values)
    while rest:
        length = next((n for n in range(1, len(rest)) if rest[n] != rest[0] + n), len(rest))
        if length > 2:
            stretches.append(Run(rest[0], rest[length - 1], 1))
        else:
            stretches += [Run(value, value, 1) for value in rest[:length]]
        rest = rest[length:]
    return stretches


def listed(values: Sequence[int], single: Callable[[int], str], through: Callable[[str, str], str]) -> list[str]:
    """Values that are no series in words: each by `single`, a stretch of them by `through`."""
    stretches = [part for run in runs(values) for part in _unrolled(run)]
    return [
        single(run.first) if run.first == run.last else through(single(run.first), single(run.last))
        for run in stretches
    ]


def _unrolled(run: Run) -> list[Run]:
    return [run] if run.step == 1 else [Run(n, n, 1) for n in range(run.first, run.last + 1, run.step)]


def _weekday(number: int) -> int:
    return number % 7 or 7


def _which(number: int) -> int:
    return LAST if number == CronSim.LAST else number


def _rule(is_any_day: bool, is_any_weekday: bool, must_both: bool) -> DayRule:
    if not must_both:
        return DayRule.EVERY if is_any_day or is_any_weekday else DayRule.EITHER
    if is_any_day and is_any_weekday:
        return DayRule.EVERY
    if is_any_day:
        return DayRule.WEEKDAYS
    return DayRule.MONTH_DAYS if is_any_weekday else DayRule.BOTH
