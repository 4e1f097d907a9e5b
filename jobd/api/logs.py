"""/v1/jobs/{job_id}/execs/{exec_id}/logs"""

import asyncio
import json

from jobd import logs
from jobd.api import render
from jobd.api.base import JSON, Handler
from jobd.api.schemas import LogQuery
from jobd.errors import RegionUnavailable, ServiceUnavailable
from jobd.store import execs
from jobd.store.execs import LIVE
from jobd.store.tables import Exec


class Logs(Handler):
    """Of an ended exec what is kept, of a live one what there is so far."""

    queries = {"GET": LogQuery}

    async def get(self, job_id: str, exec_id: str) -> None:
        row, frames = await self.services.database.read(
            execs.log_of, self.caller, self.number(job_id), self.exec_id(exec_id)
        )
        if frames is None and row.status in LIVE:
            frames = await self._running(row)
        as_json = _prefers_json(self.request.headers.get("Accept", ""))
        # A log may have megabytes: it is rendered off the loop.
        render_as = _as_json if as_json else _as_text
        rendered = await asyncio.to_thread(render_as, frames or logs.encode([]), self.wanted)
        self.set_header("Content-Type", JSON if as_json else "text/plain; charset=utf-8")
        self.set_header("Vary", "Accept")
        self.finish(rendered)

    async def _running(self, row: Exec) -> bytes | None:
        try:
            return await self.services.engine.running_log(row)
        except RegionUnavailable as error:
            raise ServiceUnavailable(f"the log cannot be read now: {error.message}") from error


def _as_text(frames: bytes, wanted: LogQuery) -> bytes:
    entries = logs.decode(frames)
    if wanted.tail is None and not wanted.timestamps:
        return logs.as_text(entries, wanted.stream)
    parts = []
    for line in logs.tail(logs.lines(entries, wanted.stream), wanted.tail):
        stamp = f"{render.instant(line.time)} ".encode() if wanted.timestamps else b""
        parts.append(stamp + line.data)
    return b"".join(parts)


def _as_json(frames: bytes, wanted: LogQuery) -> bytes:
    found = logs.tail(logs.lines(logs.decode(frames), wanted.stream), wanted.tail)
    shapes = [
        {"time": render.instant(line.time), "stream": line.stream, "message": line.data.decode(errors="replace")}
        for line in found
    ]
    return json.dumps(shapes, ensure_ascii=False, separators=(",", ":")).encode()


def _prefers_json(accept: str) -> bool:
    """Whether JSON is liked better than text (RFC 9110, 12.5.1); text when both are liked as much."""
    return _quality(accept, JSON) > _quality(accept, "text/plain")


def _quality(accept: str, media_type: str) -> float:
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
