"""What to write instead of a text that is no schedule here: forms of other programs, and slips."""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from jobd.schedule import cron_hints

NAMES = {
    "minutely": "* * * * *",
    "hourly": "@hourly",
    "daily": "@daily",
    "midnight": "@daily",
    "weekly": "@weekly",
    "monthly": "@monthly",
    "quarterly": "0 0 1 1,4,7,10 *",
    "semiannually": "0 0 1 1,7 *",
    "semi-annually": "0 0 1 1,7 *",
    "yearly": "@yearly",
    "annually": "@yearly",
}
UNITS = {"second": "T{}S", "minute": "T{}M", "hour": "T{}H", "day": "{}D", "week": "{}W", "month": "{}M", "year": "{}Y"}
FREQUENCIES = {
    "SECONDLY": "second",
    "MINUTELY": "minute",
    "HOURLY": "hour",
    "DAILY": "day",
    "WEEKLY": "week",
    "MONTHLY": "month",
    "YEARLY": "year",
}
_AMOUNTS = re.compile(r"(?=\d)(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")
_MOMENT = r"\d{4}-?\d\d-?\d\d(?:T\d\d[\d:.,]*(?:Z|[+-]\d\d:?\d\d)?)?"


class Hint(NamedTuple):
    """`right`: what to write, if that can be read; `why`: what is wrong with the text, None if the error found says it
    all.
    """

    right: str
    why: str | None
    position: int = 0


def hints(text: str) -> Iterator[Hint]:
    """What may have been meant, the likeliest first; the hints are not checked for whether they can be read."""
    for right, why, position in cron_hints.wrapped(text):
        yield Hint(right, why, position)
        yield from (Hint(inner.right, why, position) for inner in hints(right))
    plain = text.strip()
    if text.startswith((" ", "\t")) and plain[:1] in ("R", "@"):
        yield Hint(plain, "begins with a blank")
    for right, why in (*_other_programs(plain), *_spoken(plain)):
        yield Hint(right, why)
    yield from _zone_in_brackets(text)
    for right in _slips(text):
        yield Hint(right, None)
    for right, why, position in cron_hints.fields(text):
        yield Hint(right, why, position)


def _zone_in_brackets(text: str) -> Iterator[Hint]:
    """RFC 9557: 2026-01-31T08:00:00+08:00[Asia/Shanghai], [u-ca=gregory]"""
    match = re.search(r"\[!?([^\]=]*)(?:=[^\]]*)?\]", text)
    if match:
        right = re.sub(r"\[[^\]]*\]", "", text)
        zone = match[1][:64]
        goes = f"a zone in brackets goes into schedule_timezone: {zone}" if "/" in zone else "has no brackets"
        yield Hint(right, goes, match.start())


def _slips(text: str) -> Iterator[str]:
    """The text with lookalikes, blanks, small letters and missing marks corrected, one more at a time."""
    right = unicodedata.normalize("NFKC", text).strip().replace("\u2011", "-").replace("\u2013", "-")
    yield right
    right = re.sub(r"(\d) +(\d\d:)", r"\1T\2", right)
    right = re.sub(r"\s*/\s*", "/", right) if right[:1] in ("R", "r") else right
    yield right
    right = right.upper()
    yield right
    # hours and seconds need the T that separates them from days
    right = re.sub(r"P((?:\d+[YMWD])*)(?=\d+[HS])", r"P\1T", right)
    yield right
    if right.startswith("P"):
        yield f"R/{right}"
    if re.fullmatch(rf"{_MOMENT}/.+", right):
        yield f"R/{right}"
    if re.fullmatch(_MOMENT, right):
        yield f"R1/{right}/P1D"
    if match := re.fullmatch(rf"(R\d*)/({_MOMENT})", right):
        yield f"{match[1] or 'R'}/{match[2]}/P1D"
    yield from _lower_durations(text)


def _lower_durations(text: str) -> Iterator[str]:
    """`R/1h30m` and `R5/2026-01-31T08:00Z/90m`"""
    head, slash, last = text.strip().rpartition("/")
    period = _amounts(last.lower())
    if slash and period:
        yield f"{head}/{period}"


def _amounts(text: str) -> str | None:
    """`1h30m` as PT1H30M; None for any other text."""
    match = _AMOUNTS.fullmatch(text.replace(" ", ""))
    if match is None:
        return None
    weeks, days, hours, minutes, seconds = match.groups()
    calendar = "".join(f"{n}{unit}" for n, unit in ((weeks, "W"), (days, "D")) if n)
    clock = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n)
    return f"P{calendar}{'T' if clock else ''}{clock}"


