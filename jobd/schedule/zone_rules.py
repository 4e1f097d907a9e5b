"""Which edition of the IANA time zone database is used: the newer of the system's and that of the package tzdata.

Python by itself takes the system's whenever there is one, however old. A folder that the operator names is always used.
"""

import os
import re
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

try:
    from tzdata import IANA_VERSION
except ImportError:  # a distribution may leave it out, for its own database
    IANA_VERSION = ""

PACKAGE = "the package tzdata"
UNKNOWN = "unknown"
_EDITION = re.compile(r"[0-9]{4}[a-z]{1,2}")
_HEAD = 200
"""Characters at the beginning of a file among which its edition stands."""


@dataclass(frozen=True)
class ZoneRules:
    """`version`: an edition such as 2026f, or `unknown`; `source`: a folder or the package; `reason`: why this one.

    `path`: the folders that Python searches before the package. `is_older`: the package has a newer edition, but the
    operator chose otherwise.
    """

    version: str
    source: str
    reason: str
    path: tuple[str, ...]
    is_older: bool = False

    def __str__(self) -> str:
        return f"{self.version} of {self.source}, {self.reason}"


@lru_cache(maxsize=1)
def in_use() -> ZoneRules:
    """The rules that this process uses from the first call on."""
    rules = choose(os.environ, zoneinfo.TZPATH, IANA_VERSION)
    zoneinfo.reset_tzpath(rules.path)
    zoneinfo.ZoneInfo.clear_cache()
    return rules


def choose(environ: Mapping[str, str], path: Sequence[str], package: str) -> ZoneRules:
    """The rules to use. `path`: the folders that Python searches; `package`: the edition of the package tzdata, empty
    if it is absent.
    """
    if "PYTHONTZPATH" in environ:
        return _named("PYTHONTZPATH", path, package)
    # Python does not know this variable, but the C library does, and so does everything else on the machine
    named = environ.get("TZDIR", "")
    if os.path.isabs(named) and os.path.isdir(named):
        return _named("TZDIR", (named,), package)
    folder = next((folder for folder in path if _is_database(folder)), None)
    if folder is None:
        reason = "the system has none" if package else "there is no other"
        return ZoneRules(package or UNKNOWN, PACKAGE, reason, ())
    system = edition(folder)
    if not package:
        return ZoneRules(system or UNKNOWN, folder, "there is no other", tuple(path))
    if not system:
        return ZoneRules(package, PACKAGE, f"{folder} does not say which edition it is", ())
    if _rank(package) > _rank(system):
        return ZoneRules(package, PACKAGE, f"newer than {system} of {folder}", ())
    than = "as new as" if system == package else "newer than"
    return ZoneRules(system, folder, f"{than} {package} of {PACKAGE}", tuple(path))


def edition(folder: str) -> str:
    """The edition that a folder's database names, such as 2025b; empty if it names none."""
    # tzdata.zi begins with `# version 2025b` (zic's own, also Debian's); +VERSION is that of BSD and macOS
    for name in ("tzdata.zi", "+VERSION"):
        try:
            with Path(folder, name).open(encoding="ascii", errors="replace") as file:
                match = _EDITION.search(file.read(_HEAD))
        except OSError:
            continue
        if match:
            return match[0]
    return ""


def _named(variable: str, path: Sequence[str], package: str) -> ZoneRules:
    folder = next((folder for folder in path if _is_database(folder)), None)
    if folder is None:
        return ZoneRules(package or UNKNOWN, PACKAGE, f"there is none where {variable} points", tuple(path))
    version = edition(folder)
    is_older = bool(version and package) and _rank(package) > _rank(version)
    than = f", though {package} of {PACKAGE} is newer" if is_older else ""
    return ZoneRules(version or UNKNOWN, folder, f"named by {variable}{than}", tuple(path), is_older)


def _is_database(folder: str) -> bool:
    return any(Path(folder, name).exists() for name in ("tzdata.zi", "+VERSION", "UTC", "Etc/UTC", "Europe"))


def _rank(version: str) -> tuple[int, int, str]:
    """A key to compare editions: 2026f is newer than 2026b, and 2026za is newer than 2026z."""
    year, letters = version[:4], version[4:]
    return int(year) if year.isdecimal() else 0, len(letters), letters
