"""What to write instead of another program's cron expression, or of one with a slip."""

import re
from collections.abc import Iterator

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
TWO_LETTERS = {name[:2]: name for name in WEEKDAYS}
NO_SECONDS = "has {} fields, not 5; there is no field for seconds or years"
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
HASHED = ("17", "3", "1", "1", "1")
"""A value for Jenkins' H in each field: any will do, as long as it does not change."""
_RANGE = re.compile(r"(\w+)-(\w+)(?:/(\d{1,4}))?")

Candidate = tuple[str, str | None, int]
"""What to write, what is wrong with the text (None: the error that was found says it), and where that is."""


def wrapped(text: str) -> Iterator[Candidate]:
    """A schedule inside something else: CRON_TZ=… before it, or quotes or `cron(…)` around it."""
    if match := re.fullmatch(r"(\s*)(?:CRON_)?TZ=(\S*)\s+(.*)", text, re.I):
        zone = match[2].strip("\"'")[:64]
        yield match[3], f"the zone goes into schedule_timezone: {zone}", len(match[1])
    if match := re.fullmatch(r"""(\s*)(["'`])(.*)\2\s*""", text):
        yield match[3], "stands in quotes", len(match[1])
    if match := re.fullmatch(r"cron\((.*)\)", text.strip(), re.I):
        yield match[1], "is written without cron( and )", 0
    if match := re.fullmatch(r"(?:OnCalendar|RRULE|schedule|cron)\s*[:=]\s*(.+)", text.strip(), re.I):
        yield match[1], "holds more than the schedule", 0


def fields(text: str) -> Iterator[Candidate]:
    """Five fields that can be read, made from five or more that cannot."""
    places = [match.start() for match in re.finditer(r"\S+", text)]
    joined = re.sub(r"\s*,\s*", ",", text.strip())
    parts = re.sub(r"(?<=\w)\s+-\s+(?=\w)", "-", joined).split()
    if len(parts) == 5:
        right, why, place = _put_right(parts)
        yield right, why, places[place] if why and len(places) == 5 else 0
    elif len(parts) in (6, 7):
        yield from _six(parts)
    if len(parts) > 5:
        yield " ".join(parts[:5]), "what follows the fifth field is no part of the schedule", 0


def _six(parts: list[str]) -> Iterator[Candidate]:
    """Seconds before the five fields (Quartz, Spring), or years after them (AWS)."""
    why = NO_SECONDS.format(len(parts))
    is_aws = len(parts) == 6 and "?" in (parts[2], parts[4])
    is_quartz = is_aws or "?" in parts
    if is_aws:
        yield _put_right(_named_weekdays(parts[:5]))[0], why, 0
    if all(part in ("*", "?") for part in parts[1:]) and parts[0].startswith("*"):
        yield f"R/PT{parts[0].removeprefix('*').removeprefix('/') or 1}S", why, 0
    if re.fullmatch(r"[\d*/,-]+", parts[0]) and re.fullmatch(r"[\w*?/,#-]+", parts[5]):
        five = _named_weekdays(parts[1:6]) if is_quartz else parts[1:6]
        yield _put_right(five)[0], why, 0


def _named_weekdays(parts: list[str]) -> list[str]:
    """Quartz and AWS count Sunday as 1: `2-6` is MON-FRI, `6L` the last Friday, `6#3` the third."""
    day = re.sub(r"(?<![#/\d])[1-7](?![\dL#])", lambda match: WEEKDAYS[int(match[0]) - 1], parts[4])
    day = re.sub(r"(?<![#/\d])[1-7](?=[L#])", lambda match: str(int(match[0]) - 1), day)
    return [*parts[:4], day]


def _put_right(parts: list[str]) -> tuple[str, str | None, int]:
    """The five fields, what was wrong with the first faulty one, and its place among them."""
    corrected = [_field(part, place) for place, part in enumerate(parts)]
    faults: list[tuple[str | None, int]] = [(why, place) for place, (_, why) in enumerate(corrected) if why]
    return (" ".join(field for field, _ in corrected), *(faults or [(None, 0)])[0])


def _field(text: str, place: int) -> tuple[str, str | None]:
    if text == "?":
        return "*", "any value is written *"
    if text.startswith("H"):
        return _without_hash(text, place), "H is Jenkins' own: choose a value"
    if place == 2 and (match := re.fullmatch(r"L-\d+|(\d+)W|WL", text, re.I)):
        right = match[1] or ("LW" if text.upper() == "WL" else "L")
        return right, "days counted from the end, and weekdays beside a day, are not known; L and LW are"
    items = [_item(item, place) for item in text.upper().split(",")]
    right = ",".join(item for item, _ in items)
    whys = [why for _, why in items if why]
    return (right, whys[0]) if whys else (text, None)


def _without_hash(text: str, place: int) -> str:
    if match := re.fullmatch(r"H(?:\((\d+)-(\d+)\))?/(\d+)", text):
        return f"{match[1]}-{match[2]}/{match[3]}" if match[1] else f"*/{match[3]}"
    match = re.fullmatch(r"H\((\d+)-\d+\)", text)
    return match[1] if match else HASHED[place]


def _item(text: str, place: int) -> tuple[str, str | None]:
    """One item of a list, in capital letters."""
    names = MONTHS if place == 3 else WEEKDAYS if place == 4 else ()
    if place == 4 and (match := re.fullmatch(r"([A-Z]{3})L", text)) and match[1] in names:
        return f"{WEEKDAYS.index(match[1])}L", "the last one in a month has a number and L"
    short = re.sub(r"[A-Z]{4,}", lambda match: match[0][:3] if match[0][:3] in names else match[0], text)
    if short != text:
        return short, "names have three letters"
    low, high = LIMITS[place]
    if place < 2 and re.search(rf"(?<!\d){high + 1}(?!\d)", text) and "/" not in text:
        right = str(low) if "-" not in text else text.replace(str(high + 1), str(high))
        return right, f"{('minute', 'hour')[place]}s go from 0 to {high}"
    match = _RANGE.fullmatch(text)
    begin, end = (_number(match[n], names, low) for n in (1, 2)) if match else (None, None)
    if match is None or begin is None or end is None or not low <= end < begin <= high:
        return text, None
    return _around(match, begin, end, low, high), "a range goes forward; across the end it is a list"


def _number(text: str, names: tuple[str, ...], low: int) -> int | None:
    if text in names:
        return names.index(text) + low
    return int(text) if re.fullmatch(r"[0-9]{1,2}", text) else None


def _around(match: re.Match[str], begin: int, end: int, low: int, high: int) -> str:
    """A range that goes on at the field's beginning, such as 22-5 for hours, in two parts."""
    if match[3]:
        values = [*range(begin, high + 1), *range(low, end + 1)][:: max(int(match[3]), 1)]
        return ",".join(map(str, values))
    last = str(high) if match[1].isdigit() else (WEEKDAYS if high == 6 else MONTHS)[-1]
    first = str(low) if match[2].isdigit() else (WEEKDAYS if high == 6 else MONTHS)[0]
    head = match[1] if begin == high else f"{match[1]}-{last}"
    tail = match[2] if end == low else f"{first}-{match[2]}"
    return f"{head},{tail}"
