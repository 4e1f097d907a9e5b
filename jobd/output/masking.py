"""Hides the values of secrets in what a program prints.

Every byte that lies in an occurrence of a value, or of a line of one, is hidden, also where occurrences overlap; each
unbroken stretch of hidden bytes becomes one `******`. What comes out depends on the bytes that come in and on nothing
else: not on how they are cut into chunks, and not on time. So offsets in it mean the same whenever a run is read.

The values make an Aho-Corasick automaton: the time it takes is proportional to the output, whatever the values are.
"""

import re
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from jobd.executor import LogChunk, Stream

MASK = "******"
MIN_SECRET = 4
"""In characters. A shorter value, or line of one, would be found in half of all words, so it is not hidden."""

_MASK = MASK.encode()
_STREAMS: tuple[Stream, ...] = ("stdout", "stderr")


def hidden(values: Iterable[str]) -> set[bytes]:
    """The texts to hide for these values: each value and each of its lines, without leading and trailing blanks."""
    texts = {text.strip() for value in values for text in (value, *value.splitlines())}
    return {text.encode() for text in texts if len(text) >= MIN_SECRET}


class Mask:
    """What to hide in the output of one run. Safe to use from any thread."""

    def __init__(self, values: Iterable[str]) -> None:
        self._automaton = _Automaton(hidden(values))

    def apply(self, chunks: Iterable[LogChunk], final: bool = True) -> Iterator[LogChunk]:
        """All of a run's output, from its beginning, masked. What may be the beginning of a value is held back until
        its stream goes on. At the end it is output like any other, but only if it is `final`.
        """
        masking = self.begin()
        for chunk in chunks:
            yield from masking.add(chunk)
        if final:
            yield from masking.rest()

    def begin(self) -> "Masking":
        """Mask the output of a run as it comes."""
        return Masking(self._automaton)

    def text(self, text: str) -> str:
        """A text by itself, masked."""
        side = _Side(self._automaton)
        chunk = LogChunk(datetime.min, "stdout", text.encode("utf-8", "replace"))
        return b"".join(piece.data for piece in (*side.add(chunk), *side.rest("stdout"))).decode("utf-8", "replace")


class Masking:
    """The output of one run while it is masked."""

    def __init__(self, automaton: "_Automaton") -> None:
        self._sides = {stream: _Side(automaton) for stream in _STREAMS}

    def add(self, chunk: LogChunk) -> Iterator[LogChunk]:
        return self._sides[chunk.stream].add(chunk)

    def rest(self) -> Iterator[LogChunk]:
        """What is still held back, at the end."""
        for stream, side in self._sides.items():
            yield from side.rest(stream)

    def break_off(self) -> Iterator[LogChunk]:
        """What is held back where output is missing, hidden: it may be the first part of a value."""
        for stream, side in self._sides.items():
            for chunk in side.rest(stream):
                yield LogChunk(chunk.time, stream, _MASK)


class _Automaton:
    """States are numbers, 0 is the root. `depth` is the length of the longest end of the input that begins a text,
    `longest` that of the longest text which the input ends with.
    """

    def __init__(self, texts: Iterable[bytes]) -> None:
        self.next: dict[int, int] = {}
        """State * 256 + byte -> state."""
        self.fail = array("l", [0])
        self.depth = array("l", [0])
        self.longest = array("l", [0])
        openings: list[set[int]] = [set() for _ in range(MIN_SECRET)]
        for text in texts:
            self._add(text)
            for place, byte in zip(openings, text, strict=False):
                place.add(byte)
        self._link()
        # No text begins where this does not match: plain output is passed over at the speed of `re`.
        self.opening = re.compile(b"".join(_one_of(place) for place in openings) or b"(?!)")

    def step(self, state: int, byte: int) -> int:
        follow, fail = self.next, self.fail
        while True:
            following = follow.get(state << 8 | byte)
            if following is not None:
                return following
            if not state:
                return 0
            state = fail[state]

    def _add(self, text: bytes) -> None:
        state = 0
        for byte in text:
            following = self.next.get(state << 8 | byte)
            if following is None:
                following = self.next[state << 8 | byte] = len(self.fail)
                self.fail.append(0)
                self.depth.append(self.depth[state] + 1)
                self.longest.append(0)
            state = following
        self.longest[state] = len(text)

    def _link(self) -> None:
        children: dict[int, list[tuple[int, int]]] = {}
        for key, state in self.next.items():
            children.setdefault(key >> 8, []).append((key & 255, state))
        waiting = deque([0])
        while waiting:
            parent = waiting.popleft()
            for byte, state in children.pop(parent, ()):
                self.fail[state] = self.step(self.fail[parent], byte) if parent else 0
                self.longest[state] = self.longest[state] or self.longest[self.fail[state]]
                waiting.append(state)


