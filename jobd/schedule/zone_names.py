"""What was meant by a name that is not an IANA time zone."""

import difflib
import re
from collections.abc import Set
from typing import NamedTuple

EXAMPLE = "Asia/Shanghai"
CLOSE = 0.88
"""How similar two names must be to count as a slip; a guess below this would mislead."""
ALIASES = {
    "asia/peking": "Asia/Shanghai",
    "asia/beijing": "Asia/Shanghai",
    "asia/shenzhen": "Asia/Shanghai",
    "asia/guangzhou": "Asia/Shanghai",
    "asia/hangzhou": "Asia/Shanghai",
    "asia/chengdu": "Asia/Shanghai",
    "peking": "Asia/Shanghai",
    "beijing": "Asia/Shanghai",
    "china": "Asia/Shanghai",
    "china standard time": "Asia/Shanghai",
    "asia/bombay": "Asia/Kolkata",
    "asia/mumbai": "Asia/Kolkata",
    "asia/delhi": "Asia/Kolkata",
    "asia/new_delhi": "Asia/Kolkata",
    "asia/bangalore": "Asia/Kolkata",
    "asia/osaka": "Asia/Tokyo",
    "asia/hanoi": "Asia/Bangkok",
    "asia/abu_dhabi": "Asia/Dubai",
    "america/san_francisco": "America/Los_Angeles",
    "america/seattle": "America/Los_Angeles",
    "america/boston": "America/New_York",
    "america/washington": "America/New_York",
    "america/miami": "America/New_York",
    "america/atlanta": "America/New_York",
    "america/dallas": "America/Chicago",
    "america/houston": "America/Chicago",
    "america/montreal": "America/Toronto",
    "america/ottawa": "America/Toronto",
    "america/rio_de_janeiro": "America/Sao_Paulo",
    "america/brasilia": "America/Sao_Paulo",
    "europe/munich": "Europe/Berlin",
    "europe/hamburg": "Europe/Berlin",
    "europe/frankfurt": "Europe/Berlin",
    "europe/geneva": "Europe/Zurich",
    "europe/bern": "Europe/Zurich",
    "europe/milan": "Europe/Rome",
    "europe/barcelona": "Europe/Madrid",
    "europe/edinburgh": "Europe/London",
    "europe/st_petersburg": "Europe/Moscow",
    "australia/canberra": "Australia/Sydney",
    "eastern standard time": "America/New_York",
    "central standard time": "America/Chicago",
    "mountain standard time": "America/Denver",
    "pacific standard time": "America/Los_Angeles",
    "w. europe standard time": "Europe/Berlin",
    "gmt standard time": "Europe/London",
    "tokyo standard time": "Asia/Tokyo",
    "india standard time": "Asia/Kolkata",
}
"""Cities without a zone of their own, and Windows' names of zones."""
ABBREVIATIONS = {
    "CST": ("America/Chicago", "Asia/Shanghai"),
    "CDT": ("America/Chicago", "America/Havana"),
    "IST": ("Asia/Kolkata", "Europe/Dublin", "Asia/Jerusalem"),
    "BST": ("Europe/London", "Asia/Dhaka"),
    "AST": ("America/Halifax", "Asia/Riyadh"),
    "EDT": ("America/New_York",),
    "PST": ("America/Los_Angeles", "Asia/Manila"),
    "PDT": ("America/Los_Angeles",),
    "MDT": ("America/Denver",),
    "CEST": ("Europe/Berlin", "Europe/Paris"),
    "JST": ("Asia/Tokyo",),
    "KST": ("Asia/Seoul",),
    "SGT": ("Asia/Singapore",),
    "HKT": ("Asia/Hong_Kong",),
    "AEST": ("Australia/Sydney", "Australia/Brisbane"),
    "AEDT": ("Australia/Sydney",),
    "NZST": ("Pacific/Auckland",),
    "MSK": ("Europe/Moscow",),
}
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d\d))?", re.I)


class Meant(NamedTuple):
    """`right` is a zone; `advice` says it in words, and `why` adds what is wrong with what was written."""

    right: str
    advice: str
    why: str = ""


def meant_by(name: str, zones: Set[str]) -> Meant:
    """What to write instead of `name`, which is none of `zones`."""
    plain = re.sub(r"\s+", "_", name.strip()).lower()
    alias = ALIASES.get(plain) or ALIASES.get(name.strip().lower())
    if alias in zones:
        return Meant(str(alias), str(alias))
    abbreviated = [zone for zone in ABBREVIATIONS.get(name.strip().upper(), ()) if zone in zones]
    if abbreviated:
        return Meant(abbreviated[0], " or ".join(abbreviated), ", and an abbreviation does not name one")
    offset = _of_offset(name.strip())
    if offset in zones:
        return Meant(str(offset), str(offset), ", and the zone of an offset has the other sign")
    same = sorted(zone for zone in zones if plain in (zone.lower(), zone.lower().rpartition("/")[2]))
    close = same or difflib.get_close_matches(name[:64], zones, n=1, cutoff=CLOSE)
    return Meant(close[0], close[0]) if close else Meant(EXAMPLE, f"a name such as {EXAMPLE}")


def _of_offset(name: str) -> str | None:
    """`+08:00`, `UTC+8` and `GMT+8` as Etc/GMT-8; None for anything that is not an offset in whole hours."""
    match = _OFFSET.fullmatch(name)
    if match is None or int(match[3] or 0):
        return None
    return f"Etc/GMT{'-' if match[1] == '+' else '+'}{int(match[2])}"
