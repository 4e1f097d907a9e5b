"""A run's output as bytes: how it is bounded while it is read, and how it is framed at rest.

A frame is a header (microseconds since the Unix epoch, stream, length) and the bytes as the program wrote them. A cut
is a frame of a stream of its own whose 8 bytes are the number of bytes left out, so that it survives every rendering.
"""

import re
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

from jobd.executor import LogChunk, Stream

_HEADER = struct.Struct(">qBI")
_COUNT = struct.Struct(">Q")
_STREAMS: tuple[str, ...] = ("stdout", "stderr", "cut")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """What is kept of a log, in order: output, or a `cut` that stands for `omitted` bytes."""

    time: datetime
    stream: Literal["stdout", "stderr", "cut"]
    data: bytes
    omitted: int = 0


@dataclass(frozen=True)
class Kept:
    """`frames` is what is stored; `size` counts all that the program wrote, kept or not, in bytes."""

    frames: bytes
    size: int


def keep(chunks: Iterable[LogChunk], limit: int) -> Kept:
    """Keep the first and the last `limit` / 2 bytes of the output; memory stays within a small multiple of `limit`."""
    head_room = limit // 2
    tail_room = limit - head_room
    head: list[Entry] = []
    tail: deque[Entry] = deque()
    size = tail_size = omitted = 0
    for chunk in chunks:
        size += len(chunk.data)
        first, rest = chunk.data[:head_room], chunk.data[head_room:]
        head_room -= len(first)
        if first:
            head.append(Entry(chunk.time, chunk.stream, first))
        if not rest:
            continue
        tail.append(Entry(chunk.time, chunk.stream, rest))
        tail_size += len(rest)
        while tail_size > tail_room:
            surplus = tail_size - tail_room
            oldest = tail.popleft()
            lost = min(surplus, len(oldest.data))
            if lost < len(oldest.data):
                tail.appendleft(Entry(oldest.time, oldest.stream, oldest.data[lost:]))
            omitted += lost
            tail_size -= lost
    cut = [Entry(tail[0].time if tail else head[-1].time, "cut", b"", omitted)] if omitted else []
    return Kept(encode([*head, *cut, *tail]), size)


def encode(entries: Iterable[Entry]) -> bytes:
    """Frames of these entries, compressed."""
    packer = zlib.compressobj(level=1)
    parts = []
    for entry in entries:
        data = _COUNT.pack(entry.omitted) if entry.stream == "cut" else entry.data
        micros = (entry.time - _EPOCH) // timedelta(microseconds=1)
        parts.append(packer.compress(_HEADER.pack(micros, _STREAMS.index(entry.stream), len(data)) + data))
    return b"".join([*parts, packer.flush()])


def decode(frames: bytes) -> Iterator[Entry]:
    """The entries of `frames`, in order. Raises ValueError when they are damaged."""
    try:
        raw = memoryview(zlib.decompress(frames))
    except zlib.error as error:
        raise ValueError(f"damaged log: {error}") from error
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


@dataclass(frozen=True)
class Line:
    """One line with its end, or a `cut`; `time` is that of its first byte."""

    time: datetime
    stream: Literal["stdout", "stderr", "cut"]
    data: bytes


def lines(entries: Iterable[Entry], stream: Stream | None = None) -> Iterator[Line]:
    """Output by lines, each stream's put together again, in the order in which they ended; both streams or one."""
    begun: dict[str, tuple[datetime, bytearray]] = {}

    def rest() -> Iterator[Line]:
        for name, (time, data) in begun.items():
            yield Line(time, cast(Stream, name), bytes(data))
        begun.clear()

    for entry in entries:
        if entry.stream == "cut":
            yield from rest()
            yield Line(entry.time, "cut", _mark(entry).lstrip(b"\n"))
        elif stream in (None, entry.stream):
            for part in _LINE.findall(entry.data):
                time, data = begun.setdefault(entry.stream, (entry.time, bytearray()))
                data += part
                if part.endswith(b"\n"):
                    del begun[entry.stream]
                    yield Line(time, entry.stream, bytes(data))
    yield from rest()


def tail(found: Iterable[Line], count: int | None) -> Iterable[Line]:
    """The last `count` lines; None: all."""
    return found if count is None else deque(found, maxlen=count)


def as_text(entries: Iterable[Entry], stream: Stream | None = None) -> bytes:
    """Output as the program wrote it, both streams or one; a cut is a line of its own."""
    parts = []
    for entry in entries:
        if entry.stream == "cut":
            parts.append(_mark(entry))
        elif stream in (None, entry.stream):
            parts.append(entry.data)
    return b"".join(parts)


def _mark(cut: Entry) -> bytes:
    return f"\n[jobd: {cut.omitted} bytes left out here]\n".encode()
