"""Reads an INI file into sections and entries that know the line, or the environment variable, they come from.

`configparser` keeps no line numbers and stops at the first duplicate, so jobd reads the file itself. The syntax is that
of `configparser`: `[section]`, `key = value`, indented lines continue a value, `;` and `#` begin a comment line, ` ;`
ends a value. Nothing is interpolated, and names keep their case.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from jobd.errors import ConfigError

MAX_FILE_BYTES = 2**20
"""Bytes. A larger file was not meant as a configuration."""

VARIABLE = "JOBD__"
"""The prefix of environment variables that override keys."""


class Place(NamedTuple):
    """Where a value comes from, as text for messages; lines of the file sort before variables and flags."""

    line: float
    text: str


class Entry(NamedTuple):
    value: str
    place: Place


@dataclass
class Section:
    name: str
    place: Place
    entries: dict[str, Entry] = field(default_factory=dict)


class Faults:
    """Collects everything that is wrong, for one error with a line for each fault, in the file's order."""

    def __init__(self) -> None:
        self._faults: list[tuple[Place, str]] = []

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, place: Place, text: str, expected: str = "") -> None:
        """Add what is wrong at a place and, where that helps, what was expected there instead."""
        self._faults.append((place, f"{text}; expected {expected}" if expected else text))

    def error(self) -> ConfigError:
        """The error with all faults."""
        faults = sorted(self._faults, key=lambda fault: fault[0].line)
        lines = (f"{place.text}: {text}".replace("\n", " ") for place, text in faults)
        return ConfigError("\n".join(dict.fromkeys(lines)))


def read(path: Path, faults: Faults) -> dict[str, Section]:
    """The file's sections by name, in the file's order. Raises ConfigError if it cannot be read at all."""
    sections: dict[str, Section] = {}
    section: Section | None = None
    key = ""
    for number, line in enumerate(_text(path).split("\n"), 1):
        place = Place(number, f"{path}:{number}")
        stripped = re.split(r"(?:^|\s);", line, maxsplit=1)[0].strip()
        if not stripped or stripped.startswith("#"):
            continue
        if any(ord(character) < 32 and character != "\t" for character in stripped):
            faults.add(place, "contains a control character", "plain text")
        elif stripped.startswith("["):
            section, key = _section(sections, stripped, place, faults), ""
        elif section is None:
            faults.add(place, f"`{_name(stripped)}` stands before any section", "a line like [jobd] above it")
        elif line[0].isspace() and key:
            _continue(section, key, stripped, place, faults)
        else:
            key = _entry(section, stripped, place, faults)
    return sections


def override(
    sections: Mapping[str, Section], keys: Mapping[str, Iterable[str]], environ: Mapping[str, str], faults: Faults
) -> None:
    """Replace values of the file by those of variables `JOBD__SECTION__KEY`. `keys` has the keys of each section."""
    targets: dict[str, list[tuple[str, str]]] = {}
    for name, known in keys.items():
        for key in known:
            targets.setdefault(variable(name, key), []).append((name, key))
    for var, value in sorted(environ.items()):
        if not var.startswith(VARIABLE):
            continue
        place = Place(float("inf"), var)
        match targets.get(var, []):
            case [(name, key)]:
                sections[name].entries[key] = Entry(value.strip(), place)
            case []:
                faults.add(place, "no key has this variable", nearest(var, targets))
            case several:
                meant = " or ".join(f"[{name}] {key}" for name, key in several)
                faults.add(place, f"this may mean {meant}", "the key to be set in the file")


def variable(section: str, key: str) -> str:
    """The environment variable of a key: all but ASCII letters and digits become `_`."""
    return VARIABLE + "__".join(re.sub(r"[^A-Z0-9]", "_", name.upper()) for name in (section, key))


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like a misspelt one, or else all known names."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    return close[0] if close else f"one of {', '.join(known)}" if known else ""


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: not a file; expected the path of an INI file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}; expected the path of a readable INI file") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes; expected the path of an INI file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None


def _section(sections: dict[str, Section], text: str, place: Place, faults: Faults) -> Section:
    if not text.endswith("]") or not text[1:-1].strip():
        faults.add(place, f"`{text}` is not a section", "a line like [jobd]")
        return Section(text, place)
    name = text[1:-1].strip()
    if name in sections:
        faults.add(place, f"[{name}] is already on line {sections[name].place.line}", "one section of that name")
    return sections.setdefault(name, Section(name, place))


def _entry(section: Section, text: str, place: Place, faults: Faults) -> str:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        faults.add(place, f"[{section.name}] `{_name(text)}` is not a key with a value", "a line like key = value")
        return ""
    if key in section.entries:
        first = section.entries[key].place.line
        faults.add(place, f"[{section.name}] {key}: already on line {first}", "one line for each key")
        return ""
    section.entries[key] = Entry(value, place)
    return key


def _continue(section: Section, key: str, text: str, place: Place, faults: Faults) -> None:
    if re.match(r"\w+\s*=", text):
        indented = f"[{section.name}] `{_name(text)}` is indented, which continues `{key}`"
        faults.add(place, indented, "a key at the start of its line")
        return
    value, first = section.entries[key]
    section.entries[key] = Entry(f"{value}\n{text}".strip(), first)


def _name(line: str) -> str:
    """The first word of a line; the rest may be a password and is not repeated in messages."""
    return re.split(r"[\s=]", line, maxsplit=1)[0]
