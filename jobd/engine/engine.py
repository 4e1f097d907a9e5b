"""The engine as a whole: the order in which its parts start and stop, and what it does at regular intervals."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import pluggy

from jobd import daemon_log
from jobd.config import Settings
from jobd.engine import host_paths, recordings
from jobd.engine.clocks import Clocks
from jobd.engine.dispatcher import Dispatcher
from jobd.engine.endings import Endings
from jobd.engine.following.followers import Follower, Followers
from jobd.engine.leases import BEATS, Lease
from jobd.engine.live import LiveExecs
from jobd.engine.plugin_events import PluginEvents
from jobd.engine.reconciliation import Reconciler
from jobd.engine.regions import PROBE_DELAYS, ServedRegion
from jobd.engine.retention import Retention
from jobd.engine.run_secrets import Secrets
from jobd.engine.scheduler import Scheduler
from jobd.engine.sweep import Sweep
from jobd.errors import ExecutorError, HandleGone, JobdError, RegionUnavailable, ServiceUnavailable
from jobd.executor import Executor, Handle
from jobd.keyring import Keyring
from jobd.output.recording import Recording
from jobd.periodic import Periodic
from jobd.statuses import ExecStatus
from jobd.store import daemons
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from jobd.store.queue import claims, waiting
from jobd.store.queue.due_slots import Rules
from jobd.store.queue.transitions import Transitions
from jobd.task_set import TaskSet

log = logging.getLogger(__name__)

ASK_WITH_PUSH = 5.0
ASK_WITHOUT_PUSH = 0.5
"""Seconds between two `statuses` of a region, with and without an executor that reports ends by itself."""
SWEEP_EVERY = 60.0
STOP_PATIENCE = 20.0


class Engine:
    """`on_lost_place` is called when another start of this daemon has taken its place: this one must end."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        plugins: pluggy.PluginManager,
        executors: dict[str, Executor],
        installation: str,
        lease: Lease,
        on_lost_place: Callable[[], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._lease = lease
        self._on_lost_place = on_lost_place
        self.regions = {
            name: ServedRegion(
                settings.regions[name],
                executor,
                host_paths.of_region(settings.regions[name].options, settings.mounts),
            )
            for name, executor in executors.items()
        }
        keyring = Keyring(settings.jobd.key_file)
        transitions = Transitions(database, keyring)
        self._live = LiveExecs()
        self._secrets = Secrets(database, keyring)
        self._followers = Followers(database, self.regions, settings.execs.max_log, self._secrets, self._recording)
        self._plugin_events = PluginEvents(plugins, database, self._followers.changed)
        self._endings = Endings(
            database,
            settings,
            transitions,
            self._live,
            self._plugin_events,
            self._secrets,
            self.wake,
            self._region_failed,
        )
        self._clocks = Clocks(database, lease, lambda: self._scheduler.restart())
        self._reconciler = Reconciler(transitions, settings, self._clocks, self._live, self._endings, self._secrets)
        self._sweep = Sweep(database)
        self._retention = Retention(database, settings, lambda: self._clocks.is_even)
        self._dispatcher = Dispatcher(
            database,
            settings,
            installation,
            lease,
            self.regions,
            self._live,
            transitions,
            self._endings,
            self._reconciler,
            self._plugin_events,
            self._secrets,
            self._fires_late,
        )
        rules = Rules(settings.scheduler.late_after, settings.limits.waiting_per_namespace)
        self._scheduler = Scheduler(database, self._clocks, rules, settings.scheduler.tick, self.exec_created)
        self._ticker = Periodic(self._tick, settings.scheduler.tick * 1000)
        self._heart = Periodic(self._beat, lease.length / BEATS * 1000)
        self._sweeper = Periodic(self.clear, SWEEP_EVERY * 1000)
        self._tasks = TaskSet()
        self._lease_ran_out = False
        self._measure()

    def _measure(self) -> None:
        metrics = self._database.metrics
        metrics.lease_held.set_function(lambda: float(self._lease.held))
        metrics.execs_owned.set_function(lambda: float(self.owned))
        for region in self.regions.values():
            limit = region.settings.max_running
            metrics.serves(region.name, limit, is_up=region.is_up, last_check=region.last_answer)

    async def start(self) -> None:
        """Begin to serve. Each region is opened as soon as it answers, and none waits for another."""
        seen = await self._database.read(daemons.last_seen, self._lease.daemon)
        await self._lease.begin(socket.gethostname(), os.getpid(), sorted(self.regions))
        await self._clocks.begin(seen)
        self._plugin_events.listen()
        self._heart.start()
        self._dispatcher.start()
        for region in self.regions.values():
            self._tasks.spawn(self._probe(region))
        self._scheduler.start()
        self._ticker.start()
        self._sweeper.start()

    async def stop(self) -> None:
        """Take no more work, finish what is in progress, and leave running containers alone."""
        for periodic in (self._ticker, self._sweeper, self._clocks):
            periodic.stop()
        await self._followers.close()
        await self._scheduler.stop()
        await self._dispatcher.stop(STOP_PATIENCE)
        await self._endings.drain(STOP_PATIENCE)
        self._tasks.cancel()
        await self._tasks.wait()
        self._heart.stop()
        await self._lease.end()
        await asyncio.gather(*(region.close() for region in self.regions.values()))
        await self._plugin_events.close()

    def abandon(self) -> None:
        """End at once, as a killed process would: nothing more is written, and what runs is left to its next owner."""
        for periodic in (self._ticker, self._sweeper, self._heart, self._clocks):
            periodic.stop()
        self._followers.dismiss()
        self._plugin_events.ignore()
        self._scheduler.abandon()
        self._dispatcher.abandon()
        self._endings.abandon()
        self._tasks.cancel()

    @property
    def scanned_at(self) -> float:
        """When the scheduler last looked for due slots, by the monotonic clock."""
        return self._scheduler.scanned_at

    @property
    def owned(self) -> int:
        """How many live execs this daemon is working on or watching."""
        return len(self._live)

    def owns(self, exec_id: str) -> bool:
        """Whether this daemon is working on an exec, or watches it run."""
        return self._live.named(exec_id) is not None

    def wake(self, region: str) -> None:
        """An exec waits in this region."""
        self._dispatcher.wake(region)

    def exec_created(self, rows: Iterable[Exec]) -> None:
        """These execs were committed: emit their events to plugins, and run them."""
        for row in rows:
            self._plugin_events.emit("jobd_exec_created", row)
            self.wake(row.region_name)

    def _fires_late(self) -> bool:
        return self._scheduler.is_late

    def stop_requested(self) -> None:
        """Somebody requested the end of an exec: look for it now, not at the next tick."""
        self._tasks.spawn(self._look_for_stops())

    async def running_log(self, row: Exec) -> bytes | None:
        """What a running exec has written so far, whichever daemon runs it, as `jobd.output.run_log` frames. None if it
        has not started, has just ended, or its region is not served here. Raises ExecutorError, ServiceUnavailable.
        """
        region = self.regions.get(row.region_name)
        if row.status != ExecStatus.RUNNING or row.handle is None or region is None:
            return None
        recording = self._recording(row.id)
        if recording is not None:
            try:
                return await region.read(recording.frames)
            except ExecutorError as error:
                log.debug("exec %s: what was recorded cannot be read: %s", row.id, error)
        if region.outage is not None:
            raise RegionUnavailable(f"region {region.name} is down: {region.outage}")
        mask, limit = await self._secrets.mask(row), self._settings.execs.max_log
        try:
            kept = await region.read(recordings.read_log, region.executor, Handle(row.handle), limit, mask, False)
        except HandleGone:
            return None
        return kept.frames

    def _recording(self, exec_id: str) -> Recording | None:
        """The recording of an exec that this daemon runs and whose output comes while it runs."""
        live = self._live.named(exec_id)
        return None if live is None else recordings.of(live)

    def follow(self, row: Exec, offset: int) -> Follower:
        """Follow an exec's output from an offset in bytes. Raises TooManyRequests, ServiceUnavailable."""
        return self._followers.follow(row.id, offset)

    def dismiss_followers(self) -> None:
        """End all following, and accept no more followers: the daemon is about to stop."""
        self._followers.dismiss()

    def _region_failed(self, region: ServedRegion, message: str) -> None:
        if region.outage is None:
            region.outage = message
            self._database.metrics.region_outages.labels(region.name).inc()
            self._tasks.spawn(self._probe(region))

    async def _probe(self, region: ServedRegion) -> None:
        """Ask a region that is down until it answers, then go on where it was left."""
        # Whoever found the region down started this task; it has nothing to do with that exec or request.
        daemon_log.clear_log_context()
        attempt = 0
        while not await self._open(region):
            if attempt == 0:
                log.warning("region %s is down: %s", region.name, region.outage)
            await asyncio.sleep(PROBE_DELAYS[min(attempt, len(PROBE_DELAYS) - 1)])
            attempt += 1
        log.info("region %s is served by %s", region.name, region.engine)
        self.wake(region.name)
        await self._guarded(region, self._sweep.sweep(region))

    async def _open(self, region: ServedRegion) -> bool:
        """Check a region, bind it to its engine, listen to it, and adopt what it runs. Returns False if it cannot be
        used yet.
        """
        try:
            health = await region.call(region.executor.check)
            if not health.ok:
                log.info("region %s does not answer: %s", region.name, health.message)
                raise RegionUnavailable(region.host_paths.hidden(health.message) or "it gives no reason")
            region.engine = health.engine
            identity = await region.call(region.executor.identity)
            bound = await self._database.write(daemons.bind_region, region.name, identity)
            if bound != identity:
                raise RegionUnavailable(f"it is bound to the engine {bound}, but {identity} answers")
            await region.watch(partial(self._endings.changed, region.name), partial(self._started_elsewhere, region))
            await self._take_over(region)
            # This comes before anything new is started in the region.
            await self._sweep.stop_running(region)
            region.outage = None
            await self._reconciler.resolve(region)
            await self._endings.ask(region)
            await self._database.write(waiting.clear_explanations, self._lease.daemon, region.name)
        except JobdError as error:
            region.outage = error.message
            return False
        except Exception as error:  # a plugin's error: an answer that breaks the contract
            log.exception("region %s cannot be opened", region.name)
            region.outage = region.host_paths.hidden(f"{type(error).__name__}: {error}")
            return False
        return True

    def _started_elsewhere(self, region: ServedRegion, handle: Handle) -> None:
        """Stop a run that belongs to no exec now, not at the next sweep."""
        if not self._endings.started_elsewhere(region.name, handle) and region.outage is None:
            self._tasks.spawn(self._guarded(region, self._sweep.sweep(region, lambda run: run.handle == handle)))

    async def _take_over(self, region: ServedRegion) -> None:
        """Adopt execs whose daemons are dead. Until a region has been opened for the first time, nothing in it can be
        from this start of the daemon: what carries its id is from an earlier start.
        """
        if region.was_open and not self._lease.may_take_over:
            return
        alive = await self._lease.others_alive()
        if region.was_open:
            alive.append(self._lease.daemon)
        await self._adopt(region, await self._database.write(claims.take_over, self._lease.daemon, region.name, alive))
        region.was_open = True

    async def _adopt(self, region: ServedRegion, rows: list[Exec]) -> None:
        if rows:
            log.info("region %s: adopting %d execs", region.name, len(rows))
            self._database.metrics.execs_adopted.labels(region.name).inc(len(rows))
            await self._reconciler.adopt(region, rows)
            self.wake(region.name)

    async def _adopt_forgotten(self, region: ServedRegion) -> None:
        """Adopt execs that this daemon owns according to their records, but has not known of since the last sweep or
        longer: their claim was committed, and its answer never arrived.
        """
        owned = await self._database.read(claims.owned, self._lease.daemon, region.name)
        unknown = {row.seq for row in owned if self._live.named(row.id) is None}
        forgotten, region.unknown = unknown & region.unknown, unknown
        if forgotten:
            await self._adopt(region, await self._database.write(claims.retake, self._lease.daemon, sorted(forgotten)))

    async def _beat(self) -> None:
        if self._lease.ran_out and not self._lease_ran_out:
            self._database.metrics.leases_lost.inc()
        self._lease_ran_out = self._lease.ran_out
        try:
            if not await self._lease.renew():
                self._on_lost_place()
                return
            await self._clocks.look()  # after a clock was set, living daemons look dead
        except ServiceUnavailable as error:
            log.warning("heartbeat failed: %s", error)
            return
        for region in self.regions.values():
            under_way = region.taking_over is not None and not region.taking_over.done()
            if region.outage is None and self._lease.may_take_over and not under_way:
                # Not awaited: a region that is slow to answer must not delay the next heartbeat. And not twice at a
                # time: one that waits for a lock occupies a thread of the database, which everything else needs.
                region.taking_over = self._tasks.spawn(self._guarded(region, self._take_over(region)))

    async def _tick(self) -> None:
        """What has to be checked regularly, whether or not an event reported it."""
        self._endings.check_deadlines()
        try:
            for name in await self._database.read(waiting.regions_waiting):
                self._dispatcher.wake(name)
            if len(self._live):
                await self._look_for_stops()
        except ServiceUnavailable as error:
            log.debug("tick failed: %s", error)
        time = asyncio.get_running_loop().time()
        for region in self.regions.values():
            if time >= region.ask_at:
                region.ask_at = time + (ASK_WITH_PUSH if region.has_push else ASK_WITHOUT_PUSH)
                work = self._look_at(region) if region.outage is None else self._explain(region, region.outage)
                self._tasks.spawn(self._guarded(region, work))

    async def _look_at(self, region: ServedRegion) -> None:
        await self._endings.ask(region)
        await self._reconciler.resolve(region)

    async def _explain(self, region: ServedRegion, outage: str) -> None:
        message = f"region {region.name} is down: {outage}"
        await self._database.write(waiting.explain, self._lease.daemon, region.name, message)

    async def _look_for_stops(self) -> None:
        for row in await self._database.read(claims.stops_requested, self._lease.daemon):
            live = self._live.named(row.id)
            if live is not None:
                live.row.stop_requested_at, live.row.stop_reason = row.stop_requested_at, row.stop_reason
                self._endings.stop(live)

    async def clear(self) -> None:
        """What is done every minute: leftovers are swept, forgotten execs adopted, old records purged."""
        await asyncio.gather(self._purge(), *(self._clear(region) for region in self.regions.values()))

    async def _clear(self, region: ServedRegion) -> None:
        if region.outage is None:
            await self._guarded(region, self._sweep.sweep(region))
            await self._guarded(region, self._adopt_forgotten(region))
            await self._guarded(region, region.read(region.executor.tidy))

    async def _purge(self) -> None:
        try:
            if not self._clocks.is_held:
                await self._database.write(waiting.fail_overdue, self._settings.execs.queue_deadline)
                await self._database.write(waiting.expire_slots)
            await self._retention.retire()
        except ServiceUnavailable as error:
            log.warning("records could not be purged: %s", error)
        except Exception:  # the next minute tries again
            log.exception("records could not be purged")

    async def _guarded(self, region: ServedRegion, work: Awaitable[Any]) -> None:
        try:
            await work
        except RegionUnavailable as error:
            self._region_failed(region, error.message)
        except (ExecutorError, ServiceUnavailable) as error:
            log.warning("region %s: %s", region.name, error)
        except Exception:  # a plugin's error must not become the engine's
            log.exception("region %s: unexpected error", region.name)
