"""/v1/jobs/{job_id}/execs/{exec_id}/logs"""

import asyncio
import socket
from typing import Any, cast

from tornado.iostream import StreamClosedError

from jobd.api import log_text
from jobd.api.schemas.requests import LogQuery
from jobd.errors import ExecutorError, InvalidArgs, RangeNotSatisfiable, ServiceUnavailable
from jobd.output import run_log
from jobd.statuses import LIVE
from jobd.store import execs
from jobd.store.db.deadlines import departure
from jobd.store.db.tables import Exec
from jobd.web import compression, error_responses
from jobd.web.handler import JSON, Handler, Services
from jobd.web.log_readers import RenderedLog
from jobd.web.log_stream import Events, Form, Text, encoded
from jobd.web.permissions import Rules

TEXT = "text/plain"
EVENTS = "text/event-stream"
MAX_TYPES = 50
"""Media types that a client may name; what comes after them is not looked at."""
KEEP_ALIVE = 15.0
"""Seconds without output after which a follower gets a sign of life."""
SEND_BUFFER = 2**17
"""Bytes that the kernel is asked to hold for a follower that does not read; it would take megabytes."""
MAX_SENT_AT_ONCE = 2**16
"""Bytes that wait in this process for a client to take them, beside what is shared with others."""
PATIENCE = 60.0
"""Seconds that a client has to take that much of a whole log; a follower may take as long as it likes."""


