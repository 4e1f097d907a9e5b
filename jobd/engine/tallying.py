"""Brings the numbers of rows that lists show up to date, without delaying those who insert rows."""

import asyncio
import logging

from jobd.store import tallies
from jobd.store.db.database import Database
from jobd.store.tallies import Source

log = logging.getLogger(__name__)

CHECK_EVERY = 3600.0
"""Seconds between two checks whether the tallies are right, and which jobs need one."""
MAX_LOOKS = 20
"""How often, a tenth of a second apart, it is checked whether transactions have ended that may still insert rows; then
again a minute later.
"""


class Tallying:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._checked_at = float("-inf")

    async def work(self) -> None:
        """Add new rows to the tallies, and check them every so often. Raises ServiceUnavailable."""
        for source in tallies.SOURCES:
            await self._fold(source)
        now = asyncio.get_running_loop().time()
        if now > self._checked_at + CHECK_EVERY:
            self._checked_at = now
            await self._check()

    async def _fold(self, source: Source) -> None:
        candidate = await self._database.read(tallies.candidate, source)
        if candidate is None:
            return
        for _ in range(MAX_LOOKS):
            if await self._database.read(tallies.may_fold, candidate):
                break
            await asyncio.sleep(0.1)
        else:
            return
        while await self._database.write(tallies.fold, candidate):
            pass

    async def _check(self) -> None:
        for source in tallies.SOURCES:
            if not await self._database.read(tallies.check, source):
                await self._database.write(tallies.mend, source)
        for job in await self._database.read(tallies.check_jobs):
            await self._database.write(tallies.mend_job, job)
