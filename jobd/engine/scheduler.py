"""Due slots become waiting execs, on time."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from jobd.engine.periodic import Periodic
from jobd.errors import ServiceUnavailable
from jobd.store import slots
from jobd.store.database import Database
from jobd.store.slots import Room, Rules
from jobd.store.tables import Exec

log = logging.getLogger(__name__)

ROOM_FOR = 1.0
"""Seconds for which a namespace's room is not counted anew: at a thousand slots a second that was a third of a scan."""


class Scheduler:
    """Scans every `tick` seconds, and between ticks at the very instants at which something comes due."""

    def __init__(
        self, database: Database, rules: Rules, tick: float, on_fired: Callable[[Iterable[Exec]], None]
    ) -> None:
        self._database = database
        self._rules = rules
        self._tick = tick
        self._on_fired = on_fired
        self._periodic = Periodic(self._scan, tick * 1000)
        self._timer: asyncio.TimerHandle | None = None
        self._scanning: asyncio.Task[None] | None = None
        self._room = Room(rules.waiting_per_namespace)
        self._room_until = 0.0
        self.scanned_at = float("-inf")
        """By the monotonic clock, when it last came back from the database, with or without success."""

    def start(self) -> None:
        self._periodic.start()
        self._scan()

    async def stop(self) -> None:
        """Fire nothing more; a transaction under way is waited for."""
        self._periodic.stop()
        if self._timer is not None:
            self._timer.cancel()
        if self._scanning is not None:
            await self._scanning

    def abandon(self) -> None:
        """End at once."""
        self._periodic.stop()
        for pending in (self._timer, self._scanning):
            if pending is not None:
                pending.cancel()

    def _scan(self) -> None:
        if self._scanning is None or self._scanning.done():
            self._scanning = asyncio.get_running_loop().create_task(self._fire())

    async def _fire(self) -> None:
        """Fire batch after batch until nothing is due, then arm the timer for what is due before the next tick."""
        if time.monotonic() > self._room_until:
            self._room = Room(self._rules.waiting_per_namespace)
            self._room_until = time.monotonic() + ROOM_FOR
        try:
            while True:
                fired = await self._database.write(slots.fire_due, self._rules, self._room)
                self.scanned_at = time.monotonic()
                self._database.metrics.last_tick.set_to_current_time()
                self._on_fired(fired.execs)
                if not fired.more:
                    break
        except ServiceUnavailable as error:
            self.scanned_at = time.monotonic()
            self._database.metrics.scan_errors.inc()
            log.warning("no scan: %s", error)
            return
        except Exception:  # the next scan tries again
            self._database.metrics.scan_errors.inc()
            log.exception("no scan")
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if fired.next_in is not None and fired.next_in < self._tick:
            self._timer = asyncio.get_running_loop().call_later(fired.next_in, self._scan)
