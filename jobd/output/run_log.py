"""A run's output as bytes: how it is bounded while it is read, and how it is framed when it is stored.

A frame is a header (microseconds since the Unix epoch, stream, length) and the bytes as the program wrote them. A cut
is a frame of a stream of its own, whose 8 bytes are the number of bytes that were left out, so that every form of the
log shows it. A cut of 0 bytes is a gap: output may be missing there, and nobody knows how much.
"""

import re
import struct
import zlib
from bisect import bisect_left
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from jobd.executor import LogChunk, Stream

_HEADER = struct.Struct(">qBI")
_LENGTH = struct.Struct(">I")
_COUNT = struct.Struct(">Q")
_STREAMS: tuple[str, ...] = ("stdout", "stderr", "cut")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BLOCK = 65536
"""The maximum number of neighbouring bytes that become one entry."""
_UNLIMITED = 2**62
_TOGETHER = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """A part of a log, in order: output, or a `cut` that stands for `omitted` bytes, 0 if nobody knows how many."""

    time: datetime
    stream: Literal["stdout", "stderr", "cut"]
    data: bytes
    omitted: int = 0

    @property
    def length(self) -> int:
        """How many bytes of the whole output it stands for."""
        return len(self.data) + self.omitted


class Batch(list[Entry]):
    """Neighbouring entries that several followers may get: what is made of them once serves all who read the same."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        super().__init__(entries)
        self.encodings: dict[Hashable, Any] = {}


@dataclass(frozen=True)
class StoredLog:
    """`frames` is what is stored; `size` is how many bytes the program wrote, whether or not they were kept. `missing`
    says in words why output may be missing that jobd has never seen.
    """

    frames: bytes
    size: int
    is_cut: bool = False
    missing: str = ""


class Output:
    """Output that grows. It keeps the first and the last bytes of what was added, `limit` / 2 each; memory stays within
    a small multiple of `limit`. A place in it is an offset in bytes from the beginning of the whole output, over both
    streams and including what was left out.
    """

    def __init__(self, limit: int) -> None:
        self.size = 0
        """Bytes added so far, kept or not."""
        self._head_end = limit // 2
        self._tail_room = limit - limit // 2
        self._head: list[_Block] = []
        self._tail: list[_Block] = []
        self._surplus = 0
        """Blocks at the beginning of `_tail` that are left out by now."""

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Output":
        """All of a stored log, with its cut."""
        output = cls(_UNLIMITED)
        output.begin_with(entries)
        return output

    def begin_with(self, entries: Iterable[Entry]) -> None:
        """Begin with what was kept before, with its cut; nothing may have been added yet."""
        for entry in entries:
            if entry.stream != "cut":
                self.add(LogChunk(entry.time, entry.stream, entry.data))
            elif entry.omitted:
                self.size += entry.omitted
            else:
                self.gap(entry.time)

    def gap(self, time: datetime) -> None:
        """Output may be missing before what is added next."""
        blocks = self._head if self.size < self._head_end else self._tail
        blocks.append(_Block(self.size, time, "cut", bytearray()))

    def add(self, chunk: LogChunk) -> None:
        blocks = self._head if self.size < self._head_end else self._tail
        last = blocks[-1] if blocks else None
        if last is not None and last.end == self.size and last.takes(chunk):
            last.data += chunk.data
        elif chunk.data:
            blocks.append(_Block(self.size, chunk.time, chunk.stream, bytearray(chunk.data)))
        self.size += len(chunk.data)
        if blocks is self._tail:
            self._drop()

    def read(self, offset: int, most: int | None = None, most_entries: int | None = None) -> list[Entry]:
        """What is kept from `offset` on, at most `most` bytes of it in about `most_entries` entries; a cut where the
        next bytes were left out. Each entry ends as far after its beginning as the length of its `data` plus `omitted`.
        """
        entries: list[Entry] = []
        gap: Entry | None = None
        tail_start = self._tail_start
        room = self.size if most is None else most
        for block in self._from(offset):
            if block.stream == "cut" and block.start >= offset:
                gap = Entry(block.time, "cut", b"")
            for start, end in ((0, self._head_end), (tail_start, self.size)):
                start = max(block.start, start, offset)
                end = min(block.end, end, start + room)
                if start >= end:
                    continue
                if start > offset:
                    entries.append(Entry(block.time, "cut", b"", start - offset))
                if gap is not None and block.stream != "cut":
                    entries.append(gap)
                    gap = None
                data = bytes(block.data[start - block.start : end - block.start])
                entries.append(Entry(block.time, block.stream, data))
                offset, room = end, room - len(data)
            if room <= 0 or (most_entries is not None and len(entries) >= most_entries):
                return entries
        if self.size > offset and room:
            # the tail has no room, and all of it was left out
            last = (self._tail or self._head)[-1]
            entries.append(Entry(last.time, "cut", b"", self.size - offset))
        return entries

    @property
    def _tail_start(self) -> int:
        return max(self.size - self._tail_room, self._head_end)

    def _from(self, offset: int) -> Iterator["_Block"]:
        """The blocks that reach beyond `offset`."""
        for blocks in (self._head, self._tail):
            first = bisect_left(blocks, offset, key=lambda block: block.start)
            # not islice, which would step through all blocks before the first
            for index in range(max(first - 1, 0), len(blocks)):
                yield blocks[index]

    def _drop(self) -> None:
        start = self._tail_start
        while self._surplus < len(self._tail) - 1 and self._tail[self._surplus].end <= start:
            self._surplus += 1
        # many at a time: otherwise the rest would be moved each time
        if self._surplus > len(self._tail) // 2:
            del self._tail[: self._surplus]
            self._surplus = 0


@dataclass(slots=True)
class _Block:
    """Neighbouring bytes of one stream, written within a millisecond; without bytes, a gap."""

    start: int
    time: datetime
    stream: Literal["stdout", "stderr", "cut"]
    data: bytearray

    @property
    def end(self) -> int:
        return self.start + len(self.data)

    def takes(self, chunk: LogChunk) -> bool:
        return (
            belong_together(self.time, chunk)
            and chunk.stream == self.stream
            and len(self.data) + len(chunk.data) <= BLOCK
        )


def keep(chunks: Iterable[LogChunk], limit: int) -> StoredLog:
    """Keep the first and the last `limit` / 2 bytes of the output; memory stays within a small multiple of `limit`."""
    output = Output(limit)
    for chunk in chunks:
        output.add(chunk)
    entries = output.read(0)
    return StoredLog(encode(entries), output.size, is_cut(entries))


def is_cut(entries: Iterable[Entry]) -> bool:
    """Whether bytes that came were left out."""
    return any(entry.stream == "cut" and entry.omitted for entry in entries)


def belong_together(time: datetime, chunk: LogChunk) -> bool:
    """Whether a chunk came so soon after what began at `time` that the two need no separate times."""
    return timedelta(0) <= chunk.time - time < _TOGETHER


def since(entries: Iterable[Entry], offset: int) -> Iterator[Entry]:
    """The entries from an offset in the whole output on; an entry that contains the offset loses what is before it."""
    at = 0
    for entry in entries:
        passed = min(max(offset - at, 0), entry.length)
        at += entry.length
        if passed == 0 and (entry.length or at >= offset):
            yield entry
        elif passed < entry.length:
            yield Entry(entry.time, entry.stream, entry.data[passed:], max(entry.omitted - passed, 0))


def encode(entries: Iterable[Entry]) -> bytes:
    """The frames of these entries, compressed."""
    packer = zlib.compressobj(level=1)
    parts = []
    for entry in entries:
        parts.append(packer.compress(pack(entry)))
    return b"".join([*parts, packer.flush()])


def pack(entry: Entry) -> bytes:
    """The frame of one entry."""
    data = _COUNT.pack(entry.omitted) if entry.stream == "cut" else entry.data
    micros = (entry.time - _EPOCH) // timedelta(microseconds=1)
    return _HEADER.pack(micros, _STREAMS.index(entry.stream), len(data)) + data


def set_length(frames: bytearray, at: int, length: int) -> None:
    """Set the length of the last frame, which is of output and begins at `at`, to `length` bytes."""
    _LENGTH.pack_into(frames, at + _HEADER.size - _LENGTH.size, length)


def decode(frames: bytes) -> Iterator[Entry]:
    """The entries of stored frames, in order. Raises ValueError if they are damaged."""
    try:
        raw = zlib.decompress(frames)
    except zlib.error as error:
        raise ValueError(f"damaged log: {error}") from error
    yield from unpack(raw)


def unpack(frames: bytes) -> Iterator[Entry]:
    """The entries of frames that are not compressed, in order."""
    raw = memoryview(frames)
    at = 0
    while at < len(raw):
        micros, number, length = _HEADER.unpack_from(raw, at)
        at += _HEADER.size
        data = bytes(raw[at : at + length])
        at += length
        time = _EPOCH + timedelta(microseconds=micros)
        if _STREAMS[number] == "cut":
            yield Entry(time, "cut", b"", _COUNT.unpack(data)[0])
        else:
            yield Entry(time, cast(Stream, _STREAMS[number]), data)


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its line end, or a `cut`; `time` is that of its first byte."""

    time: datetime
    stream: Literal["stdout", "stderr", "cut"]
    data: bytes


