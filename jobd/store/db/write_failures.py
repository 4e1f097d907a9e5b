"""Which writes the database does not take, for readiness and for the log."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

REPORTED_FOR = 30.0
"""Seconds after its last failure for which a kind of write is reported, unless it succeeds before."""


class Troubles:
    """A kind of write that failed is reported until it succeeds. Used in the loop's thread alone."""

    def __init__(self, file: Path | None) -> None:
        """`file` is SQLite's database file, which the log names."""
        self._place = f" ({file})" if file else ""
        self._failed: dict[Callable[..., Any], tuple[float, str]] = {}

    def failed(self, write: Callable[..., Any], words: str) -> None:
        if not self.words():
            log.error("%s%s", words, self._place)
        self._failed[write] = (time.monotonic(), words)

    def done(self, write: Callable[..., Any]) -> None:
        if write not in self._failed:
            return
        del self._failed[write]
        if not self._failed:
            log.info("the database takes writes again%s", self._place)

    def words(self) -> str:
        """What the last failure said; empty while all goes well."""
        limit = time.monotonic() - REPORTED_FOR
        self._failed = {write: (at, text) for write, (at, text) in self._failed.items() if at > limit}
        return max(self._failed.values())[1] if self._failed else ""
