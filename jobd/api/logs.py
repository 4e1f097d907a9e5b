"""/v1/jobs/{job_id}/execs/{exec_id}/logs"""

import asyncio
import json
import re
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError

from jobd import logs
from jobd.api import answers, compression, render
from jobd.api.base import JSON, Handler, Services
from jobd.api.log_stream import Events, Form, Text, shared, stamped
from jobd.api.rules import Rules
from jobd.api.schemas import LogQuery
from jobd.errors import ExecutorError, InvalidArgs, RangeNotSatisfiable, ServiceUnavailable
from jobd.logs import Line
from jobd.store import execs
from jobd.store.execs import LIVE
from jobd.store.tables import Exec

TEXT = "text/plain"
EVENTS = "text/event-stream"
KEEP_ALIVE = 15.0
"""Seconds without output after which a follower gets a sign of life."""


class Logs(Handler):
    """Of an ended exec what is kept, of a live one what there is so far; with `follow` all until its end."""

    queries = {"GET": LogQuery}

    def initialize(self, services: Services, rules: Rules) -> None:
        super().initialize(services, rules)
        self._following: asyncio.Task[None] | None = None
        self.is_followed = False

    async def get(self, job_id: str, exec_id: str) -> None:
        where = (self.caller, self.number(job_id), self.exec_id(exec_id))
        row, frames = await self.services.database.read(execs.log_of, *where)
        self.add_header("Vary", "Accept")
        if self.wanted.follow:
            self.is_followed = True
            await self._follow(row, frames, self._form())
            return
        frames = await self._frames(row, frames)
        as_json = self._likes(JSON) > self._likes(TEXT)
        # A log may have megabytes: it is rendered off the loop.
        rendered = await asyncio.to_thread(_as_json if as_json else _as_text, frames, self.wanted)
        self.set_header("Content-Type", JSON if as_json else Text.media_type)
        if as_json:
            await self._finish_json(rendered)
        else:
            self._finish_range(rendered)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._following is not None:
            self._following.cancel()

    async def _frames(self, row: Exec, stored: bytes | None) -> bytes:
        """All there is now, stored or not. Raises ServiceUnavailable."""
        if stored is None and row.status in LIVE:
            try:
                stored = await self.services.engine.running_log(row)
            except ExecutorError as error:
                raise ServiceUnavailable(f"the log cannot be read now: {error.message}") from error
            if stored is None:
                # it may have ended between two looks
                _, stored = await self.services.database.read(execs.followed, row.id)
        return stored or logs.encode([])

    def _form(self) -> Form:
        """Raises InvalidArgs, BadRequest."""
        if self._likes(EVENTS) > self._likes(TEXT):
            return Events(self.wanted.stream, self.request.headers.get("Last-Event-ID", ""))
        if self._likes(TEXT):
            return Text(self.wanted.stream, self.wanted.timestamps)
        message = f"what is followed comes as {TEXT} or {EVENTS}"
        raise InvalidArgs(message, {"follow": [message]})

    async def _follow(self, row: Exec, stored: bytes | None, form: Form) -> None:
        tail = b""
        if self.wanted.tail is not None and form.offset == 0:
            tail = await self._last_lines(row, stored, form)
        with self.services.engine.follow(row, form.offset) as follower:
            self.set_header("Content-Type", form.media_type)
            # nginx would else hold back what it gets
            self.set_header("X-Accel-Buffering", "no")
            if self.request.method == "HEAD":
                return
            self._following = asyncio.current_task()
            try:
                await self._send(form.begin() + tail)
                while not follower.is_over:
                    piece = await follower.more(KEEP_ALIVE)
                    await self._send(shared(form, piece) if piece else form.keep_alive())
                if follower.end is not None:
                    await self._send(form.end(follower.end))
                elif isinstance(form, Text):
                    # cut off in the middle, a text does not pass for one that is whole
                    cast(HTTP1Connection, self.request.connection).stream.close()
            except (StreamClosedError, asyncio.CancelledError):
                if not cast(HTTP1Connection, self.request.connection).stream.closed():
                    raise
            finally:
                self._following = None

    async def _last_lines(self, row: Exec, stored: bytes | None, form: Form) -> bytes:
        """The last lines so far, after which the form goes on; read once for all who come while they are read."""
        openings, key = self.services.openings, (row.id, self.wanted.tail, form.state)
        reading = openings.get(key)
        if reading is None:
            reading = openings[key] = asyncio.create_task(self._read_last_lines(row, stored, form))
            reading.add_done_callback(lambda _: openings.pop(key))
            # Its error may find nobody waiting any more.
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        tail, form.state, form.offset = await asyncio.shield(reading)
        return cast(bytes, tail)

    async def _read_last_lines(self, row: Exec, stored: bytes | None, form: Form) -> tuple[bytes, Any, int]:
        frames = await self._frames(row, stored)
        tail = await asyncio.to_thread(_tail_in, form, frames, self.wanted)
        return tail, form.state, form.offset

    async def _send(self, data: bytes) -> None:
        """Returns when the client's connection has taken it."""
        self.write(data)
        await self.flush()

    async def _finish_json(self, lines: bytes) -> None:
        self.add_header("Vary", "Accept-Encoding")
        if len(lines) >= compression.LEAST and compression.is_liked(self.request.headers.get("Accept-Encoding", "")):
            self.set_header("Content-Encoding", "gzip")
            lines = await asyncio.to_thread(compression.packed, lines)
        self.finish(lines)

    def _finish_range(self, text: bytes) -> None:
        """The text, or the range of it that is asked for (RFC 9110, 14)."""
        self.set_header("Accept-Ranges", "bytes")
        wanted = None
        if self.request.method == "GET" and "If-Range" not in self.request.headers:
            wanted = _range(self.request.headers.get("Range", ""), len(text))
        if wanted is None:
            self.finish(text)
        elif not wanted:
            self.set_header("Content-Range", f"bytes */{len(text)}")
            error = RangeNotSatisfiable(f"the log has {len(text)} bytes now")
            self.reply(answers.body(error), answers.status(error))
        else:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {wanted.start}-{wanted.stop - 1}/{len(text)}")
            self.finish(text[wanted.start : wanted.stop])

    def _likes(self, media_type: str) -> float:
        return _quality(self.request.headers.get("Accept", ""), media_type)


