"""A followed log as it is sent: as text, or as server-sent events (WHATWG HTML, 9.2).

The id of an event is the position to continue from: the offset in bytes in the whole output, both streams together. If
a stream's last character is incomplete there, its first bytes follow in hexadecimal, `OFFSET:STDOUT:STDERR`, so that a
client that continues from an id gets exactly what it would have got.
"""

import asyncio
import base64
import codecs
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol, cast

from jobd.engine.following.feed import End
from jobd.errors import BadRequest
from jobd.executor import Stream
from jobd.output import run_log
from jobd.output.run_log import Batch, Entry, Line
from jobd.store.exec_json import instant
from jobd.threads import Threads, gently

_ID = re.compile(r"(\d{1,18})(?::((?:[0-9a-f]{2}){0,3}):((?:[0-9a-f]{2}){0,3}))?", re.ASCII)
_STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
MAX_PARTS_ON_LOOP = 64
"""Events or lines that may be encoded on the event loop, in less than a millisecond; more are encoded in a thread."""
MAX_LINE = 2**18
"""Bytes after which a line is broken if each line has its time in front."""


class Form(Protocol):
    """The format in which a follower is sent the output of both streams or of one."""

    media_type: str
    offset: int
    """The position in the output after all that was encoded so far, in bytes."""

    state: Any
    """All that encoding depends on, hashable. Setting it continues where another form with that state was."""

    def begin(self) -> bytes: ...
    def parts(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """These entries as the client gets them, an event or a line at a time."""

    def count_parts(self, entries: Iterable[Entry]) -> int:
        """Roughly how many parts these entries have, without encoding them."""

    def add_tail(self, lines: Iterable[Line], offset: int) -> bytes:
        """These lines as the client gets them, in place of all output before `offset`."""

    def keep_alive(self) -> bytes: ...
    def end(self, end: End) -> bytes: ...


async def encoded(form: Form, piece: Batch, threads: Threads) -> bytes:
    """A piece in this form, encoded once for all followers whose forms have the same state; in `threads` if it is
    large. After a cancellation the form must not be used again.
    """
    before = form.state
    encoding = piece.encodings.get(before)
    if encoding is None:
        if form.count_parts(piece) <= MAX_PARTS_ON_LOOP:
            encoding = b"".join(form.parts(piece)), form.state
        else:
            encoding = threads.call(_encode, form, piece)
        piece.encodings[before] = encoding
    if isinstance(encoding, asyncio.Future):
        # Shielded, since others wait for it, too, and this one's client may disconnect.
        encoding = piece.encodings[before] = await asyncio.shield(encoding)
    data, form.state = encoding
    return cast(bytes, data)


def _encode(form: Form, piece: Batch) -> tuple[bytes, Any]:
    return b"".join(gently(form.parts(piece))), form.state


class Text:
    """Output as the program wrote it; with `timestamps` a line at a time, each with its time in front."""

    media_type = "text/plain; charset=utf-8"

    def __init__(self, stream: Stream | None, timestamps: bool) -> None:
        self.offset = 0
        self._stream = stream
        self._lines = run_log.Lines(stream) if timestamps else None

    @property
    def state(self) -> Any:
        return Text, self._stream, None if self._lines is None else self._lines.begun

    @state.setter
    def state(self, state: Any) -> None:
        _, self._stream, begun = state
        if self._lines is not None:
            self._lines.begun = begun

    def begin(self) -> bytes:
        return b""

    def parts(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        if self._lines is None:
            yield run_log.as_text(entries, self._stream)
            return
        for entry in entries:
            for line in self._lines.add(entry, MAX_LINE):
                yield stamped(line)

    def count_parts(self, entries: Iterable[Entry]) -> int:
        return 1 if self._lines is None else sum(1 + entry.data.count(b"\n") for entry in entries)

    def add_tail(self, lines: Iterable[Line], offset: int) -> bytes:
        self.offset = offset
        return b"".join(line.data if self._lines is None else stamped(line) for line in lines)

    def keep_alive(self) -> bytes:
        return b""

    def end(self, end: End) -> bytes:
        return b"" if self._lines is None else b"".join(stamped(line) for line in self._lines.rest())


class Events:
    """`log` events, then `end`. `last_id` is the id of the last event that the client has received.

    Raises BadRequest for an id that is not one.
    """

    media_type = "text/event-stream"

    def __init__(self, stream: Stream | None, last_id: str = "") -> None:
        match = _ID.fullmatch(last_id or "0")
        if match is None:
            raise BadRequest("Last-Event-ID is not the id of an event of this log")
        self.offset = int(match[1])
        self._stream = stream
        begun = {name: part for name, part in zip(_STREAMS, match.groups()[1:], strict=True) if self._is_wanted(name)}
        self._pending = {name: bytes.fromhex(part or "") for name, part in begun.items()}

    @property
    def state(self) -> Any:
        return Events, self._stream, self.offset, tuple(self._pending.items())

    @state.setter
    def state(self, state: Any) -> None:
        _, self._stream, self.offset, pending = state
        self._pending = dict(pending)

    def begin(self) -> bytes:
        return b"retry: 1000\n\n"

    def parts(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        for entry in entries:
            self.offset += entry.length
            if entry.stream == "cut":
                message = run_log.mark(entry).decode().lstrip("\n")
                yield self._rest(entry.time)
                yield self._log(entry.time, "cut", message, {"omitted": entry.omitted})
            elif self._is_wanted(entry.stream):
                yield self._decoded(entry.time, entry.stream, entry.data)

    def count_parts(self, entries: Iterable[Entry]) -> int:
        return sum(1 for _ in entries)

    def add_tail(self, lines: Iterable[Line], offset: int) -> bytes:
        self.offset = offset
        return b"".join(
            self._log(line.time, "cut", line.data.decode())
            if line.stream == "cut"
            else self._decoded(line.time, line.stream, line.data)
            for line in lines
        )

    def keep_alive(self) -> bytes:
        return b": still here\n\n"

    def end(self, end: End) -> bytes:
        shape = {"status": end.status, "exit_code": end.exit_code, "reason": end.reason}
        return self._rest(datetime.now(UTC)) + self._event("end", shape)

    def _is_wanted(self, stream: str) -> bool:
        return self._stream in (None, stream)

    def _decoded(self, time: datetime, stream: Stream, data: bytes, final: bool = False) -> bytes:
        """An event with all complete characters; the bytes of an incomplete one are kept for the next event."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        data = self._pending[stream] + data
        message = decoder.decode(data, final)
        self._pending[stream] = decoder.getstate()[0]
        if not message:
            return b""
        sent = data[: len(data) - len(self._pending[stream])]
        is_exact = "\ufffd" not in message or message.encode() == sent
        return self._log(time, stream, message, {} if is_exact else {"base64": base64.b64encode(sent).decode()})

    def _rest(self, time: datetime) -> bytes:
        """Events with the bytes of characters that were never completed."""
        return b"".join(self._decoded(time, name, b"", True) for name in self._pending)

    def _log(self, time: datetime, stream: str, message: str, more: dict[str, Any] | None = None) -> bytes:
        return self._event("log", {"time": instant(time), "stream": stream, "message": message, **(more or {})})

    def _event(self, name: str, shape: dict[str, Any]) -> bytes:
        id = str(self.offset)
        if any(self._pending.values()):
            id += "".join(f":{self._pending.get(stream, b'').hex()}" for stream in _STREAMS)
        data = json.dumps(shape, ensure_ascii=False, separators=(",", ":"))
        return f"id: {id}\nevent: {name}\ndata: {data}\n\n".encode()


def stamped(line: Line) -> bytes:
    """A line with its time in front."""
    return f"{instant(line.time)} ".encode() + line.data
