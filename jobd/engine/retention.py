"""Deletes records that are hidden, too old, or more than is kept, in short transactions one after another."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from jobd.config import Settings
from jobd.engine.tallying import Tallying
from jobd.store import audit, deletion, execs, outbox, retention, secrets
from jobd.store.db.clock import now
from jobd.store.db.database import Database

ALL_JOBS_EVERY = 3600.0
"""Seconds between two checks of all jobs for surplus records; otherwise only jobs that ran are checked."""
CLOCKS_APART = timedelta(minutes=10)
"""The maximum by which a region's clock, which runs end by, is behind the database's."""


class Retention:
    """`may_delete` says whether the clock can be trusted enough to delete what is old by it."""

    def __init__(self, database: Database, settings: Settings, may_delete: Callable[[], bool]) -> None:
        self._may_delete = may_delete
        self._database = database
        self._settings = settings
        self._tallying = Tallying(database)
        self._since: datetime | None = None
        """When jobs were last checked for surplus records."""
        self._all_jobs_at = float("-inf")

    async def retire(self) -> None:
        """Delete what is due to be deleted. Raises ServiceUnavailable."""
        await self._database.write(deletion.purge_all)
        await self._database.write(secrets.drop_left)
        if self._may_delete():
            await self._drop_old()
        await self._drop_surplus()
        await self._tallying.work()

    async def _drop_old(self) -> None:
        await self._database.write(execs.drop_old_keys)
        while await self._database.write(outbox.drop_old, self._settings.webhooks.max_age):
            pass
        while await self._database.write(retention.drop_old, self._settings.execs.max_age):
            pass
        while await self._database.write(audit.drop_old, self._settings.audit.max_age):
            pass

    async def _drop_surplus(self) -> None:
        """Check the jobs that ran since the last time, and every so often all jobs, since their settings may change."""
        loop = asyncio.get_running_loop()
        since = self._since if loop.time() < self._all_jobs_at else None
        at = await self._database.read(now)
        job: int | None = 0
        while job is not None:
            began = loop.time()
            _, job = await self._database.write(retention.drop_surplus, self._settings.execs.kept, job, since)
            # Half of the time is left to others.
            await asyncio.sleep(loop.time() - began)
        self._since = at - CLOCKS_APART
        if since is None:
            self._all_jobs_at = loop.time() + ALL_JOBS_EVERY