@dataclass
class _Stretch:
    """Hidden bytes, by their places in the buffer."""

    start: int
    end: int


class _Side:
    """One stream. Its buffer consists of what is held back, followed by what comes."""

    def __init__(self, automaton: _Automaton) -> None:
        self._automaton = automaton
        self._state = 0
        self._held = b""
        self._held_since = datetime.min
        self._stretches: list[_Stretch] = []
        self._is_hiding = False
        """Whether the last byte before the buffer is hidden: then no new mark is made for what adjoins it."""

    def add(self, chunk: LogChunk) -> Iterator[LogChunk]:
        self._scan(chunk.data)
        buffer = self._held + chunk.data
        # Part of what may be a beginning may already be hidden: it is given out as hidden, and stays so whatever comes.
        decided = max(len(buffer) - self._automaton.depth[self._state], 0)
        decided = next((s.end for s in self._stretches if s.start <= decided < s.end), decided)
        return self._give(chunk.stream, buffer, decided, chunk.time)

    def rest(self, stream: Stream) -> Iterator[LogChunk]:
        """What is held back, at the end of the stream."""
        return self._give(stream, self._held, len(self._held), self._held_since)

    def _scan(self, data: bytes) -> None:
        automaton, state, offset = self._automaton, self._state, len(self._held) + 1
        follow, step, longest, find = automaton.next.get, automaton.step, automaton.longest, automaton.opening.search
        at, end = 0, len(data)
        while at < end:
            if not state:
                match = find(data, at)
                at = match.start() if match else max(at, end - MIN_SECRET + 1)
            # The step for most bytes, without a function call.
            state = follow(state << 8 | data[at]) or step(state, data[at])
            if longest[state]:
                self._hide(offset + at - longest[state], offset + at)
            at += 1
        self._state = state

    def _hide(self, start: int, end: int) -> None:
        stretches = self._stretches
        start = max(start, 0)
        while stretches and stretches[-1].end >= start:
            if stretches[-1].start <= start:
                stretches[-1].end = end
                return
            stretches.pop()
        stretches.append(_Stretch(start, end))

    def _give(self, stream: Stream, buffer: bytes, decided: int, time: datetime) -> Iterator[LogChunk]:
        """The first `decided` bytes of the buffer; bytes that were held back have the time at which they came."""
        old, at = len(self._held), 0
        parts = (bytearray(), bytearray())
        ready = [stretch for stretch in self._stretches if stretch.start < decided]
        for stretch in [*ready, _Stretch(decided, decided)]:
            if at < stretch.start:
                parts[0].extend(buffer[at : min(stretch.start, old)])
                parts[1].extend(buffer[max(at, old) : stretch.start])
                self._is_hiding = False
            if stretch.start < stretch.end and not self._is_hiding:
                parts[stretch.start >= old].extend(_MASK)
                self._is_hiding = True
            at = stretch.end
        times = (self._held_since, time)
        self._stretches = [_Stretch(s.start - decided, s.end - decided) for s in self._stretches[len(ready) :]]
        self._held = buffer[decided:]
        self._held_since = times[decided >= old]
        return (LogChunk(when, stream, bytes(part)) for when, part in zip(times, parts, strict=True) if part)


def _one_of(bytes_: set[int]) -> bytes:
    return b"[" + b"".join(re.escape(bytes([byte])) for byte in sorted(bytes_)) + b"]" if bytes_ else b""