def _as_text(frames: bytes, wanted: LogQuery) -> bytes:
    entries = logs.decode(frames)
    if wanted.tail is None and not wanted.timestamps:
        return logs.as_text(entries, wanted.stream)
    found = logs.tail(logs.lines(entries, wanted.stream), wanted.tail)
    return b"".join(stamped(line) if wanted.timestamps else line.data for line in found)


def _as_json(frames: bytes, wanted: LogQuery) -> bytes:
    found = logs.tail(logs.lines(logs.decode(frames), wanted.stream), wanted.tail)
    return json.dumps([_shape(line) for line in found], ensure_ascii=False, separators=(",", ":")).encode()


def _shape(line: Line) -> render.Shape:
    return {"time": render.instant(line.time), "stream": line.stream, "message": line.data.decode(errors="replace")}


def _tail_in(form: Form, frames: bytes, wanted: LogQuery) -> bytes:
    entries = list(logs.decode(frames))
    found = logs.tail(logs.lines(entries, wanted.stream), wanted.tail)
    return form.add_tail(found, sum(entry.length for entry in entries))


def _range(header: str, size: int) -> range | None:
    """The bytes of one range; empty when there are none there; None for a header that is to be ignored."""
    match = re.fullmatch(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", header, re.ASCII | re.IGNORECASE)
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return range(max(size - int(match[2]), 0), size)
    first, last = int(match[1]), int(match[2] or size)
    return None if last < first and match[2] else range(min(first, size), min(last + 1, size))


def _quality(accept: str, media_type: str) -> float:
    """How much a media type is liked (RFC 9110, 12.5.1)."""
    best = (0, 0.0 if accept.strip() else 1.0)
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        exactness = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}.get(name, 0)
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            if exactness > best[0]:
                best = (exactness, float(quality))
        except ValueError:
            continue
    return best[1]
