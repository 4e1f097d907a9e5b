"""Waiting execs become running ones: claim, pull if need be, create, commit the handle, start.

Each exec has one task, from its claim until it runs; from then on it costs no task and no thread, and its end comes as
an event (`endings`).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from jobd.config import Settings
from jobd.engine import outcome, recordings, specs
from jobd.engine.endings import Endings
from jobd.engine.leases import Lease
from jobd.engine.live import LiveExec, LiveExecs
from jobd.engine.plugin_events import PluginEvents
from jobd.engine.pulls import Pulls
from jobd.engine.reconciliation import Reconciler
from jobd.engine.regions import CALL_THREADS, ServedRegion
from jobd.engine.run_secrets import Secrets, SecretValues
from jobd.errors import (
    ExecutorError,
    HandleGone,
    ImageAbsent,
    ImageNotFound,
    RegionUnavailable,
    ServiceUnavailable,
    StartFailed,
)
from jobd.executor import Handle, RunSpec, State, Status
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from jobd.store.queue import claims
from jobd.store.queue.transitions import Transitions
from jobd.task_set import TaskSet

log = logging.getLogger(__name__)

LAUNCHED_AT_ONCE = 32
"""The maximum number of a region's execs between claim and start: more would not start sooner, but hold up everything
else in the loop. Execs that wait for a pull do not count.
"""
LAUNCHES_LEFT = CALL_THREADS
"""More execs are claimed when at most this many launches are in progress: so many keep the region's threads busy."""
LAUNCHED_WHILE_LATE = 4
LEFT_WHILE_LATE = 1
"""The same two limits while slots fire late: firing comes before starting what has fired."""
YOUNG = 1.0
"""Seconds after which a launch, which may hang, does not count among those."""
RETRY_AFTER_OUTAGE = 1.0
"""Seconds until an exec is tried again if its region went away before it had a handle."""


@dataclass
class RegionDispatch:
    """What the dispatcher knows about a region."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an exec may be waiting there, or capacity may have come free."""
    last_namespace: str = ""
    """The namespace of the exec that was claimed last: the one after it is next."""
    launching: set[LiveExec] = field(default_factory=set)
    """The execs between their claim and their start."""
    is_held_back: bool = False
    """Whether more execs may be waiting than were claimed, because too many are launching."""


