"""A cron expression in English: the time of day, then the days, from the sets that cronsim uses."""

from collections.abc import Sequence

from jobd.schedule.cron_sets import LAST, CronSets, DayRule, Run, listed, runs

# not those of `calendar`, which change with the locale
MONTHS = (
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
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def sentence(sets: CronSets, zone: str) -> str:
    """The sentence for these sets; `zone` is the name of the time zone."""
    days = _days(sets)
    text = f"{_times(sets)}{' ' + days if days else ''}, in {zone} time."
    return text[0].upper() + text[1:]


def series(items: Sequence[str], word: str = "and") -> str:
    """`a, b and c`"""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def month_series(months: Sequence[int]) -> str:
    return series(listed(months, _month, _through))


def ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _times(sets: CronSets) -> str:
    hours, minutes = sets.hours, sets.minutes
    if sets.are_times_few:
        return f"at {series([_clock(hour, minute) for hour in hours for minute in minutes])}"
    if sets.is_every_hour and (sets.is_every_minute or sets.even_minutes):
        return f"every {_amount(sets.even_minutes or 1, 'minute')}"
    if sets.is_every_hour and len(minutes) == 1:
        return f"every hour at minute {minutes[0]}" if minutes[0] else "every hour on the hour"
    stretch = sets.hour_series or (Run(hours[0], hours[0], 1) if len(hours) == 1 else None)
    if stretch and stretch.step == 1 and sets.even_minutes:
        every = _amount(sets.even_minutes, "minute")
    elif stretch and len(minutes) == 1:
        every = _amount(stretch.step, "hour")
    else:
        return f"at {_minutes(sets)} past {_hours(sets)}"
    return f"every {every} from {_clock(stretch.first, minutes[0])} through {_clock(stretch.last, minutes[-1])}"


def _minutes(sets: CronSets) -> str:
    return "every minute" if sets.is_every_minute else _numbers(sets.minutes, "minute")


def _hours(sets: CronSets) -> str:
    return "every hour" if sets.is_every_hour else _numbers(sets.hours, "hour")


def _numbers(values: Sequence[int], unit: str) -> str:
    first = runs(values)[0]
    if first.step > 1:
        return f"every {ordinal(first.step)} {unit} from {first.first} through {first.last}"
    return f"{unit}{'s' if len(values) > 1 else ''} {series(listed(values, str, _through))}"


def _days(sets: CronSets) -> str:
    """The days; empty where the time of day already says that it is every day."""
    months = "every month" if sets.is_every_month else month_series(sets.months)
    match sets.rule:
        case DayRule.EVERY if sets.is_every_month:
            return "" if sets.is_every_hour else "every day"
        case DayRule.EVERY:
            return f"every day in {months}"
        case DayRule.WEEKDAYS if not sets.nth_weekdays:
            plain = series(listed(sets.weekdays, _weekday, _through))
            return f"on {plain}" if sets.is_every_month else f"on {plain} in {months}"
        case DayRule.WEEKDAYS:
            return f"on {series(_weekdays(sets, 'any'))} of {months}"
        case DayRule.EITHER:
            return f"on {series(_month_days(sets) + _weekdays(sets, 'any'), 'or')} of {months}"
    which = f"on {_one_date(sets) or f'{series(_month_days(sets))} of {months}'}"
    if sets.rule is DayRule.MONTH_DAYS:
        return which
    return f"{which}, only if it is {series(_weekdays(sets, 'a'), 'or')}"


def _one_date(sets: CronSets) -> str | None:
    if len(sets.months) == len(sets.days) == 1 and not (sets.has_last_day or sets.has_last_weekday):
        return f"{_month(sets.months[0])} {sets.days[0]}"
    return None


def _month_days(sets: CronSets) -> list[str]:
    stretches = runs(sets.days)
    if stretches and stretches[0].step > 1:
        first, last, step = stretches[0]
        items = [f"every {ordinal(step)} day from {_nth(first)} through {_nth(last)}"]
    else:
        items = listed(sets.days, _nth, _through)
    special = {"the last day": sets.has_last_day, "the last weekday": sets.has_last_weekday}
    return items + [name for name, is_named in special.items() if is_named]


def _weekdays(sets: CronSets, article: str) -> list[str]:
    items = listed(
        sets.weekdays,
        lambda day: f"{article} {_weekday(day)}",
        lambda first, last: f"{article} day from {first.partition(' ')[2]} through {last.partition(' ')[2]}",
    )
    return items + [
        f"the {'last' if which == LAST else ordinal(which)} {_weekday(day)}" for day, which in sets.nth_weekdays
    ]


def _through(first: str, last: str) -> str:
    return f"{first} through {last}"


def _nth(day: int) -> str:
    return f"the {ordinal(day)}"


def _weekday(day: int) -> str:
    return WEEKDAYS[day - 1]


def _month(month: int) -> str:
    return MONTHS[month - 1]


def _amount(number: int, unit: str) -> str:
    return unit if number == 1 else f"{number} {unit}s"


def _clock(hour: int, minute: int) -> str:
    return f"{hour:02}:{minute:02}"
