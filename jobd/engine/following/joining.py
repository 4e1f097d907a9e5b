"""Joins what was read of a run while it went on with what is stored of it, where the two may differ.

A daemon that reads a run beside its owner gets it from the region's own log, which may drop lines before they are read.
Then offsets in the one are not offsets in the other; what a follower has missed is given after what he has.
"""

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from jobd.executor import LogChunk, Stream
from jobd.output.run_log import Entry, Output, since

LAST = 4096
"""How many bytes at the end must be the same for the place to be recognized."""
REST = 65536
"""Bytes of the stored output that are given if the place is not recognized."""
LINES_AT_ONCE = 100
"""Lines that are added without letting anybody else read, in a tenth of a millisecond."""
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class _Line:
    time: datetime
    stream: Stream
    data: bytes


def agree(read: Output, stored: Output) -> bool:
    """Whether what was read is the beginning of what is stored, as far as both have it."""
    if stored.size < read.size:
        return False
    begun, record = _beginning(read.read(0)), _beginning(stored.read(0, read.size))
    size = min(len(begun), len(record))
    if begun[:size] != record[:size]:
        return False
    at = max(read.size - LAST, 0)
    ours, theirs = read.read(at), stored.read(at, read.size - at)
    # what is left out of either cannot be compared
    return _has_cut(ours) or _has_cut(theirs) or _text(ours) == _text(theirs)


def go_on_with(read: Output, stored: Output, lock: AbstractContextManager[object]) -> None:
    """Add to what was read what is stored and was not read, with a mark wherever the order is not that
    of the record. `lock` is held for a few lines at a time: the event loop takes it to serve followers.
    """
    ours, theirs = read.read(0), stored.read(0)
    runs = None if _has_cut(ours) or _has_cut(theirs) else _not_read(_lines(ours), _lines(theirs))
    if runs is None:
        _add(read, _behind(ours, theirs), lock)
        return
    *lost, rest = runs
    for run in lost:
        _add(read, run, lock)
    _add(read, rest, lock, is_marked=bool(lost))


def _add(read: Output, lines: list[_Line], lock: AbstractContextManager[object], is_marked: bool = True) -> None:
    for start in range(0, len(lines), LINES_AT_ONCE):
        with lock:
            if start == 0 and is_marked:
                read.gap(lines[0].time)
            for line in lines[start : start + LINES_AT_ONCE]:
                read.add(LogChunk(line.time, line.stream, line.data))


def _not_read(read: Iterable[_Line], stored: Iterable[_Line]) -> list[list[_Line]] | None:
    """The stored lines that were not read, in runs of neighbouring lines; the last run, which may be empty, follows all
    that was read. None if something was read that is not stored.
    """
    unread: dict[Stream, deque[bytes]] = defaultdict(deque)
    for line in read:
        unread[line.stream].append(line.data)
    runs: list[list[_Line]] = [[]]
    for line in stored:
        own = unread[line.stream]
        if not own or not (line.data == own[0] or _is_begun(own, line)):
            runs[-1].append(line)
            continue
        if runs[-1]:
            runs.append([])
        begun = own.popleft()
        if len(begun) < len(line.data):
            runs[-1].append(_Line(line.time, line.stream, line.data[len(begun) :]))
    return None if any(unread.values()) else runs


def _is_begun(own: deque[bytes], line: _Line) -> bool:
    """Whether the last line read is the beginning of this line."""
    return len(own) == 1 and not own[0].endswith(b"\n") and line.data.startswith(own[0])


def _behind(ours: list[Entry], theirs: list[Entry]) -> list[_Line]:
    """What is stored after the last bytes that were read; or the last line once more, since there has to be something
    to mark.
    """
    text = _text(theirs)
    at = _end_of(_text(ours)[-LAST:], text)
    at = max(len(text) - REST, 0) if at is None else at
    at = min(at, text.rfind(b"\n", 0, max(len(text) - 1, 0)) + 1)
    rest = since([entry for entry in theirs if entry.stream != "cut"], at)
    return list(_lines(rest))


def _end_of(last: bytes, text: bytes) -> int | None:
    """Where the last bytes read end in a text: as many of them as are found there, but at least their last line."""
    # Backwards, since of the two `rfind` alone is quadratic: of a text that repeats itself it takes seconds a megabyte.
    backwards, last_backwards = text[::-1], last[::-1]
    last_line = last.splitlines(keepends=True)[-1:]
    for size in (LAST, LAST // 4, LAST // 16, *map(len, last_line)):
        position = backwards.find(last_backwards[:size])
        if position >= 0:
            return len(text) - position
    return None


def _lines(entries: Iterable[Entry]) -> Iterator[_Line]:
    """The lines in the order in which they ended, those of each stream separately."""
    begun: dict[Stream, tuple[datetime, list[bytes]]] = {}
    for entry in entries:
        if entry.stream == "cut":
            continue
        for part in _LINE.findall(entry.data):
            _, parts = begun.pop(entry.stream, (entry.time, []))
            parts.append(part)
            if part.endswith(b"\n"):
                yield _Line(entry.time, entry.stream, b"".join(parts))
            else:
                begun[entry.stream] = entry.time, parts
    for stream, (time, parts) in begun.items():
        yield _Line(time, stream, b"".join(parts))


def _has_cut(entries: Iterable[Entry]) -> bool:
    return any(entry.stream == "cut" for entry in entries)


def _beginning(entries: Iterable[Entry]) -> bytes:
    """The text before the first cut."""
    return _text(takewhile(lambda entry: entry.stream != "cut", entries))


def _text(entries: Iterable[Entry]) -> bytes:
    return b"".join(entry.data for entry in entries)
