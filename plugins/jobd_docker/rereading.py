"""Reads the files in which an engine keeps a container's output, repeatedly, each time continuing after the last frame.

The files are rotated: when the last one is full, the first is dropped. So a reading begins with the last frame of the
reading before, to find out where to continue; if that frame is gone, output is missing.
"""

from calendar import timegm
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobd.executor import LogChunk, OutputSink, Stream
from jobd_docker.containers import LOG_FILES
from jobd_docker.logs import Frame

MAX_FRAME = 17 * 1024
"""Maximum bytes of a frame in a file: the engine splits lines at 16 KiB."""
WHOLE_LINE, PART_OF_LINE = 32, 128
"""Maximum bytes of a frame in a file besides its data."""
LATE = 5
"""Seconds by which frames in the files may be out of order."""


@dataclass
class Place:
    """How far a stream was read: the time of its last frame, and the number of frames with that time."""

    time: bytes
    count: int
    is_open: bool
    """Whether the last frame has no newline."""
    is_bare: bool
    """Whether the last frame was empty: the line that it belongs to has ended."""
    newest: bytes
    """The latest time so far, which need not be the last frame's: a clock may have been set back."""


class Rereading:
    """Passes one container's output from its files to `sink`, leaving out the first `passed` bytes of each stream."""

    def __init__(self, sink: OutputSink) -> None:
        self.has_gaps = False
        self._sink = sink
        self._places: dict[Stream, Place] = {}
        self._last: tuple[Stream, bytes, int] | None = None
        """The last frame that was read: its stream, time, and number among those of that time."""
        self._passed: dict[Stream, int] = {}
        self._after = b""
        self._chunk: LogChunk | None = None

    @property
    def has_begun(self) -> bool:
        return self._last is not None

    @property
    def since(self) -> str | None:
        """The time at which the next reading has to begin, in the engine's format."""
        if self._last is None:
            return None
        newest = max(_seconds(place.time) for place in self._places.values())
        open_since = [_seconds(place.time) for place in self._places.values() if place.is_open]
        return str(min(newest - LATE, _seconds(self._last[1]), *open_since))

    def pass_over(self, passed: Mapping[Stream, int]) -> None:
        """Begin at the beginning of the output, of which so many bytes of each stream are known."""
        self._passed = dict(passed)

    def begin_after(self, time: datetime | None) -> None:
        """Begin after this time; older output is known."""
        self._gap()
        self._after = b"" if time is None else time.strftime("%Y-%m-%dT%H:%M:%S.%f").encode()

    def read(self, frames: Iterable[Frame], is_last: bool) -> bool:
        """Process one reading, from `since` on, and return whether there was new output. `is_last` says that the
        container has ended.
        """
        before = self._last
        seen = 0
        was_read = False
        is_joined = self._last is None
        for frame in frames:
            place = self._places.get(frame.stream)
            # All frames after the last one are new, whatever their time: a clock may have been set back.
            if self._last is not None and not is_joined and place is not None and frame.time <= place.newest:
                was_read = True
                seen += (frame.stream, frame.time) == self._last[:2]
                is_joined = seen == self._last[2]
                continue
            if not is_joined:
                self._gap()
                is_joined = True
            self._take(frame, place)
        if was_read and not is_joined:
            self._gap()
        if is_last:
            for stream, place in self._places.items():
                if place.is_bare:
                    self._give(stream, place.time, b"\n")
                    place.is_bare = place.is_open = False
        self._flush()
        return self._last != before

    def _take(self, frame: Frame, place: Place | None) -> None:
        is_open = not frame.data.endswith(b"\n")
        if place is not None and place.time == frame.time:
            place.count += 1
            place.is_open, place.is_bare = is_open, not frame.data
        else:
            if place is not None and place.is_open:
                # The engine drops the newline of a line of several parts.
                self._give(frame.stream, place.time, b"\n")
            newest = frame.time if place is None else max(frame.time, place.newest)
            place = self._places[frame.stream] = Place(frame.time, 1, is_open, not frame.data, newest)
        self._last = (frame.stream, frame.time, place.count)
        self._give(frame.stream, frame.time, frame.data)

    def _give(self, stream: Stream, time: bytes, data: bytes) -> None:
        passed = min(self._passed.get(stream, 0), len(data))
        if passed:
            self._passed[stream] -= passed
            data = data[passed:]
        if not data or time < self._after:
            return
        before = self._chunk
        if before is not None and before.stream == stream and len(before.data) < MAX_FRAME:
            moment = datetime.fromisoformat(time.decode())
            if (moment - before.time).total_seconds() < 0.001:
                self._chunk = LogChunk(before.time, stream, before.data + data)
                return
        self._flush()
        self._chunk = LogChunk(datetime.fromisoformat(time.decode()), stream, data)

    def _flush(self) -> None:
        if self._chunk is not None:
            self._sink.add(self._chunk)
            self._chunk = None

    def _gap(self) -> None:
        self._flush()
        self.has_gaps = True
        self._sink.gap()


@dataclass(frozen=True)
class Survey:
    """Whether the files have the output from its beginning, and the first frame, by which a later reading can check
    that they still do.
    """

    is_whole: bool
    first: Frame | None


def survey(frames: Iterable[Frame], log: Mapping[str, Any]) -> Survey:
    """Examine the files. If the first one had been dropped, all but the last would be full. `log` is Docker's
    `HostConfig.LogConfig`.
    """
    first: Frame | None = None
    taken = 0
    for frame in frames:
        first = first or frame
        taken += len(frame.data) + (WHOLE_LINE if frame.data.endswith(b"\n") else PART_OF_LINE)
    try:
        size = int(log["Config"]["max-size"])
    except (KeyError, ValueError):
        return Survey(False, first)
    return Survey(taken < (LOG_FILES - 1) * (size - MAX_FRAME), first)


def _seconds(time: bytes) -> int:
    """A time of the engine as Unix time."""
    return timegm(datetime.fromisoformat(time[:19].decode()).timetuple())
