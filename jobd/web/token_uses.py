"""Records when each token was last used: seldom, and without delaying requests."""

import asyncio
import logging
from collections import OrderedDict
from datetime import UTC, datetime, timedelta

from jobd.errors import ServiceUnavailable
from jobd.store.callers import Caller
from jobd.store.db.clock import steady
from jobd.store.db.database import Database
from jobd.store.db.deadlines import departure
from jobd.store.people import tokens

log = logging.getLogger(__name__)


MAX_REMEMBERED = 10_000
"""Tokens for which the time of the last correction is kept in memory."""


class TokenUses:
    """Of many requests with one token at once, one writes the time of use."""

    def __init__(self) -> None:
        self._written_at: OrderedDict[int, float] = OrderedDict()
        self._writing: dict[int, asyncio.Task[None]] = {}

    def note(self, caller: Caller, database: Database) -> None:
        """Record that the caller's token was used now, without waiting for it."""
        if caller.token_id is None or caller.token_id in self._writing:
            return
        since = None if caller.used_at is None else datetime.now(UTC) - caller.used_at
        if since is None or since >= tokens.USE_NOTED_EVERY or (since < timedelta() and self._may_write(caller)):
            self._writing[caller.token_id] = asyncio.create_task(self._write(caller.token_id, database))

    def _may_write(self, caller: Caller) -> bool:
        """Whether a time of use that lies in the future may be corrected. Either the clock that wrote it was ahead or
        this machine's is behind, so the monotonic clock decides when to write again.
        """
        at, token_id = steady(), caller.token_id or 0
        if at - self._written_at.get(token_id, float("-inf")) < tokens.USE_NOTED_EVERY.total_seconds():
            return False
        self._written_at[token_id] = at
        self._written_at.move_to_end(token_id)
        if len(self._written_at) > MAX_REMEMBERED:
            self._written_at.popitem(last=False)
        return True

    async def written(self) -> None:
        """Wait for the writes in progress."""
        await asyncio.gather(*self._writing.values())

    async def _write(self, token_id: int, database: Database) -> None:
        departure.set(None)  # others used the token, too: the end of this request must not stop the write
        try:
            await database.write(tokens.note_use, token_id)
        except ServiceUnavailable as error:
            log.warning("could not record a token's use: %s", error)
        finally:
            del self._writing[token_id]
