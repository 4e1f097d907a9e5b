"""Renders whole logs: as text or JSON, all lines or the last ones, and ranges of the text.

Logs may have megabytes, so what takes `frames` is to be called in a thread, and handles one line at a time: during a
single call for all of them no other thread could run.
"""

import json
import re

from jobd.api.schemas.requests import LogQuery
from jobd.output import run_log
from jobd.output.run_log import Line
from jobd.store.exec_json import instant
from jobd.threads import gently
from jobd.web.log_stream import Form, stamped


def as_text(frames: bytes, query: LogQuery) -> bytes:
    """The log as text in UTF-8, as the query requests it."""
    entries = gently(run_log.decode(frames))
    if query.tail is None and not query.timestamps:
        return run_log.as_text(entries, query.stream)
    lines = run_log.tail(gently(run_log.lines(entries, query.stream)), query.tail)
    return b"".join(gently(stamped(line) if query.timestamps else line.data for line in lines))


def as_json(frames: bytes, query: LogQuery) -> bytes:
    """The log as a JSON list of lines, as the query requests it."""
    entries = gently(run_log.decode(frames))
    lines = run_log.tail(gently(run_log.lines(entries, query.stream)), query.tail)
    return b"[" + b",".join(gently(_as_json(line) for line in lines)) + b"]"


def add_tail(form: Form, frames: bytes, query: LogQuery) -> bytes:
    """The last lines in the given form, which continues after all of the output so far."""
    entries = list(gently(run_log.decode(frames)))
    lines = run_log.tail(gently(run_log.lines(entries, query.stream)), query.tail)
    return form.add_tail(gently(lines), sum(entry.length for entry in entries))


def byte_range(header: str, size: int) -> range | None:
    """The positions that a Range header requests of `size` bytes (RFC 9110, 14.1.2); empty if it is beyond the end, and
    None for a header that is to be ignored.
    """
    match = re.fullmatch(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", header, re.ASCII | re.IGNORECASE)
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return range(max(size - int(match[2]), 0), size)
    first, last = int(match[1]), int(match[2] or size)
    return None if last < first and match[2] else range(min(first, size), min(last + 1, size))


def _as_json(line: Line) -> bytes:
    shape = {"time": instant(line.time), "stream": line.stream, "message": line.data.decode(errors="replace")}
    return json.dumps(shape, ensure_ascii=False, separators=(",", ":")).encode()
