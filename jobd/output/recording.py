"""A run's output while it runs: masked, and of everything that came the first and the last bytes.

As long as it is little it stays in memory, and then goes into a file without a name. So with any number of runs,
however much they write, memory stays within `IN_MEMORY` for each, and a process that dies leaves no file behind.
"""

import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

from jobd.errors import HandleGone
from jobd.executor import Collected, LogChunk
from jobd.output import run_log
from jobd.output.masking import Mask, Masking
from jobd.output.run_log import Entry, StoredLog

IN_MEMORY = 65536
"""How many bytes of one run's frames wait in memory, approximately, before they are written to its file."""
_PLACES = (0, 2**34, 2**35)
"""Offsets in the file at which the beginning lies, and by turns two parts of the end. Files of such a length have
holes.
"""


class Listener(Protocol):
    """Follows a recording. Called from other threads, one call at a time; it must return quickly."""

    def begin(self, entries: list[Entry]) -> None:
        """Gets what has been kept so far."""

    def add(self, chunk: LogChunk) -> None:
        """Gets what comes after that."""

    def end(self) -> None:
        """Called when the recording has ended."""


class Recording:
    """The output of one run, of which `limit` bytes are kept, only in memory if there is no `folder` for its file. One
    thread adds; all others may read meanwhile.
    """

    def __init__(self, limit: int, mask: Mask | None, folder: Path | None) -> None:
        self.mask = mask
        self.collected: Collected | None = None
        """The executor's side, which adds to this recording."""
        self._masking: Masking | None = None if mask is None else mask.begin()
        self._spool = Spool(limit, folder)
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._fault: OSError | None = None
        self._kept: StoredLog | None = None
        self._closed = False

    def add(self, chunk: LogChunk) -> None:
        with self._lock:
            self._keep([chunk] if self._masking is None else self._masking.add(chunk))

    def gap(self) -> None:
        with self._lock:
            if self._masking is not None and self.mask is not None:
                self._keep(self._masking.break_off())
                self._masking = self.mask.begin()
            if not self._closed:
                self._spool.gap()

    def begin_listening(self, listener: Listener) -> None:
        """`listener` gets what has been kept so far, then everything that comes after it. Raises OSError."""
        with self._lock:
            self._check()
            listener.begin(self._spool.entries())
            if self._closed:
                listener.end()
            else:
                self._listeners.append(listener)

    def end_listening(self, listener: Listener) -> None:
        with self._lock, suppress(ValueError):
            self._listeners.remove(listener)

    @property
    def is_fed(self) -> bool:
        """Whether an executor adds to it, and everything could be kept so far."""
        return self.collected is not None and self._fault is None and not self._closed

    @property
    def is_closed(self) -> bool:
        return self._closed

    def frames(self) -> bytes:
        """What has been kept so far, as `jobd.output.run_log` frames. Raises OSError."""
        with self._lock:
            self._check()
            entries = self._spool.entries()
        return run_log.encode(entries)

    def complete(self, gives_up: str = "") -> StoredLog:
        """Everything that is kept of a run that has ended; with `gives_up`, a reason in words, only what has come so
        far. Blocks.

        Raises ExecutorError, OSError.
        """
        if self._kept is not None:
            return self._kept
        missing = gives_up
        if self.collected is not None and not gives_up:
            try:
                missing = self.collected.complete()
            except HandleGone:
                missing = "its container went before all of it was read"
        with self._lock:
            if self._masking is not None:
                self._keep(self._masking.rest())
                self._masking = None
            self._check()
            entries = self._spool.entries()
            self._kept = StoredLog(run_log.encode(entries), self._spool.size, run_log.is_cut(entries), missing)
        return self._kept

    def close(self) -> None:
        """Let go of the executor that adds to it, and of its file. Does not wait for readers."""
        self._closed = True
        if self.collected is not None:
            self.collected.close()
        if self._lock.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._lock.release()
        else:
            threading.Thread(target=self._let_go_later, daemon=True).start()

    def _let_go_later(self) -> None:
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        self._spool.close()
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.end()

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _keep(self, chunks: Iterable[LogChunk]) -> None:
        for chunk in chunks:
            if self._closed:
                return
            try:
                if self._fault is None:
                    self._spool.add(chunk)
            except OSError as error:
                # a full disk must not stop a thread that also reads for other runs
                self._fault = error
                self._spool.close()
            for listener in self._listeners:
                listener.add(chunk)