class Logs(Handler):
    """Of an ended exec what is kept, of a live one what there is so far; with `follow` all until its end."""

    queries = {"GET": LogQuery}

    def initialize(self, services: Services, rules: Rules) -> None:
        super().initialize(services, rules)
        self._following: asyncio.Task[None] | None = None
        self.is_followed = False

    async def get(self, job_id: str, exec_id: str) -> None:
        where = (self.caller, self.number(job_id), self.exec_id(exec_id))
        who = self.asked_by
        self.add_header("Vary", "Accept")
        if self.wanted.follow:
            self.is_followed = True
            with self.services.log_readers.following(who):
                await self._follow(await self.services.database.read(execs.get, *where), self._form())
            return
        is_json = self._likes(JSON) > self._likes(TEXT)
        async with self.services.log_readers.preparing(who):
            row, frames = await self.services.database.read(execs.log_of, *where)
            log = await self._rendered(row, frames, is_json)
        with self.services.log_readers.sending(who, log):
            self.set_header("Content-Type", JSON if is_json else Text.media_type)
            if is_json:
                await self._finish_json(log.data)
            else:
                await self._finish_range(log.data)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._following is not None:
            self._following.cancel()

    async def _rendered(self, row: Exec, stored: bytes | None, is_json: bool) -> RenderedLog:
        """Off the loop: a log may have megabytes."""
        work = log_text.as_json if is_json else log_text.as_text
        if stored is not None:
            # What is stored does not change any more.
            key = row.id, is_json, self.wanted.tail, self.wanted.stream, self.wanted.timestamps
            return await self.services.log_readers.rendered(
                key, lambda: self.services.log_threads.call(work, stored, self.wanted)
            )
        frames = await self._frames(row, stored)
        return RenderedLog(await self.services.log_threads.call(work, frames, self.wanted))

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
        return stored or run_log.encode([])

    def _form(self) -> Form:
        """Raises InvalidArgs, BadRequest."""
        if self._likes(EVENTS) > self._likes(TEXT):
            return Events(self.wanted.stream, self.request.headers.get("Last-Event-ID", ""))
        if self._likes(TEXT):
            return Text(self.wanted.stream, self.wanted.timestamps)
        message = f"what is followed comes as {TEXT} or {EVENTS}"
        raise InvalidArgs(message, {"follow": [message]})

    async def _follow(self, row: Exec, form: Form) -> None:
        tail = b""
        if self.wanted.tail is not None and form.offset == 0:
            tail = await self._last_lines(row, form)
        with self.services.engine.follow(row, form.offset) as follower:
            self.set_header("Content-Type", form.media_type)
            # nginx would else hold back what it gets
            self.set_header("X-Accel-Buffering", "no")
            if self.request.method == "HEAD":
                return
            self._following = asyncio.current_task()
            self._prepare_stream()
            try:
                await self._send(form.begin() + tail)
                while not follower.is_over:
                    piece = await follower.more(KEEP_ALIVE)
                    data = await encoded(form, piece, self.services.log_threads) if piece else form.keep_alive()
                    await self._send(data)
                if follower.end is not None:
                    await self._send(form.end(follower.end))
                    await self._finish_stream()
                elif isinstance(form, Text):
                    # cut off in the middle, a text does not pass for one that is whole
                    self._stream.close()
            except (StreamClosedError, asyncio.CancelledError):
                if not self._stream.closed():
                    raise
            finally:
                self._following = None

    def _prepare_stream(self) -> None:
        if not self._stream.closed():
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if self.request.version == "HTTP/1.0":
            # tornado would else promise to keep the connection, whose end is the only end that the answer has
            self.request.headers.pop("Connection", None)

    async def _finish_stream(self) -> None:
        await self.finish()
        if self.request.version == "HTTP/1.0":
            self._stream.close()

    async def _last_lines(self, row: Exec, form: Form) -> bytes:
        """The last lines so far, after which the form goes on; read once for all who come while they are read."""
        openings, key = self.services.openings, (row.id, self.wanted.tail, form.state)
        reading = openings.get(key)
        if reading is None:
            reading = openings[key] = asyncio.create_task(self._read_last_lines(row, form))
            reading.add_done_callback(lambda _: openings.pop(key))
            # Its error may find nobody waiting any more.
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        tail, form.state, form.offset = await asyncio.shield(reading)
        return cast(bytes, tail)

    async def _read_last_lines(self, row: Exec, form: Form) -> tuple[bytes, Any, int]:
        departure.set(None)  # the request that was the first to come is not the only one
        _, stored = await self.services.database.read(execs.followed, row.id)
        frames = await self._frames(row, stored)
        tail = await self.services.log_threads.call(log_text.add_tail, form, frames, self.wanted)
        return tail, form.state, form.offset

    async def _send(self, data: bytes) -> None:
        """Returns when the client's connection has taken it."""
        for start in range(0, len(data), MAX_SENT_AT_ONCE) or (0,):
            self.write(data[start : start + MAX_SENT_AT_ONCE])
            await self.flush()

    async def _finish_json(self, lines: bytes) -> None:
        self.add_header("Vary", "Accept-Encoding")
        if len(lines) >= compression.LEAST and compression.is_liked(self.request.headers.get("Accept-Encoding", "")):
            self.set_header("Content-Encoding", "gzip")
            lines = await self.services.log_threads.call(compression.packed, lines)
        await self._finish_whole(memoryview(lines))

    async def _finish_range(self, text: bytes) -> None:
        """The text, or the range of it that is asked for (RFC 9110, 14)."""
        self.set_header("Accept-Ranges", "bytes")
        wanted = None
        if self.request.method == "GET" and "If-Range" not in self.request.headers:
            wanted = log_text.byte_range(self.request.headers.get("Range", ""), len(text))
        if wanted is None:
            await self._finish_whole(memoryview(text))
        elif not wanted:
            self.set_header("Content-Range", f"bytes */{len(text)}")
            error = RangeNotSatisfiable(f"the log has {len(text)} bytes now")
            self.reply(error_responses.body(error), error_responses.status(error))
        else:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {wanted.start}-{wanted.stop - 1}/{len(text)}")
            await self._finish_whole(memoryview(text)[wanted.start : wanted.stop])

    async def _finish_whole(self, data: memoryview) -> None:
        """Answer with this, a little at a time; a client that takes too long for a little is cut off."""
        if len(data) <= MAX_SENT_AT_ONCE or self.request.method == "HEAD":
            self.finish(bytes(data))
            return
        self.set_header("Content-Length", str(len(data)))
        try:
            for start in range(0, len(data), MAX_SENT_AT_ONCE):
                self.write(bytes(data[start : start + MAX_SENT_AT_ONCE]))
                async with asyncio.timeout(PATIENCE):
                    await self.flush()
                # The kernel may take all of it at once, and others want the loop.
                await self.services.log_readers.turns.wait()
            self.finish()
        except TimeoutError:
            self._stream.close()
        except StreamClosedError:
            return

    def _likes(self, media_type: str) -> float:
        return _quality(self.request.headers.get("Accept", ""), media_type)


def _quality(accept: str, media_type: str) -> float:
    """How much a media type is liked (RFC 9110, 12.5.1)."""
    best = (0, 0.0 if accept.strip() else 1.0)
    for part in accept.split(",", MAX_TYPES)[:MAX_TYPES]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        exactness = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}.get(name, 0)
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            if exactness > best[0]:
                best = (exactness, float(quality))
        except ValueError:
            continue
    return best[1]
