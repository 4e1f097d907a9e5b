"""The daemon's own log: one line for each event, with the ids of what it is about, for people or for programs.

All modules log with `logging.getLogger(__name__)`. `log_context` adds ids to the lines of a task and of the tasks that
it starts, and `with_log_context` carries them into a thread.
"""

import contextvars
import json
import logging
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from typing import Any, ParamSpec, TextIO, TypeVar

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, merge_contextvars
from structlog.processors import format_exc_info
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from jobd.config.settings import Log

P = ParamSpec("P")
Result = TypeVar("Result")

OWN = ("jobd", "jobd_docker", "jobd_ssh", "jobd_dryrun")
"""The loggers that `level = debug` applies to: debug lines of HTTP and SSH libraries help nobody."""

_OF_EVERY_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""Characters that would end a line, move a terminal's cursor, or change the order in which text is read."""
_PLAIN = re.compile(r'[^\s"=]+')
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SECRETS = (
    ("jobd_", re.compile(r"jobd_[a-z2-7]{32}[0-9a-f]{8}"), "jobd_***"),
    ("whsec_", re.compile(r"whsec_[A-Za-z0-9+/=_-]{8,}"), "whsec_***"),
    ("://", re.compile(r"(://[^/@:\s\"]*):[^/@\s\"]+@"), r"\1:***@"),
)


def log_context(**ids: Any) -> AbstractContextManager[None]:
    """Within it, log lines have these fields, also in tasks started there: `request_id`, `job_id`, `exec_id`."""
    return bound_contextvars(**ids)


def bind_log_context(**ids: Any) -> None:
    """Like `log_context`, for the rest of the calling task."""
    bind_contextvars(**ids)


def clear_log_context() -> None:
    """Drop all fields: for a task that outlives its starter, and for a batch that is about no single exec."""
    clear_contextvars()


def with_log_context(work: Callable[P, Result]) -> Callable[P, Result]:
    """Returns `work` for use in another thread, where its lines have the fields that they would have here."""
    return partial(contextvars.copy_context().run, work)


def configure(settings: Log, daemon: str, stream: TextIO | None = None) -> None:
    """Have the process log to `stream`, by default its standard error, in the name of this daemon."""
    out = sys.stderr if stream is None else stream
    if not out.isatty() and hasattr(out, "reconfigure"):
        # A service has no locale, but its log must be able to show Chinese.
        out.reconfigure(encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter(settings.format, daemon))
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h.formatter, ProcessorFormatter)] + [handler]
    level = getattr(logging, settings.level.upper())
    root.setLevel(max(level, logging.INFO))
    for name in OWN:
        logging.getLogger(name).setLevel(level)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def formatter(format: str, daemon: str) -> logging.Formatter:
    """A formatter for the standard library's records and for structlog's; `format` is `text` or `json`."""
    shared: list[Processor] = [_add_extras, merge_contextvars, partial(_introduce, daemon)]
    render = _as_json if format == "json" else _as_text
    return ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[_finish_structlog(shared), ProcessorFormatter.remove_processors_meta, format_exc_info, render],
    )


def _finish_structlog(shared: list[Processor]) -> Processor:
    """Events of structlog's own loggers come here without what the others had added before."""

    def finish(logger: Any, method: str, event: EventDict) -> EventDict:
        if event.get("_from_structlog"):
            for step in shared[1:]:
                event = step(logger, method, event)  # type: ignore[assignment]
        return event

    return finish


def _add_extras(logger: Any, method: str, event: EventDict) -> EventDict:
    event.update({name: value for name, value in vars(event["_record"]).items() if name not in _OF_EVERY_RECORD})
    return event


def _introduce(daemon: str, logger: Any, method: str, event: EventDict) -> EventDict:
    record = event["_record"]
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    head = {"time": time.replace("+00:00", "Z"), "level": record.levelname, "logger": record.name}
    return {**head, "event": event.pop("event", ""), **event, "daemon_id": daemon}


def _as_json(logger: Any, method: str, event: EventDict) -> str:
    return _UNFIT.sub(lambda match: f"\\u{ord(match[0]):04x}", _without_secrets(_JSON.encode(event)))


def _as_text(logger: Any, method: str, event: EventDict) -> str:
    """One line, and a traceback in lines that begin with a bar, as no event's line does."""
    event.pop("daemon_id")
    traceback = [part for key in ("exception", "stack") if (part := event.pop(key, None))]
    head = f"{event.pop('time')} {event.pop('level')} {event.pop('logger')}: {event.pop('event')}"
    line = " ".join([head, *(f"{name}={_value(value)}" for name, value in event.items())])
    if traceback:
        return "\n".join([_fit(line), *(f"  | {_fit(row)}" for text in traceback for row in text.split("\n"))])
    return _fit(line)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if _PLAIN.fullmatch(text) else _JSON.encode(text)


def _fit(text: str) -> str:
    return _UNFIT.sub(lambda match: _SHORT.get(match[0], f"\\u{ord(match[0]):04x}"), _without_secrets(text))


def _without_secrets(text: str) -> str:
    for sign, pattern, instead in _SECRETS:
        if sign in text:
            text = pattern.sub(instead, text)
    return text
