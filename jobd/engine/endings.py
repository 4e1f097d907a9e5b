"""Running execs become ended ones: by the executor's events, by regular checks of their state, by stop and by timeout.

Result and log are committed together; only then is the container removed.
"""

import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from jobd.config import Settings
from jobd.engine import outcome, recordings
from jobd.engine.live import LiveExec, LiveExecs
from jobd.engine.plugin_events import PluginEvents
from jobd.engine.regions import ServedRegion
from jobd.engine.run_secrets import Secrets
from jobd.errors import ExecutorError, HandleGone, JobdError, RegionUnavailable, ServiceUnavailable
from jobd.executor import Handle, State, Status
from jobd.output.run_log import StoredLog
from jobd.store import deletion
from jobd.store.db import clock
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from jobd.store.queue.transitions import Result, Transitions
from jobd.task_set import TaskSet

log = logging.getLogger(__name__)

LOG_TRIES = 3
"""After so many failures to read its log an exec ends without it, although its region answers."""


class Endings:
    """`on_capacity_free` is called with a region's name when an exec of it has ended, `on_region_failed` when a region
    went away.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        transitions: Transitions,
        live: LiveExecs,
        plugin_events: PluginEvents,
        secrets: Secrets,
        on_capacity_free: Callable[[str], None],
        on_region_failed: Callable[[ServedRegion, str], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._transitions = transitions
        self._live = live
        self._plugin_events = plugin_events
        self._secrets = secrets
        self._on_capacity_free = on_capacity_free
        self.region_failed = on_region_failed
        self._tasks = TaskSet()

    def running(self, live: LiveExec, elapsed: float = 0.0) -> None:
        """The exec has been running for `elapsed` seconds: from now on its timeout is watched."""
        timeout = self._settings.execs.timeout if live.row.timeout is None else live.row.timeout
        live.deadline = clock.steady() + timeout - elapsed

    def changed(self, region: str, handle: Handle) -> None:
        """The executor reports that a run has ended."""
        live = self._live.with_handle(region, handle)
        if live is not None:
            self._spawn(self.finish(live), live)

    def started_elsewhere(self, region: str, handle: Handle) -> bool:
        """Somebody else started a run; returns whether it is the run of an exec that this daemon owns."""
        live = self._live.with_handle(region, handle)
        if live is not None and live.is_running:
            self._spawn(self.finish(live), live)
        return live is not None

    def stop(self, live: LiveExec) -> None:
        """Stop a running exec. Before it runs, whoever holds its lock sees `stopping` and ends it. Safe
        to call again.
        """
        live.stopping.set()
        if live.is_running and live in self._live and not live.stop_under_way and live.region.outage is None:
            live.stop_under_way = True
            self._spawn(self._stop(live), live)

    def check_deadlines(self) -> None:
        time = clock.steady()
        for live in self._live:
            if live.deadline is not None and live.deadline <= time and live.is_running:
                live.deadline = None
                self._spawn(self._time_out(live), live)

    async def ask(self, region: ServedRegion) -> None:
        """Ask for the state of all that runs in a region, and finish what has ended without an event."""
        running = [live for live in self._live if live.region is region and live.is_running]
        handles = {live.handle: live for live in running if live.handle is not None}
        if not handles:
            return
        statuses = await region.call(region.executor.statuses, list(handles))
        for handle, live in handles.items():
            status = statuses.get(handle, Status(State.GONE))
            if status.state is not State.RUNNING:
                self._spawn(self.finish(live, status), live)
            elif live.stopping.is_set():
                self.stop(live)

    async def finish(self, live: LiveExec, status: Status | None = None) -> None:
        """Read how a run ended, and its log, and end its record."""
        async with live.lock:
            if live not in self._live or not live.is_running or live.handle is None:
                return
            try:
                if status is None:
                    await self._finish_seen(live, live.handle)
                else:
                    await self.finish_locked(live, status)
            except RegionUnavailable as error:
                self.region_failed(live.region, error.message)
            except (ExecutorError, ServiceUnavailable) as error:
                log.warning("exec %s has ended, but could not be stored yet: %s", live.row.id, error)
            except Exception:
                log.exception("exec %s has ended, but could not be stored yet", live.row.id)

    async def finish_locked(self, live: LiveExec, status: Status) -> None:
        """`finish` for a caller that holds the exec's lock. Raises ExecutorError and ServiceUnavailable: then try again
        later.
        """
        if live.handle is None or status.state is State.RUNNING:
            return
        result, kept = outcome.judge(live.row, status), None
        if status.ran_again:
            # Until it is stopped the exec counts as running, for whatever must not run beside it.
            log.warning("exec %s: its container was started again from outside; stopping it", live.row.id)
            await live.region.stop_run(live.handle, 0)
        if status.state is State.ENDED:
            kept = await self._read_log(live, live.handle)
            result = result if kept is not None else outcome.without_log(result)
        elif recordings.of(live) is not None:
            kept = await self._read_log(live, live.handle)
        await self.conclude(live, result, kept)

    async def _finish_seen(self, live: LiveExec, handle: Handle) -> None:
        """`finish_locked` with one call to the executor for both state and log, unless the log has
        something to hide.
        """
        limit = None if live.row.secret_vars else self._settings.execs.max_log
        recording = recordings.of(live)
        status, kept = await live.region.read(recordings.read_end, live.region.executor, handle, limit, recording)
        if kept is None:
            await self.finish_locked(live, status)
        else:
            await self.conclude(live, outcome.judge(live.row, status), kept)

    async def conclude(self, live: LiveExec, result: Result, kept: StoredLog | None = None) -> None:
        """End the record of an exec, then remove its container. The caller holds the exec's lock."""
        row, region, handle = live.row, live.region, live.handle
        if live.mask is None and live.recording is not None:
            live.mask = live.recording.mask
        result = replace(result, message=live.redact(result.message))
        if kept is not None and kept.missing:
            result = outcome.with_missing_output(result, kept.missing)
        ended = await self._store(row, result, kept)
        self._live.drop(live)
        if not ended:
            return
        self._on_capacity_free(region.name)
        self._plugin_events.emit("jobd_exec_ended", row)
        if handle is not None:
            self._spawn(self._remove(region, handle), live)
        if live.stopping.is_set():
            self._spawn(self._purge(row.seq), live)

    async def drain(self, patience: float) -> None:
        """Wait for the execs that are being ended, at most `patience` seconds."""
        # An exec that ends makes more work: its container has to be removed.
        await self._tasks.wait(patience)

    def abandon(self) -> None:
        """End at once, without waiting for anything."""
        self._tasks.cancel()

    async def _store(self, row: Exec, result: Result, kept: StoredLog | None) -> bool:
        try:
            return await self._transitions.end(row, result, kept)
        except JobdError:
            raise
        except Exception as error:
            # An exit code or a text that no column can hold: another try would fail again, for ever.
            log.exception("exec %s: its result could not be stored", row.id)
            return await self._transitions.end(row, outcome.unstorable(error), None)

    async def _read_log(self, live: LiveExec, handle: Handle) -> StoredLog | None:
        recording = recordings.of(live)
        try:
            if recording is not None:
                return await live.region.read(recording.complete)
            live.mask = await self._secrets.mask(live.row)
            limit = self._settings.execs.max_log
            return await live.region.read(recordings.read_log, live.region.executor, handle, limit, live.mask)
        except HandleGone:
            log.warning("exec %s: its container was removed before its log was read", live.row.id)
        except RegionUnavailable:
            raise
        except ExecutorError as error:
            live.log_failures += 1
            if live.log_failures < LOG_TRIES:
                raise
            if recording is not None and recordings.of(live) is not None:
                log.error(
                    "exec %s: its log could not be read to the end and is stored without the rest: %s",
                    live.row.id,
                    error,
                )
                return await live.region.read(recording.complete, f"the rest could not be read: {error.message}")
            log.error("exec %s: its log could not be read and is not stored: %s", live.row.id, error)
        return None

    async def _stop(self, live: LiveExec) -> None:
        try:
            if live.handle is not None:
                await live.region.stop_run(live.handle, self._settings.execs.stop_grace)
                await self.finish(live)
        except RegionUnavailable as error:
            self.region_failed(live.region, error.message)
        except ExecutorError as error:
            log.error("exec %s could not be stopped: %s", live.row.id, error)
        finally:
            live.stop_under_way = False

    async def _time_out(self, live: LiveExec) -> None:
        async with live.lock:
            if live not in self._live or not live.is_running:
                return
            try:
                mine = await self._transitions.set_timed_out(live.row)
            except ServiceUnavailable as error:
                log.warning("exec %s has timed out, but could not be stopped yet: %s", live.row.id, error)
                live.deadline = clock.steady()
                return
            if not mine:
                self._live.drop(live)
                return
        self.stop(live)

    async def _remove(self, region: ServedRegion, handle: Handle) -> None:
        try:
            # By force: even if somebody has started it again meanwhile, the exec has ended.
            await region.call(region.executor.remove, handle, True)
        except ExecutorError as error:
            log.warning(
                "region %s: %s could not be removed, the next sweep tries again: %s", region.name, handle.id, error
            )

    async def _purge(self, seq: int) -> None:
        try:
            await self._database.write(deletion.purge_exec, seq)
        except ServiceUnavailable as error:
            log.warning("a deleted exec could not be purged, the next sweep tries again: %s", error)

    def _spawn(self, work: Coroutine[Any, Any, None], live: LiveExec) -> None:
        with live.in_log():
            self._tasks.spawn(work)
