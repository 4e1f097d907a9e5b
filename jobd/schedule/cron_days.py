"""The days that a cron expression names, found month by month instead of day by day."""

from calendar import monthrange
from datetime import date

from cronsim import CronSim

MAX_YEARS_BETWEEN = 50
"""No expression that names any day goes longer without one: February 29 on a given weekday takes at most 40 years."""


class CronDays:
    """`fields` is the expression as cronsim has read it."""

    def __init__(self, fields: CronSim) -> None:
        self._fields = fields
        self._months = sorted(fields.months)
        self._by_shape: dict[tuple[int, int, int], list[int]] = {}

    def first_from(self, day: date) -> date | None:
        """The first of the days that is not before `day`; None if there is none until the end of year 9999."""
        for year in range(day.year, min(day.year + MAX_YEARS_BETWEEN, date.max.year) + 1):
            for month in self._months:
                if year > day.year or month >= day.month:
                    least = day.day if (year, month) == (day.year, day.month) else 1
                    for number in self._days(year, month):
                        if number >= least:
                            return date(year, month, number)
        return None

    def first_from_ordinal(self, ordinal: int) -> int | None:
        """The same for days as ordinals (January 1 of year 1 is 1); earlier ones count as 1."""
        if ordinal > date.max.toordinal():
            return None
        day = self.first_from(date.fromordinal(max(ordinal, 1)))
        return None if day is None else day.toordinal()

    def _days(self, year: int, month: int) -> list[int]:
        """The days of one month. Months with the same length and the same first weekday have the same days."""
        weekday, length = monthrange(year, month)
        days = self._by_shape.get((month, weekday, length))
        if days is None:
            days = [number for number in range(1, length + 1) if self._fields.match_day(date(year, month, number))]
            self._by_shape[month, weekday, length] = days
        return days
