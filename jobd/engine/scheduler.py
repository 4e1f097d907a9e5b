"""Due slots become waiting execs, on time."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from jobd.engine.clocks import Clocks
from jobd.errors import ServiceUnavailable
from jobd.periodic import Periodic
from jobd.store.db.database import Database
from jobd.store.db.one_statement import OneStatement
from jobd.store.db.tables import Exec
from jobd.store.queue import armed_slots, due_slots
from jobd.store.queue.armed_slots import LATEST, Armed
from jobd.store.queue.due_slots import Fired, Rules
from jobd.store.queue.quota import NamespaceQuota, count_quota

log = logging.getLogger(__name__)

RECOUNTED_AFTER = 2.0
FORGOTTEN_AFTER = 5.0
"""Seconds after which the quota of namespaces is counted anew beside the scans, and after which it is not used any
more.
"""
AHEAD = 0.6
LOOK_EVERY = 0.2
"""For how many seconds ahead slots are armed, and seconds between two looks for them: less than the shortest period of
a job.
"""
LATE = timedelta(milliseconds=3)
"""A slot that fires later than this has waited for the processor; one later than `LATEST`, for something else."""


FIRE_ARMED = OneStatement(armed_slots.fire_armed)


class Scheduler:
    """Scans every `tick` seconds, and between ticks at the very instants at which something is due."""

    def __init__(
        self,
        database: Database,
        clocks: Clocks,
        rules: Rules,
        tick: float,
        on_fired: Callable[[Iterable[Exec]], None],
    ) -> None:
        self._database = database
        self._clocks = clocks
        self._rules = rules
        self._tick = tick
        self._on_fired = on_fired
        self._periodic = Periodic(self._scan, tick * 1000)
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self._scanning: asyncio.Task[None] | None = None
        self._quota: NamespaceQuota | None = None
        self._counted_at = float("-inf")
        self._counting: asyncio.Task[None] | None = None
        self._armed = Armed()
        self._looking: asyncio.Task[None] | None = None
        self._look_at = float("-inf")
        self.is_late = False
        """Whether what fired last was late: other work has to give way."""
        self.scanned_at = float("-inf")
        """When the last scan came back from the database, with or without success, by the monotonic clock."""

    def start(self) -> None:
        self._periodic.start()
        self._scan()

    async def stop(self) -> None:
        """Fire nothing more; a transaction in progress is waited for."""
        self._is_stopped = True
        self._periodic.stop()
        if self._timer is not None:
            self._timer.cancel()
        if self._scanning is not None:
            await self._scanning
        for beside in (self._counting, self._looking):
            if beside is not None:
                beside.cancel()

    def restart(self) -> None:
        """The clock was set, or schedules were armed anew: forget what is armed, and scan."""
        self._armed = Armed()
        if not self._is_stopped:
            self._scan()

    def abandon(self) -> None:
        """End at once, without waiting for anything."""
        self._is_stopped = True
        self._periodic.stop()
        for pending in (self._timer, self._scanning, self._counting, self._looking):
            if pending is not None:
                pending.cancel()

    def _scan(self) -> None:
        if self._clocks.is_held:
            self.scanned_at = time.monotonic()
            return
        if self._scanning is None or self._scanning.done():
            self._scanning = asyncio.get_running_loop().create_task(self._fire())

    async def _fire(self) -> None:
        """Fire batch after batch until nothing is due, then set the timer for what is due before the next tick."""
        try:
            more = False
            while True:
                fired = await self._fire_some(look_at_all=more)
                self.is_late = any(LATE < row.created_at - row.scheduled_for < LATEST for row in fired.execs[:1])
                self.scanned_at = time.monotonic()
                self._database.metrics.last_tick.set_to_current_time()
                self._on_fired(fired.execs)
                more = fired.more
                if fired.has_jumped:
                    await self._clocks.look()
                if not more or self._is_stopped:
                    break
        except ServiceUnavailable as error:
            self.scanned_at = time.monotonic()
            self._database.metrics.scan_errors.inc()
            log.warning("schedule scan failed: %s", error)
            return
        except Exception:  # the next scan tries again
            self._database.metrics.scan_errors.inc()
            log.exception("schedule scan failed")
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if fired.next_in is not None and fired.next_in < self._tick and not self._is_stopped:
            self._timer = asyncio.get_running_loop().call_later(fired.next_in, self._scan)
            self._look_ahead(fired.next_in)

    async def _fire_some(self, look_at_all: bool) -> Fired:
        """Fire the armed slots that are due, or else everything that is due."""
        quota = self._quota if time.monotonic() - self._counted_at < FORGOTTEN_AFTER else None
        due = self._armed.take_due(quota) if quota is not None and not look_at_all else []
        if quota is not None and due:
            latest = min(LATEST, timedelta(seconds=self._rules.late_after))
            fired = await self._database.write_apart("scan", FIRE_ARMED, due, quota, self._armed.first, latest)
            self._armed.put_back(slot for slot in due if slot.at > fired.at)
            self._armed.forget(fired.at - latest)
        else:
            fired = await self._database.write_apart(
                "scan", due_slots.fire_due, self._rules, quota, self._clocks.believed
            )
            self._armed.forget(fired.at)
        if quota is None and fired.quota is not None:
            self._quota, self._counted_at = fired.quota, time.monotonic()
        elif fired.execs:
            self._recount()
        return fired

    def _look_ahead(self, next_in: float) -> None:
        """Have what is due soon worked out beside the scans."""
        time_now = time.monotonic()
        is_under_way = self._looking is not None and not self._looking.done()
        if next_in < AHEAD and time_now > self._look_at and not is_under_way and not self._database.is_sqlite:
            self._look_at = time_now + LOOK_EVERY
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        try:
            self._armed.add(await self._database.read(armed_slots.look_ahead, self._armed.until, AHEAD))
        except ServiceUnavailable as error:
            log.debug("slots could not be armed: %s", error)
        except Exception:  # the scans fire what is not armed
            log.exception("slots could not be armed")

    def _recount(self) -> None:
        """While slots fire, the quota of their namespaces is counted every so often; no scan waits for that."""
        is_old = time.monotonic() - self._counted_at > RECOUNTED_AFTER
        if is_old and (self._counting is None or self._counting.done()):
            self._counting = asyncio.get_running_loop().create_task(self._count())

    async def _count(self) -> None:
        try:
            self._quota = await self._database.read(count_quota, self._rules.waiting_per_namespace)
            self._counted_at = time.monotonic()
        except ServiceUnavailable as error:
            log.debug("the quota of namespaces could not be counted: %s", error)
        except Exception:  # the next scan counts it
            log.exception("the quota of namespaces could not be counted")
