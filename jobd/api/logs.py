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
"""Media types read from an Accept header; the rest is ignored."""
KEEP_ALIVE = 15.0
"""Seconds without output after which a follower is sent a keep-alive message."""
SEND_BUFFER = 2**17
"""Bytes of the kernel's send buffer for a follower; by default it may hold megabytes for one that does not read."""
MAX_SENT_AT_ONCE = 2**16
"""Bytes that may wait in this process for a client to read them, besides what clients share."""
SEND_TIMEOUT = 60.0
"""Seconds that a client may take to read that much of a whole log; a follower may take any time."""


class Logs(Handler):
    """An exec's log: as stored if it has ended, else the output so far; with `follow`, all output until its end."""

    queries = {"GET": LogQuery}

    def initialize(self, services: Services, rules: Rules) -> None:
        super().initialize(services, rules)
        self._following: asyncio.Task[None] | None = None
        self.is_followed = False

    async def get(self, job_id: str, exec_id: str) -> None:
        where = (self.caller, self.number(job_id), self.exec_id(exec_id))
        who = self.share_key
        self.add_header("Vary", "Accept")
        if self.query.follow:
            self.is_followed = True
            with self.services.log_readers.following(who):
                await self._follow(await self.services.database.read(execs.get, *where), self._form())
            return
        is_json = self._quality(JSON) > self._quality(TEXT)
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
        """Render the log in a thread, since it may have megabytes."""
        work = log_text.as_json if is_json else log_text.as_text
        if stored is not None:
            # A stored log does not change any more.
            key = row.id, is_json, self.query.tail, self.query.stream, self.query.timestamps
            return await self.services.log_readers.rendered(
                key, lambda: self.services.log_threads.call(work, stored, self.query)
            )
        frames = await self._frames(row, stored)
        return RenderedLog(await self.services.log_threads.call(work, frames, self.query))

    async def _frames(self, row: Exec, stored: bytes | None) -> bytes:
        """The log so far: `stored`, or else what the engine has. Raises ServiceUnavailable."""
        if stored is None and row.status in LIVE:
            try:
                stored = await self.services.engine.running_log(row)
            except ExecutorError as error:
                raise ServiceUnavailable(f"the log cannot be read now: {error.message}") from error
            if stored is None:
                # The exec may have ended since its row was read.
                _, stored = await self.services.database.read(execs.followed, row.id)
        return stored or run_log.encode([])

    def _form(self) -> Form:
        """The form in which to follow, by the Accept header. Raises InvalidArgs, BadRequest."""
        if self._quality(EVENTS) > self._quality(TEXT):
            return Events(self.query.stream, self.request.headers.get("Last-Event-ID", ""))
        if self._quality(TEXT):
            return Text(self.query.stream, self.query.timestamps)
        message = f"a followed log is only available as {TEXT} or {EVENTS}"
        raise InvalidArgs(message, {"follow": [message]})

    async def _follow(self, row: Exec, form: Form) -> None:
        tail = b""
        if self.query.tail is not None and form.offset == 0:
            tail = await self._last_lines(row, form)
        with self.services.engine.follow(row, form.offset) as follower:
            self.set_header("Content-Type", form.media_type)
            # Without it nginx would buffer the response.
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
                    # Cut the connection, so that an incomplete text cannot pass for a complete one.
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
            # Keep Tornado from promising a persistent connection: only its end marks the end of the response.
            self.request.headers.pop("Connection", None)

    async def _finish_stream(self) -> None:
        await self.finish()
        if self.request.version == "HTTP/1.0":
            self._stream.close()

    async def _last_lines(self, row: Exec, form: Form) -> bytes:
        """The last lines so far, after which the form continues; read once for all who ask for them meanwhile."""
        openings, key = self.services.openings, (row.id, self.query.tail, form.state)
        reading = openings.get(key)
        if reading is None:
            reading = openings[key] = asyncio.create_task(self._read_last_lines(row, form))
            reading.add_done_callback(lambda _: openings.pop(key))
            # Retrieve its error, or asyncio logs it when all who waited have gone.
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        tail, form.state, form.offset = await asyncio.shield(reading)
        return cast(bytes, tail)

    async def _read_last_lines(self, row: Exec, form: Form) -> tuple[bytes, Any, int]:
        departure.set(None)  # others may wait for this, too: it must not stop when the first client disconnects
        _, stored = await self.services.database.read(execs.followed, row.id)
        frames = await self._frames(row, stored)
        tail = await self.services.log_threads.call(log_text.add_tail, form, frames, self.query)
        return tail, form.state, form.offset

    async def _send(self, data: bytes) -> None:
        """Send, and return when the client's connection has taken it."""
        for start in range(0, len(data), MAX_SENT_AT_ONCE) or (0,):
            self.write(data[start : start + MAX_SENT_AT_ONCE])
            await self.flush()

    async def _finish_json(self, lines: bytes) -> None:
        self.add_header("Vary", "Accept-Encoding")
        if len(lines) >= compression.MIN_LENGTH and compression.accepts_gzip(
            self.request.headers.get("Accept-Encoding", "")
        ):
            self.set_header("Content-Encoding", "gzip")
            lines = await self.services.log_threads.call(compression.gzipped, lines)
        await self._finish_whole(memoryview(lines))

    async def _finish_range(self, text: bytes) -> None:
        """Respond with the text, or with the range of it that is requested (RFC 9110, 14)."""
        self.set_header("Accept-Ranges", "bytes")
        span = None
        if self.request.method == "GET" and "If-Range" not in self.request.headers:
            span = log_text.byte_range(self.request.headers.get("Range", ""), len(text))
        if span is None:
            await self._finish_whole(memoryview(text))
        elif not span:
            self.set_header("Content-Range", f"bytes */{len(text)}")
            error = RangeNotSatisfiable(f"the log has {len(text)} bytes now")
            self.reply(error_responses.body(error), error_responses.status(error))
        else:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {span.start}-{span.stop - 1}/{len(text)}")
            await self._finish_whole(memoryview(text)[span.start : span.stop])

    async def _finish_whole(self, data: memoryview) -> None:
        """Respond with this, a piece at a time; the connection of a client that is too slow is closed."""
        if len(data) <= MAX_SENT_AT_ONCE or self.request.method == "HEAD":
            self.finish(bytes(data))
            return
        self.set_header("Content-Length", str(len(data)))
        try:
            for start in range(0, len(data), MAX_SENT_AT_ONCE):
                self.write(bytes(data[start : start + MAX_SENT_AT_ONCE]))
                async with asyncio.timeout(SEND_TIMEOUT):
                    await self.flush()
                # The kernel may take all of it at once: let others have the event loop in between.
                await self.services.log_readers.turns.wait()
            self.finish()
        except TimeoutError:
            self._stream.close()
        except StreamClosedError:
            return

    def _quality(self, media_type: str) -> float:
        """How much the client prefers a media type, from 0 to 1."""
        return quality(self.request.headers.get("Accept", ""), media_type)


def quality(accept: str, media_type: str) -> float:
    """The quality value of a media type in an Accept header (RFC 9110, 12.5.1)."""
    best = (0, 0.0 if accept.strip() else 1.0)
    for part in accept.split(",", MAX_TYPES)[:MAX_TYPES]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        exactness = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}.get(name, 0)
        text = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            if exactness > best[0]:
                best = (exactness, float(text))
        except ValueError:
            continue
    return best[1]
