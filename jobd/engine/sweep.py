"""Compares what a region holds with the records, and removes what nobody needs any more.

Only runs that carry this installation's id are looked at. A run that the database has never known (after a backup was
restored) is logged, and left alone while it runs.
"""

import asyncio
import logging
from collections.abc import Callable

from jobd.engine.regions import ServedRegion
from jobd.errors import ExecutorError, RegionUnavailable
from jobd.executor import Handle, Run, State, Status
from jobd.statuses import LIVE
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from jobd.store.queue import claims

log = logging.getLogger(__name__)

KILL_GRACE = 10.0
"""Seconds that a left-over run has between SIGTERM and SIGKILL."""


class Sweep:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._reported: set[str] = set()

    async def sweep(self, region: ServedRegion, which: Callable[[Run], bool] = lambda run: True) -> int:
        """Clear a region, or only those of its runs that `which` selects; returns how many runs were removed. Raises
        RegionUnavailable, ServiceUnavailable.

        The region is asked first: a record that is read afterwards is never older than the run it is compared with.
        """
        runs = [run for run in await region.call(region.executor.list) if which(run)]
        records: dict[str, Exec] = {}
        ids = [run.exec_id for run in runs]
        for start in range(0, len(ids), 500):
            records |= await self._database.read(claims.by_id, ids[start : start + 500])
        left = [run for run in runs if self._is_left_over(run, records.get(run.exec_id), region.name)]
        running = [run for run in left if run.state is State.RUNNING]
        # At the same time: each may take all of its grace period.
        removed = sum(
            await asyncio.gather(*(self._clear(region, run, is_known=run.exec_id in records) for run in running))
        )
        for run in left:
            if run.state is not State.RUNNING:
                removed += await self._clear(region, run, is_known=run.exec_id in records)
        return removed

    async def stop_running(self, region: ServedRegion) -> None:
        """Remove what runs in a region for no exec. Raises RegionUnavailable, ServiceUnavailable."""
        await self.sweep(region, lambda run: run.state is State.RUNNING)

    def _is_left_over(self, run: Run, record: Exec | None, region: str) -> bool:
        if record is None:
            if run.state is not State.RUNNING:
                return True
            if run.handle.id not in self._reported:
                self._reported.add(run.handle.id)
                log.warning("region %s: %s runs for exec %s, which no record names", region, run.handle.id, run.exec_id)
            return False
        if record.status not in LIVE:
            return True
        # While an owner has not committed a handle, this may be the run whose handle it is about to commit. Any other
        # run is not the exec's: jobd starts only what the record names, so somebody else has started it, if it runs.
        in_flight = record.owner is not None and record.handle is None
        return record.handle != run.handle.id and not in_flight

    async def _grace(self, region: ServedRegion, handle: Handle) -> float:
        """Seconds between SIGTERM and SIGKILL: none for a run that was started again, which is nobody's work."""
        statuses = await region.call(region.executor.statuses, [handle])
        return 0 if statuses.get(handle, Status(State.GONE)).ran_again else KILL_GRACE

    async def _clear(self, region: ServedRegion, run: Run, is_known: bool) -> bool:
        try:
            if run.state is State.RUNNING:
                await region.stop_run(run.handle, await self._grace(region, run.handle))
            # Removed without force if no record names it: somebody may be starting it. For any other run a new start is
            # as unwanted.
            await region.call(region.executor.remove, run.handle, is_known)
        except RegionUnavailable:
            raise
        except ExecutorError as error:
            log.warning("region %s: left-over %s stays: %s", region.name, run.handle.id, error)
            return False
        log.info("region %s: removed left-over %s of exec %s", region.name, run.handle.id, run.exec_id)
        return True
