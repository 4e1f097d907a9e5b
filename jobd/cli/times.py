"""Times as people type them: `5m` for a duration, `2026-11-27`, `1h` or `yesterday` for an instant."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click

from jobd.config.settings import parse_duration


class Length(click.ParamType):
    """Converts `90`, `5m`, `24h` or `7d` to whole seconds, with the rules of the configuration."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            seconds = float(parse_duration(value))
        except ValueError:
            self.fail(
                f"{value!r} is not a duration; expected seconds, or a number with s, m, h or d, as in 5m", param, ctx
            )
        if seconds != int(seconds):
            self.fail(f"{value!r} is not a whole number of seconds", param, ctx)
        return int(seconds)


class Instant(click.ParamType):
    """Converts to RFC 3339: a time of RFC 3339, a date or time without an offset (in this machine's zone), `today`,
    `yesterday`, or how long ago, as in `1h`.
    """

    name = "TIME"

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now().astimezone()) -> None:
        self._now = now

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        try:
            return self._instant(text)
        except (ValueError, OverflowError):
            expected = "a time such as 2026-11-27, 2026-11-27T08:00:00Z, today, yesterday, or 1h for an hour ago"
            self.fail(f"{text!r} is not a time; expected {expected}", param, ctx)

    def _instant(self, text: str) -> str:
        if text in ("today", "yesterday"):
            day = self._now().date() - timedelta(days=text == "yesterday")
            return datetime(day.year, day.month, day.day).astimezone().isoformat()
        if re.fullmatch(r"\d+(\.\d+)?\s*[smhd]", text, re.ASCII):
            return (self._now() - timedelta(seconds=parse_duration(text))).isoformat()
        instant = datetime.fromisoformat(text)
        return text if instant.tzinfo else instant.astimezone().isoformat()
