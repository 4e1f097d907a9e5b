"""From what was read of a run while it went on to what is stored of it, where both may not be the same.

Whoever reads a run beside its owner has it from the region's own log, which may drop lines before they are read. Then
places in the one are no places in the other.
"""

from jobd.executor import LogChunk
from jobd.output.run_log import Entry, Output, since

LAST = 4096
"""Bytes by whose sameness the place is known again."""
REST = 65536
"""Bytes of the stored output that are given where it is not known."""


def agree(read: Output, stored: Output) -> bool:
    """Whether what was read is the beginning of what is stored, by its last bytes."""
    at = max(read.size - LAST, 0)
    if stored.size < read.size:
        return False
    ours, theirs = read.read(at), stored.read(at, read.size - at)
    # what is left out of either cannot be compared
    is_comparable = not any(entry.stream == "cut" for entry in (*ours, *theirs))
    return not is_comparable or _text(ours) == _text(theirs)


def go_on_with(read: Output, stored: Output) -> None:
    """Add to what was read what is stored behind it, with a mark that output is missing."""
    entries = stored.read(0)
    text, last = _text(entries), _text(read.read(max(read.size - LAST, 0)))
    at = _end_of(last, text)
    at = max(len(text) - REST, 0) if at is None else at
    rest = list(since([entry for entry in entries if entry.stream != "cut"], at))
    if rest:
        read.gap(rest[0].time)
    for entry in rest:
        if entry.stream != "cut":
            read.add(LogChunk(entry.time, entry.stream, entry.data))


def _end_of(last: bytes, text: bytes) -> int | None:
    """Where what was read last ends in a text: as much of it as is found there, its last line at least."""
    last_line = last.splitlines(keepends=True)[-1:]
    for size in (LAST, LAST // 4, LAST // 16, *map(len, last_line)):
        found = text.rfind(last[-size:])
        if found >= 0:
            return found + len(last[-size:])
    return None


def _text(entries: list[Entry]) -> bytes:
    return b"".join(entry.data for entry in entries)
