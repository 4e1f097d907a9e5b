"""When each token was last used, written down behind the requests, and seldom."""

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
"""Tokens of which it is remembered when a use that lies in the future was corrected."""


class TokenUses:
    """Of many requests with one token at once, one writes."""

    def __init__(self) -> None:
        self._written_at: OrderedDict[int, float] = OrderedDict()
        self._writing: dict[int, asyncio.Task[None]] = {}

    def note(self, caller: Caller, database: Database) -> None:
        """The caller's token was used now; nothing is waited for."""
        if caller.token_id is None or caller.token_id in self._writing:
            return
        since = None if caller.used_at is None else datetime.now(UTC) - caller.used_at
        if since is None or since >= tokens.USE_NOTED_EVERY or (since < timedelta() and self._may_write(caller)):
            self._writing[caller.token_id] = asyncio.create_task(self._write(caller.token_id, database))

    def _may_write(self, caller: Caller) -> bool:
        """A use that lies in the future was noted by a clock that was ahead, or this machine's is behind: then the
        steady clock says when it is time again.
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
        """Wait for what is being written."""
        await asyncio.gather(*self._writing.values())

    async def _write(self, token_id: int, database: Database) -> None:
        departure.set(None)  # the request that was the first to use it is not the only one
        try:
            await database.write(tokens.note_use, token_id)
        except ServiceUnavailable as error:
            log.warning("a token's use is not written down: %s", error)
        finally:
            del self._writing[token_id]
