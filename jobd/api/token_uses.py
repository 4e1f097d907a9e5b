"""When each token was last used, written down behind the requests, and seldom."""

import asyncio
import logging
from datetime import UTC, datetime

from jobd.errors import ServiceUnavailable
from jobd.store import tokens
from jobd.store.callers import Caller
from jobd.store.database import Database
from jobd.store.patience import departure

log = logging.getLogger(__name__)


class TokenUses:
    """Of many requests with one token at once, one writes."""

    def __init__(self) -> None:
        self._writing: dict[int, asyncio.Task[None]] = {}

    def note(self, caller: Caller, database: Database) -> None:
        """The caller's token was used now; nothing is waited for."""
        if caller.token_id is None or caller.token_id in self._writing:
            return
        if caller.used_at is None or datetime.now(UTC) - caller.used_at >= tokens.USE_NOTED_EVERY:
            self._writing[caller.token_id] = asyncio.create_task(self._write(caller.token_id, database))

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
