"""Schedules in words, for people who read neither ISO 8601 nor cron."""

from datetime import datetime, timedelta, tzinfo

from cronsim import CronSim

from jobd.schedule import cron_chinese, cron_english
from jobd.schedule.cron_notes import cron_notes
from jobd.schedule.cron_sets import read_sets
from jobd.schedule.iso8601 import Period
from jobd.schedule.zones import MICROSECOND, instant, local, name_of, occurs_twice


def clamp_notes(start: datetime, wall: datetime) -> list[str]:
    """A note if the month has no such day; `wall` is the start moved by months only."""
    if wall.day == start.day:
        return []
    return [f"{wall:%Y-%m} has no day {start.day}: its last day, {wall.day}, is taken"]


def clock_notes(wall: datetime, at: datetime, zone: tzinfo) -> list[str]:
    """Notes on a slot that the clocks should show as `wall`, and that runs at `at`."""
    shown, day = _clock(wall), f"on {wall.date().isoformat()} in {name_of(zone)}"
    if local(at, zone) != wall:
        return [moved_note(wall, zone)]
    if not occurs_twice(wall, zone):
        return []
    which = "the first is taken" if at == instant(wall, zone) else "this is the second"
    return [f"{shown} occurs twice {day}, when the clocks go back: {which}"]


def moved_note(wall: datetime, zone: tzinfo) -> str:
    """`wall` is the time that was skipped, or the one that a cron slot was moved to."""
    moved = local(instant(wall, zone), zone)
    day = f"on {wall.date().isoformat()} in {name_of(zone)}"
    if moved == wall:
        return f"the clocks skip the time named {day}: it runs at {_clock(wall)}, right after"
    shown = _clock(moved) if moved.date() == wall.date() else f"{moved.date().isoformat()} {_clock(moved)}"
    return f"{_clock(wall)} does not exist {day}, the clocks skip it: it runs at {shown}, right after"


def merged_note(count: int) -> str:
    return f"{count} slots fall on this instant: they are one run"


def describe_interval(times: int | None, period: Period, wall: datetime | None, zone: tzinfo) -> dict[str, str]:
    """`wall` is the start in `zone`, None if the schedule starts when it is set."""
    if times == 0:
        return {"en": "Never runs (R0).", "zh": "从不执行（R0）。"}
    if wall is None:
        from_en, from_zh = "from the moment at which the schedule is set", "从设定调度的那一刻开始"
        once_en, once_zh = "at the moment at which the schedule is set", "在设定调度的那一刻"
    else:
        shown = f"{wall.date().isoformat()} {_clock(wall)} ({name_of(zone)})"
        from_en, from_zh, once_en, once_zh = f"from {shown}", f"从 {shown} 开始", f"at {shown}", f"在 {shown} "
    if times == 1:
        return {"en": f"Runs once, {once_en}.", "zh": f"{once_zh}执行一次。"}
    often_en = "without end" if times is None else f"{times} times in all"
    often_zh = "一直重复" if times is None else f"共 {times} 次"
    clamp = _clamp(period, wall)
    return {
        "en": f"Runs every {_period_en(period)} {from_en}, {often_en}.{clamp['en']}",
        "zh": f"{from_zh}，每 {_period_zh(period)}执行一次，{often_zh}。{clamp['zh']}",
    }


def describe_counted_back(times: int, period: Period, wall: datetime, zone: tzinfo) -> dict[str, str]:
    """For `times` runs, at least two, of which the last is at `wall` in `zone`."""
    last = f"{wall.date().isoformat()} {_clock(wall)} ({name_of(zone)})"
    clamp = _clamp(period, wall)
    return {
        "en": f"Runs every {_period_en(period)}, {times} times in all, the last time at {last}.{clamp['en']}",
        "zh": f"每 {_period_zh(period)}执行一次，共 {times} 次，最后一次在 {last}。{clamp['zh']}",
    }


def _clamp(period: Period, wall: datetime | None) -> dict[str, str]:
    """A sentence on what happens in months that are too short; empty if none is."""
    if wall is None or not period.months or wall.day <= 28:
        return {"en": "", "zh": ""}
    return {
        "en": f" A month without day {wall.day} uses its last day.",
        "zh": f"没有 {wall.day} 日的月份取当月最后一天。",
    }


def describe_cron(fields: CronSim, zone: tzinfo) -> dict[str, str]:
    """`fields` is the expression as cronsim has read it."""
    sets = read_sets(fields)
    notes = cron_notes(fields.parts[1:], sets)
    return {
        "en": " ".join([cron_english.sentence(sets, name_of(zone)), *(note.en for note in notes)]),
        "zh": "".join([cron_chinese.sentence(sets, name_of(zone)), *(note.zh for note in notes)]),
    }


def _clock(wall: datetime) -> str:
    spec = "auto" if wall.microsecond or wall.second else "minutes"
    text = wall.time().isoformat(spec)
    return text.rstrip("0") if wall.microsecond else text


def _amounts(period: Period) -> list[tuple[str, int]]:
    """The period in its largest units, as (unit, amount) in descending order; all are whole but the seconds."""
    years, months = divmod(period.months, 12)
    weeks, days = divmod(period.days, 7) if period.days % 7 == 0 else (0, period.days)
    hours, rest = divmod(period.elapsed, timedelta(hours=1))
    minutes, rest = divmod(rest, timedelta(minutes=1))
    named = {"year": years, "month": months, "week": weeks, "day": days, "hour": hours, "minute": minutes}
    return [(unit, amount) for unit, amount in named.items() if amount] + _seconds(rest)


def _seconds(rest: timedelta) -> list[tuple[str, int]]:
    seconds, fraction = divmod(rest, timedelta(seconds=1))
    amounts = [("second", seconds), ("microsecond", fraction // MICROSECOND)]
    return [(unit, amount) for unit, amount in amounts if amount]


def _period_en(period: Period) -> str:
    amounts = _amounts(period)
    if len(amounts) == 1 and amounts[0][1] == 1:
        return amounts[0][0]
    shown = [f"{amount} {unit}{'s' if amount > 1 else ''}" for unit, amount in amounts]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _period_zh(period: Period) -> str:
    units = {
        "year": "年",
        "month": "个月",
        "week": "周",
        "day": "天",
        "hour": "小时",
        "minute": "分钟",
        "second": "秒",
        "microsecond": "微秒",
    }
    return " ".join(f"{amount} {units[unit]}" for unit, amount in _amounts(period))