class Dispatcher:
    def __init__(
        self,
        database: Database,
        settings: Settings,
        installation: str,
        lease: Lease,
        regions: dict[str, ServedRegion],
        live: LiveExecs,
        transitions: Transitions,
        endings: Endings,
        reconciler: Reconciler,
        plugin_events: PluginEvents,
        secrets: Secrets,
        fires_late: Callable[[], bool],
    ) -> None:
        self._database = database
        self._settings = settings
        self._installation = installation
        self._lease = lease
        self._regions = regions
        self._live = live
        self._transitions = transitions
        self._endings = endings
        self._reconciler = reconciler
        self._plugin_events = plugin_events
        self._secrets = secrets
        self._fires_late = fires_late
        self._pulls = Pulls()
        self._dispatch = {name: RegionDispatch() for name in regions}
        self._servers: list[asyncio.Task[None]] = []
        self._launches = TaskSet()

    def start(self) -> None:
        self._servers = [asyncio.create_task(self._serve(region)) for region in self._regions.values()]

    def wake(self, region: str) -> None:
        """An exec may be waiting there, or capacity may have come free."""
        if region in self._dispatch:
            self._dispatch[region].wake.set()

    def launching(self, region: str) -> int:
        """How many execs of a region are between their claim and their start."""
        return len(self._dispatch[region].launching)

    async def stop(self, patience: float) -> None:
        """Claim nothing more. Finish within `patience` seconds what is between claim and start, and
        give up the rest.
        """
        for server in self._servers:
            server.cancel()
        await asyncio.gather(*self._servers, return_exceptions=True)
        self._pulls.abandon()
        await self._launches.wait(patience)
        # Left alone they would meet a closed region, and take that for a failed run.
        self._launches.cancel()

    def abandon(self) -> None:
        """End at once, without waiting for anything."""
        for server in self._servers:
            server.cancel()
        self._launches.cancel()

    async def _serve(self, region: ServedRegion) -> None:
        wake = self._dispatch[region.name].wake
        while True:
            await wake.wait()
            wake.clear()
            if region.outage is None and self._lease.held:
                try:
                    await self._claim(region)
                except ServiceUnavailable as error:
                    log.warning("region %s: execs could not be claimed: %s", region.name, error)
                except Exception:  # the next tick tries again; if the task ended, nothing would be claimed any more
                    log.exception("region %s: execs could not be claimed", region.name)

    async def _claim(self, region: ServedRegion) -> None:
        dispatch = self._dispatch[region.name]
        budget = self._launch_budget(dispatch)
        if not budget:
            dispatch.is_held_back = True
            return
        most = region.settings.max_running
        last = dispatch.last_namespace
        rows = await self._database.write(claims.claim, self._lease.daemon, region.name, most, budget, last)
        dispatch.is_held_back = len(rows) == budget
        dispatch.last_namespace = claims.last_turn(rows, last)
        for row in rows:
            live = LiveExec(row, region)
            self._live.add(live)
            dispatch.launching.add(live)
            self._launches.spawn(self._launch(live))

    def _launch_budget(self, dispatch: RegionDispatch) -> int:
        """How many more may be launched now."""
        most, left, under_way = LAUNCHED_AT_ONCE, LAUNCHES_LEFT, len(dispatch.launching)
        if self._fires_late():
            young = asyncio.get_running_loop().time() - YOUNG
            most, left = LAUNCHED_WHILE_LATE, LEFT_WHILE_LATE
            under_way = sum(live.claimed_at > young for live in dispatch.launching)
        return max(most - under_way, 0) if under_way <= left else 0

    def _launched(self, live: LiveExec) -> None:
        """The exec was started, has ended, or waits for a pull: another one may be claimed."""
        dispatch = self._dispatch[live.region.name]
        dispatch.launching.discard(live)
        if dispatch.is_held_back and self._launch_budget(dispatch):
            dispatch.is_held_back = False
            dispatch.wake.set()

    async def _launch(self, live: LiveExec) -> None:
        """Bring one claimed exec to run, or to its end, or back to waiting."""
        try:
            with live.in_log():
                await self._launch_locked(live)
        finally:
            self._launched(live)

    async def _launch_locked(self, live: LiveExec) -> None:
        async with live.lock:
            try:
                await self._start_or_end(live)
            except ServiceUnavailable as error:
                # The record says how far it came; the reconciler goes on from there.
                log.warning("exec %s: %s", live.row.id, error)
                self._reconciler.in_doubt.add(live)
            except Exception:
                log.exception("exec %s: its start failed half-way", live.row.id)
                self._reconciler.in_doubt.add(live)
        if live.stopping.is_set():
            self._endings.stop(live)

    async def _start_or_end(self, live: LiveExec) -> None:
        """Create and start it, or conclude or postpone it where that fails."""
        try:
            await self._create_and_start(live)
        except ImageAbsent:
            await self._pull(live)
        except RegionUnavailable as error:
            await self._postpone(live, error)
        except ExecutorError as error:
            await self._endings.conclude(live, outcome.refused(live.row, error))
        except ServiceUnavailable:
            raise
        except Exception as error:
            if live.row.handle is not None:
                raise
            # Another try would fail as well: a command that cannot be split, a handle that cannot be stored.
            log.exception("exec %s could not be created", live.row.id)
            failed = StartFailed(f"{type(error).__name__}: {error}")
            await self._endings.conclude(live, outcome.refused(live.row, failed))

    async def _create_and_start(self, live: LiveExec) -> None:
        row, region = live.row, live.region
        run_secrets = await self._secrets.for_start(row)
        live.mask = run_secrets.mask
        spec = await self._spec(row, run_secrets)
        if spec.pull_policy == "always" and not row.pulled:
            raise ImageAbsent("to be pulled first")
        handle = await region.make(region.executor.create, spec)
        if not await self._transitions.set_handle(row, handle, run_secrets.values):
            self._live.drop(live)
            await self._discard(region, handle)
            return
        self._live.add(live)
        if live.stopping.is_set() or row.stop_requested_at is not None:
            await self._endings.conclude(live, outcome.cancelled(row))
            return
        await self._start(live, handle)

    async def _start(self, live: LiveExec, handle: Handle) -> None:
        """Start the run, at most once for this handle, and only under a lease that still holds."""
        if not self._lease.held:
            self._reconciler.in_doubt.add(live)
            return
        try:
            live.recording = recordings.new(live, self._settings)
            await live.region.make(recordings.start, live.region.executor, handle, live.recording)
        except HandleGone:
            # Somebody removed it before it ran: the daemon that took it over, or a stranger. The record tells which.
            self._reconciler.in_doubt.add(live)
            return
        except RegionUnavailable:
            raise
        except ExecutorError:
            # An error after the start took effect must not turn a run that goes on, or has ended, into a failure and
            # then a retry.
            if await self._has_run(live.region, handle):
                self._reconciler.in_doubt.add(live)
                return
            raise
        if not await self._transitions.set_running(live.row, None):
            self._live.drop(live)
            return
        live.mask = None
        self._endings.running(live)
        self._plugin_events.emit("jobd_exec_started", live.row)

    async def _has_run(self, region: ServedRegion, handle: Handle) -> bool:
        """Whether it runs, or has run and ended already."""
        statuses = await region.call(region.executor.statuses, [handle])
        status = statuses.get(handle, Status(State.GONE))
        return status.state is State.RUNNING or (status.state is State.ENDED and not status.never_ran)

    async def _spec(self, row: Exec, run_secrets: SecretValues) -> RunSpec:
        spec = specs.build(row, self._settings, self._installation, self._lease.daemon, run_secrets.values)
        return await self._plugin_events.prepare_run(spec)

    async def _pull(self, live: LiveExec) -> None:
        """Have the image pulled without using the region's capacity, then queue the exec again; a stop does not wait
        for the pull.
        """
        row, region = live.row, live.region
        if row.pulled:
            gone = ImageNotFound(f"{row.docker_image_repo}:{row.docker_image_tag} is gone again right after its pull")
            await self._endings.conclude(live, outcome.refused(row, gone))
            return
        if not await self._transitions.release_capacity(row):
            self._live.drop(live)
            return
        self._launched(live)
        self.wake(region.name)
        try:
            run_secrets = await self._secrets.for_start(row)
            pulled = await self._pulls.pull(region, await self._spec(row, run_secrets), live.stopping)
        except RegionUnavailable as error:
            await self._postpone(live, error)
            return
        except ExecutorError as error:
            await self._endings.conclude(live, outcome.refused(row, error))
            return
        if live.stopping.is_set():
            await self._endings.conclude(live, outcome.cancelled(row))
            return
        await self._transitions.requeue(row, pulled=pulled)
        self._live.drop(live)
        self.wake(region.name)

    async def _postpone(self, live: LiveExec, error: RegionUnavailable) -> None:
        """The region went away. An exec without a handle waits again; one with a handle may have been started."""
        self._endings.region_failed(live.region, error.message)
        live.cut_off = error.message
        if live.row.handle is not None:
            await self._transitions.set_message(live.row, live.redact(error.message))
            self._reconciler.in_doubt.add(live)
            return
        if live.stopping.is_set():
            await self._endings.conclude(live, outcome.cancelled(live.row))
            return
        await self._transitions.requeue(live.row, live.redact(error.message), RETRY_AFTER_OUTAGE)
        self._live.drop(live)

    async def _discard(self, region: ServedRegion, handle: Handle) -> None:
        """Remove a run whose handle could not be committed: it was never started."""
        try:
            await region.call(region.executor.remove, handle, False)
        except ExecutorError as error:
            log.warning(
                "region %s: %s could not be removed, the next sweep tries again: %s", region.name, handle.id, error
            )
