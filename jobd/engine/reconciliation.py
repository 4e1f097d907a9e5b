"""What becomes of execs that were left half-way: by an earlier start of this daemon, by a daemon that died, or by this
one if it lost its connection between create and start.

A run that the region still has is adopted, as if nothing had happened. One that was created and certainly never started
is removed, and its exec waits again. If nobody can tell, the exec is `lost`: jobd never guesses, and never starts a
second run in silence.
"""

import logging
from datetime import timedelta

from jobd.config import Settings
from jobd.engine import outcome, recordings
from jobd.engine.clocks import Clocks
from jobd.engine.endings import Endings
from jobd.engine.live import LiveExec, LiveExecs
from jobd.engine.regions import ServedRegion
from jobd.engine.run_secrets import Secrets
from jobd.errors import ExecutorError, RegionUnavailable, ServiceUnavailable
from jobd.executor import Handle, State, Status
from jobd.store.db.tables import Exec
from jobd.store.queue.transitions import Transitions

log = logging.getLogger(__name__)


class Reconciler:
    """Adopts execs, and resolves those that are in doubt."""

    def __init__(
        self,
        transitions: Transitions,
        settings: Settings,
        clocks: Clocks,
        live: LiveExecs,
        endings: Endings,
        secrets: Secrets,
    ) -> None:
        self._transitions = transitions
        self._settings = settings
        self._clocks = clocks
        self._secrets = secrets
        self._live = live
        self._endings = endings
        self.in_doubt: set[LiveExec] = set()
        """Execs of which it is not known how far their start came; those without a handle wait again."""

    async def adopt(self, region: ServedRegion, rows: list[Exec]) -> None:
        """These execs belong to this daemon now: find out the state of each, and go on from there."""
        for row in rows:
            live = LiveExec(row, region, cut_off="the jobd that had it ended")
            self._live.add(live)
            self.in_doubt.add(live)
        await self.resolve(region)

    async def resolve(self, region: ServedRegion) -> None:
        """Resolve the execs that are in doubt in a region that answers. Raises RegionUnavailable if it
        stops answering.
        """
        waiting = [live for live in self.in_doubt if live.region is region]
        handles = [live.handle for live in waiting if live.handle is not None]
        statuses = await region.call(region.executor.statuses, handles) if handles else {}
        for live in waiting:
            async with live.lock:
                # Another task may have resolved it while this one waited, and the statuses are older than that.
                if live in self.in_doubt and await self._try(live, statuses):
                    self.in_doubt.discard(live)
            if live in self._live and (live.row.stop_requested_at or live.row.timed_out_at or live.stopping.is_set()):
                self._endings.stop(live)

    async def _try(self, live: LiveExec, statuses: dict[Handle, Status]) -> bool:
        """Whether it is resolved. One that cannot be resolved yet does not hold up the others. Raises
        RegionUnavailable.
        """
        if live not in self._live:
            return True
        try:
            with live.in_log():
                return await self._resolve(live, statuses)
        except RegionUnavailable:
            raise
        except (ExecutorError, ServiceUnavailable) as error:
            log.warning("exec %s is still in doubt: %s", live.row.id, error)
        except Exception:
            log.exception("exec %s is still in doubt", live.row.id)
        return False

    async def _resolve(self, live: LiveExec, statuses: dict[Handle, Status]) -> bool:
        handle = live.handle
        if handle is None:
            await self._requeue(live)
            return True
        status = statuses.get(handle, Status(State.GONE))
        if status.state is State.RUNNING:
            await self._go_on(live, status)
        elif status.state is State.ENDED or live.is_running:
            await self._endings.finish_locked(live, status)
        else:
            return await self._never_ran(live, handle, status)
        return True

    async def _go_on(self, live: LiveExec, status: Status) -> None:
        if not live.is_running and not await self._transitions.set_running(live.row, status.started_at):
            self._live.drop(live)
            return
        await self._record(live)
        began = live.row.started_at
        # By the clock that wrote it: this machine's may differ from it by more than a whole timeout.
        elapsed = (await self._clocks.now()) - began if began else timedelta()
        # If that clock was ahead at the start, the exec has been running for a negative time.
        self._endings.running(live, max(elapsed.total_seconds(), 0.0))

    async def _record(self, live: LiveExec) -> None:
        """Record its output from here on, unless it has been recorded since its start."""
        if live.recording is not None or live.handle is None:
            return
        try:
            live.mask = await self._secrets.mask(live.row)
        except (ExecutorError, ServiceUnavailable) as error:
            log.warning("exec %s: its output is not recorded, but read when it has ended: %s", live.row.id, error)
            return
        live.recording = recordings.new(live, self._settings)
        live.mask = None
        await live.region.call(recordings.begin, live.region.executor, live.handle, live.recording)

    async def _never_ran(self, live: LiveExec, handle: Handle, status: Status) -> bool:
        """The record says created, not running. It is removed without force: if somebody starts it
        meanwhile, it stays.
        """
        region = live.region
        try:
            if status.state is State.CREATED:
                await region.call(region.executor.remove, handle, False)
        except RegionUnavailable:
            raise
        except ExecutorError as error:
            fresh = await region.call(region.executor.statuses, [handle])
            if fresh.get(handle, Status(State.GONE)).state is State.CREATED:
                log.warning("region %s: %s could not be removed: %s", region.name, handle.id, error)
                return False
            return await self._resolve(live, fresh)
        if await self._was_started(region, handle) is False:
            await self._requeue(live)
        else:
            why = live.cut_off or "its start was cut off"
            words = f"{why}, while it was being started; nothing can tell whether it ran"
            await self._endings.conclude(live, outcome.lost(words))
        return True

    async def _was_started(self, region: ServedRegion, handle: Handle) -> bool | None:
        try:
            return await region.call(region.executor.was_started, handle)
        except RegionUnavailable:
            raise
        except ExecutorError as error:
            log.warning("region %s cannot tell whether %s was started: %s", region.name, handle.id, error)
            return None

    async def _requeue(self, live: LiveExec) -> None:
        if live.row.stop_requested_at is not None:
            await self._endings.conclude(live, outcome.cancelled(live.row))
            return
        await self._transitions.requeue(live.row)
        self._live.drop(live)
