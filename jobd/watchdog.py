"""Whether the daemon really works: loop, scheduler and database. systemd is notified, and restarts a daemon that does
not.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

from jobd import systemd
from jobd.engine.engine import Engine
from jobd.errors import ServiceUnavailable
from jobd.periodic import Periodic
from jobd.store import daemons
from jobd.store.db.database import Database

log = logging.getLogger(__name__)

LAG_EVERY = 0.25
REPORT_EVERY = 10.0
"""Seconds between notifications; less if systemd's watchdog wants it."""
QUIET = 60.0
"""Seconds for which the scheduler may be silent if no watchdog sets a limit."""


class Watchdog:
    """Measures the loop's lag and, if systemd listens, notifies it of the daemon's health until `stop`."""

    def __init__(self, engine: Engine, database: Database, tick: float, address: str) -> None:
        self._engine = engine
        self._database = database
        self._address = address
        self._watchdog = systemd.watchdog()
        self._quiet = max(self._watchdog or QUIET, 4 * tick)
        self._every = min(REPORT_EVERY, self._watchdog / 3) if self._watchdog else REPORT_EVERY
        self._began = time.monotonic()
        self._due = 0.0
        self._lag = Periodic(self._measure_lag, LAG_EVERY * 1000)
        self._probe: asyncio.Future[str] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._outage = ""
        self._fault = ""

    def start(self) -> None:
        """The daemon is ready."""
        self._due = time.monotonic() + LAG_EVERY
        self._lag.start()
        if systemd.is_listening():
            systemd.notify(READY=1, STATUS=self._status())
            self._watching = asyncio.create_task(self._watch())

    def stop(self) -> None:
        """The daemon begins to stop: from now on systemd's own timeout applies."""
        self._lag.stop()
        if self._watching is not None:
            self._watching.cancel()
        systemd.notify(STOPPING=1, STATUS="stopping; running execs go on")

    async def hang(self) -> str:
        """What does not come to an end, in words; empty if everything goes on. A reported outage is no hang: a restart
        would not end it.
        """
        silent = time.monotonic() - max(self._engine.scanned_at, self._began)
        if silent > self._quiet:
            return f"the scheduler has not looked for due slots for {silent:.0f} s"
        # If a probe hangs, it is awaited again; no second one is started.
        if self._probe is None or self._probe.done():
            self._probe = asyncio.ensure_future(self._database.read(daemons.installation))
        try:
            await asyncio.wait_for(asyncio.shield(self._probe), self._every)
        except TimeoutError:
            return "the database has not answered"
        except ServiceUnavailable as error:
            self._outage = error.message
        else:
            self._outage = self._database.trouble
        return ""

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                hang = await self.hang()
            except Exception as error:  # if this task ended, systemd would kill a healthy daemon
                log.exception("the daemon's health could not be checked")
                hang = repr(error)
            self._report(hang)

    def _report(self, hang: str) -> None:
        fault = hang or self._outage
        if fault and not self._fault:
            log.error("the daemon is unhealthy: %s", fault)
        elif self._fault and not fault:
            log.info("the daemon is healthy again")
        self._fault = fault
        alive: Mapping[str, int] = {} if hang or self._watchdog is None else {"WATCHDOG": 1}
        systemd.notify(**alive, STATUS=fault or self._status())

    def _status(self) -> str:
        regions = self._engine.regions.values()
        up = sum(region.outage is None for region in regions)
        return f"serving on {self._address}; {up} of {len(regions)} regions up; {self._engine.owned} execs here"

    def _measure_lag(self) -> None:
        now = time.monotonic()
        self._database.metrics.loop_lag.observe(max(now - self._due, 0.0))
        self._due = now + LAG_EVERY
