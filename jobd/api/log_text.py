"""A whole log as it is sent: text or JSON, all of it or its last lines, and ranges of the text."""

import json
import re

from jobd.api.schemas.requests import LogQuery
from jobd.output import run_log
from jobd.output.run_log import Line
from jobd.store.exec_json import instant
from jobd.threads import gently
from jobd.web.log_stream import Form, stamped


def as_text(frames: bytes, wanted: LogQuery) -> bytes:
    """For a thread: a log may have megabytes."""
    entries = gently(run_log.decode(frames))
    if wanted.tail is None and not wanted.timestamps:
        return run_log.as_text(entries, wanted.stream)
    lines = run_log.tail(gently(run_log.lines(entries, wanted.stream)), wanted.tail)
    return b"".join(gently(stamped(line) if wanted.timestamps else line.data for line in lines))


def as_json(frames: bytes, wanted: LogQuery) -> bytes:
    """For a thread. Line by line: one call for all would keep the interpreter to itself for as long as it takes."""
    entries = gently(run_log.decode(frames))
    lines = run_log.tail(gently(run_log.lines(entries, wanted.stream)), wanted.tail)
    return b"[" + b",".join(gently(_as_json(line) for line in lines)) + b"]"


def add_tail(form: Form, frames: bytes, wanted: LogQuery) -> bytes:
    """For a thread: the last lines, in place of all the output so far."""
    entries = list(gently(run_log.decode(frames)))
    lines = run_log.tail(gently(run_log.lines(entries, wanted.stream)), wanted.tail)
    return form.add_tail(gently(lines), sum(entry.length for entry in entries))


def byte_range(header: str, size: int) -> range | None:
    """The bytes of one range (RFC 9110, 14.1.2); empty when there are none there; None for a header to be ignored."""
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