class Spool:
    """The first and the last bytes of what is added, `limit` / 2 each. Not safe for threads. Raises OSError."""

    def __init__(self, limit: int, folder: Path | None) -> None:
        self.size = 0
        """Bytes added so far, kept or not."""
        self._folder = folder
        self._head_room, self._tail_room = limit // 2, limit - limit // 2
        self._head, self._old, self._new = (_Area(place) for place in _PLACES)
        """The last bytes are in `new`, and those before them in `old`: when `new` is full it takes the
        place of `old`.
        """
        self._file: IO[bytes] | None = None
        self._last_time: datetime | None = None

    def add(self, chunk: LogChunk) -> None:
        self._last_time = chunk.time
        self.size += len(chunk.data)
        room = self._head_room - self._head.size
        if room > 0:
            self._append(self._head, LogChunk(chunk.time, chunk.stream, chunk.data[:room]))
            chunk = LogChunk(chunk.time, chunk.stream, chunk.data[room:])
        if chunk.data and self._tail_room:
            if self._new.size >= self._tail_room:
                self._old, self._new = self._new, _Area(self._old.place)
            self._append(self._new, chunk)

    def gap(self) -> None:
        """Record that output may be missing here."""
        area = self._head if self._head.size < self._head_room else self._new
        area.add_gap(self._last_time or datetime.now(UTC))

    def entries(self) -> list[Entry]:
        """What is kept; a gap is included only if something follows it."""
        head = list(self._entries(self._head))
        tail = [*self._entries(self._old), *self._entries(self._new)]
        surplus = max(self._old.size + self._new.size - self._tail_room, 0)
        kept = list(run_log.since(tail, surplus)) if surplus else tail
        omitted = self.size - self._head.size - (self._old.size + self._new.size - surplus)
        if omitted:
            time = kept[0].time if kept else self._last_time or datetime.now(UTC)
            kept.insert(0, Entry(time, "cut", b"", omitted))
        entries = head + kept
        while entries and entries[-1].stream == "cut" and not entries[-1].omitted:
            entries.pop()
        return entries

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._head, self._old, self._new = (_Area(place) for place in _PLACES)

    def _append(self, area: "_Area", chunk: LogChunk) -> None:
        area.add(chunk)
        areas = (self._head, self._old, self._new)
        if self._folder is not None and sum(len(each.memory) for each in areas) > IN_MEMORY:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            for each in areas:
                each.write(self._file.fileno())

    def _entries(self, area: "_Area") -> Iterator[Entry]:
        written = b"" if self._file is None else area.read(self._file.fileno())
        yield from run_log.unpack(written + bytes(area.memory))


class _Area:
    """Frames, one after the other: the first `length` bytes in the file, from `place` on, the rest in memory."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.length = 0
        self.memory = bytearray()
        self.size = 0
        """Bytes of output in it."""
        self._last: tuple[int, LogChunk] | None = None
        """Where in memory the last frame begins, and what it began with."""
        self._last_size = 0

    def add(self, chunk: LogChunk) -> None:
        self.size += len(chunk.data)
        if self._last is not None:
            at, first = self._last
            size = self._last_size + len(chunk.data)
            if chunk.stream == first.stream and size <= run_log.BLOCK and run_log.belong_together(first.time, chunk):
                self.memory += chunk.data
                run_log.set_length(self.memory, at, size)
                self._last_size = size
                return
        self._last, self._last_size = (len(self.memory), chunk), len(chunk.data)
        self.memory += run_log.pack(Entry(chunk.time, chunk.stream, chunk.data))

    def add_gap(self, time: datetime) -> None:
        self._last = None
        self.memory += run_log.pack(Entry(time, "cut", b""))

    def write(self, file: int) -> None:
        while self.memory:
            written = os.pwrite(file, self.memory, self.place + self.length)
            self.length += written
            del self.memory[:written]
            self._last = None

    def read(self, file: int) -> bytes:
        parts, at = [], 0
        while at < self.length:
            part = os.pread(file, self.length - at, self.place + at)
            if not part:
                raise OSError("the file of a running log is shorter than what was written to it")
            parts.append(part)
            at += len(part)
        return b"".join(parts)