class Lines:
    """Joins the lines of each stream, in the order in which they end; of both streams or of one."""

    def __init__(self, stream: Stream | None = None) -> None:
        self._stream = stream
        self._begun: dict[str, tuple[datetime, bytearray]] = {}

    @property
    def begun(self) -> tuple[tuple[str, datetime, bytes], ...]:
        """The lines that have not ended yet: what comes next depends on nothing else. May be set."""
        return tuple((name, time, bytes(data)) for name, (time, data) in self._begun.items())

    @begun.setter
    def begun(self, begun: tuple[tuple[str, datetime, bytes], ...]) -> None:
        self._begun = {name: (time, bytearray(data)) for name, time, data in begun}

    def add(self, entry: Entry, longest: int | None = None) -> Iterator[Line]:
        """The lines that this entry completes. A line of at least `longest` bytes is broken into several."""
        if entry.stream == "cut":
            yield from self.rest()
            yield Line(entry.time, "cut", mark(entry).lstrip(b"\n"))
        elif self._stream in (None, entry.stream):
            for part in _LINE.findall(entry.data):
                time, data = self._begun.setdefault(entry.stream, (entry.time, bytearray()))
                data += part
                is_too_long = longest is not None and len(data) >= longest
                if is_too_long and not part.endswith(b"\n"):
                    data += b"\n"
                if data.endswith(b"\n"):
                    del self._begun[entry.stream]
                    yield Line(time, entry.stream, bytes(data))

    def rest(self) -> Iterator[Line]:
        """The lines that have not ended."""
        for name, (time, data) in self._begun.items():
            yield Line(time, cast(Stream, name), bytes(data))
        self._begun.clear()


def lines(entries: Iterable[Entry], stream: Stream | None = None) -> Iterator[Line]:
    """Output by lines, of both streams or of one."""
    joined = Lines(stream)
    for entry in entries:
        yield from joined.add(entry)
    yield from joined.rest()


def tail(all_lines: Iterable[Line], count: int | None) -> Iterable[Line]:
    """The last `count` lines; None for all."""
    return all_lines if count is None else deque(all_lines, maxlen=count)


def as_text(entries: Iterable[Entry], stream: Stream | None = None) -> bytes:
    """Output as the program wrote it, of both streams or of one; a cut is a line of its own."""
    parts = []
    for entry in entries:
        if entry.stream == "cut":
            parts.append(mark(entry))
        elif stream in (None, entry.stream):
            parts.append(entry.data)
    return b"".join(parts)


def mark(cut: Entry) -> bytes:
    """What stands in the text in place of what was left out."""
    if not cut.omitted:
        return b"\n[jobd: output may be missing here]\n"
    return f"\n[jobd: {cut.omitted} bytes left out here]\n".encode()