def _other_programs(text: str) -> Iterator[tuple[str, str]]:
    if match := re.fullmatch(r"@every\s+(\S+)", text, re.I):
        period = _amounts(match[1].lower())
        yield f"R/{period}", "a period is written as a repeating interval, @every is not known"
    if text.lower() in ("@reboot", "@start", "@startup", "@once"):
        yield "R1/PT1S", "restarts are not known to a schedule; this is once, as soon as it is set"
    if (name := text.lstrip("@").lower()) in NAMES:
        yield NAMES[name], "is not known by that name"
    if match := re.fullmatch(r"rate\(\s*(\d+)\s+(\w+?)s?\s*\)", text, re.I):
        yield _every(match[1], match[2]), "a rate is written as a repeating interval"
    if match := re.fullmatch(r"at\(\s*(\S+?)\s*\)", text, re.I):
        yield f"R1/{match[1]}/P1D", "a single run is written as a repeating interval"
    if "FREQ=" in text.upper():
        yield from _recurrence(text.upper())
    yield from _calendar_event(text)


def _every(amount: str, unit: str) -> str:
    return f"R/P{UNITS.get(unit.lower(), '{}?').format(amount)}"


def _recurrence(text: str) -> Iterator[tuple[str, str]]:
    """A rule of RFC 5545: RRULE:FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9"""
    rule = dict(part.partition("=")[::2] for part in text.rpartition("RRULE:")[2].split(";"))
    why = "a recurrence rule (RFC 5545) is written as a repeating interval, or as cron"
    unit = FREQUENCIES.get(rule.get("FREQ", ""), "")
    if not any(key.startswith("BY") for key in rule) and unit:
        start = re.search(r"DTSTART(?:;[^:]*)?:(\d{8}T\d{6}Z?)", text)
        times, period = rule.get("COUNT", ""), UNITS[unit].format(rule.get("INTERVAL", "1"))
        yield f"R{times}/{start[1] + '/' if start else ''}P{period}", why
    elif rule.get("INTERVAL", "1") == "1" and unit in ("day", "week", "month", "year"):
        days = re.sub(
            r"\b([A-Z]{2})\b", lambda match: cron_hints.TWO_LETTERS.get(match[1], "?"), rule.get("BYDAY", "*")
        )
        month_day = rule.get("BYMONTHDAY", "*").replace("-1", "L")
        month = rule.get("BYMONTH", "*")
        yield f"{rule.get('BYMINUTE', '0')} {rule.get('BYHOUR', '0')} {month_day} {month} {days}", why


def _calendar_event(text: str) -> Iterator[tuple[str, str]]:
    """systemd's OnCalendar: Mon..Fri *-*-* 02:30:00"""
    match = re.fullmatch(
        r"(?:OnCalendar=)?(?:([A-Za-z][A-Za-z,.]*)\s+)?(?:(?:\*-|(?:\d{4}-))?([\d*,./]+)-([\d*,./~]+))?\s*"
        r"(?:([\d*,./]+):([\d*,./]+)(?::0{1,2})?)?",
        text,
    )
    if match is None or not text or not (match[3] or match[5]) or not re.search("[ :]", text):
        return
    weekday, month, day, hour, minute = match.groups()
    parts = [minute or "0", hour or "0", day or "*", month or "*", weekday or "*"]
    fields = [re.sub(r"^0+/", "*/", part).replace("..", "-") for part in parts]
    numbers = [re.sub(r"(?<!\d)0+(?=\d)", "", field) for field in fields]
    yield " ".join(numbers), "a calendar event of systemd is written as cron"


def _spoken(text: str) -> Iterator[tuple[str, str]]:
    """`every 5 minutes`, `daily at 02:30`, `1h30m`"""
    why = "a period is written as a repeating interval"
    if match := re.fullmatch(r"every\s+(?:(\d+)\s+)?(\w+?)s?", text, re.I):
        yield _every(match[1] or "1", match[2]), why
    if match := re.fullmatch(r"(?:every\s+day|daily)\s+at\s+(\d\d?):(\d\d)", text, re.I):
        yield f"{int(match[2])} {int(match[1])} * * *", "a time of day is written as cron"
    period = _amounts(text.lower().removeprefix("every").strip())
    if period:
        yield f"R/{period}", why
