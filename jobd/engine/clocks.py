"""Whether the clock that decides what is due goes evenly, and what is done when somebody sets it.

It is the database's clock, compared with a clock of this machine that nobody can set. A clock that is set back leaves
instants in the future behind; what waits for them is worked out anew. A clock that jumps far is not believed for one
lease: most wrong clocks are put right within seconds.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobd.delivery.sender import JITTER, MAX_RETRY_AFTER, RETRIES
from jobd.engine.leases import Lease
from jobd.errors import ServiceUnavailable
from jobd.periodic import Periodic
from jobd.store.daemons import Seen
from jobd.store.db import clock
from jobd.store.db.clock import HELD_OVER, NOTICED, Reading
from jobd.store.db.database import Database
from jobd.store.queue import left_ahead, rearming
from jobd.store.queue.rearming import Ahead, text

log = logging.getLogger(__name__)

LOOK_EVERY = 2.0
MAX_UNARMED = 30.0
"""Seconds after which schedules are armed anew for a clock that was set back, however long the lease is."""
EVEN_AFTER = 3600.0
"""Seconds for which the clock has to go evenly before anything is deleted for its age: that cannot be undone."""
MAX_OFFSET = timedelta(seconds=5)
"""An error is logged if this machine's own clock differs from the database's by more than this."""
MAX_JOBS_LOGGED = 20
"""The maximum number of log lines in one repair that name a job."""
DRIFT = 0.001
"""By how many seconds per second the clocks of two machines may drift apart."""
DELIVERY_DELAYS = [seconds * (1 + JITTER) for seconds in RETRIES]


@dataclass
class _Hold:
    """A jump that is not believed before `until`, by the steady clock. `seen`: the clock as it has gone since the jump.
    `was`: what it would show without the jump; with `is_floor`, the least that it would show.
    """

    was: Reading
    seen: Reading
    until: float
    is_floor: bool = False


@dataclass(frozen=True)
class _Wrong:
    """Schedules are to be armed anew at `due`, by the steady clock. `since`: when firing stopped, None if nothing has
    to be made up for. `back`: by how much the clock was ahead, as far as that is known.
    """

    since: datetime | None
    back: timedelta
    due: float


class Clocks:
    """`on_settled` is called when a jump is believed or has been undone, and when schedules were armed anew."""

    def __init__(self, database: Database, lease: Lease, on_settled: Callable[[], None]) -> None:
        self._database = database
        self._lease = lease
        self._on_settled = on_settled
        self.believed: Reading | None = None
        """The clock when it was last known to go evenly."""
        self._hold: _Hold | None = None
        self._wrong: _Wrong | None = None
        self._even_since = float("inf")
        self._is_off = False
        self._lock = asyncio.Lock()
        self._periodic = Periodic(self._look_and_repair, LOOK_EVERY * 1000)
        database.metrics.scheduler_held.set_function(lambda: float(self.is_held))

    @property
    def is_held(self) -> bool:
        """Whether the clock is not believed now: then nothing is decided by it that could not be undone."""
        return self._hold is not None

    @property
    def is_even(self) -> bool:
        """Whether it has gone evenly for long enough to delete by it."""
        return not self.is_held and clock.steady() - self._even_since >= EVEN_AFTER

    async def now(self) -> datetime:
        """The database's time; while a jump is not believed, the time without it. Raises ServiceUnavailable."""
        reading = await self._database.read(clock.read)
        return reading.at if self._hold is None else self._hold.was.reckoned(reading.after)

    async def begin(self, seen: Seen) -> None:
        """This daemon starts: compare the clock with what daemons saw last. Raises ServiceUnavailable."""
        reading = await self._look()
        own, self.believed, self._even_since = seen.own, reading, reading.after
        # Nobody knows what the clock was while no daemon looked.
        self._wrong = _Wrong(None, clock.NO_JUMP, reading.after)
        if own is not None and own.after <= reading.before:
            away = reading.after - own.after
            jump = own.jump_to(reading)
            if abs(jump) > _tolerated(away):
                self._jumped(jump, _at(own.reckoned(reading.after), reading), reading, away)
        elif seen.latest is not None and reading.at < seen.latest - NOTICED:
            self._jumped(reading.at - seen.latest, _at(seen.latest, reading), reading, 0.0, is_floor=True)
        self._periodic.start()

    def stop(self) -> None:
        self._periodic.stop()

    async def look(self) -> None:
        """Compare the clock with the steady one. Raises ServiceUnavailable."""
        async with self._lock:
            if self.believed is not None:
                self._compare(self.believed, await self._look())

    async def _look_and_repair(self) -> None:
        try:
            await self.look()
            wrong = self._wrong
            if wrong is not None and clock.steady() >= wrong.due:
                await self._repair(wrong)
        except ServiceUnavailable as error:
            log.debug("the clock could not be checked: %s", error)
        except Exception:  # the next look tries again
            log.exception("the clock could not be checked")

    async def _look(self) -> Reading:
        reading, offset = await self._database.read(clock.own_offset)
        self._database.metrics.clock_offset.set(offset.total_seconds())
        is_off = abs(offset) > MAX_OFFSET
        if is_off and not self._is_off:
            log.error("the database's clock, by which things come due, and this machine's are apart: %s", _by(offset))
        elif self._is_off and not is_off:
            log.info("this machine's clock and the database's agree again")
        self._is_off = is_off
        return reading

    def _compare(self, believed: Reading, reading: Reading) -> None:
        hold = self._hold
        if hold is None:
            jump, passed = believed.jump_to(reading), reading.after - believed.before
            if abs(jump) <= _tolerated(passed):
                self.believed = reading
            else:
                self._jumped(jump, _at(believed.reckoned(reading.after), reading), reading, 0.0)
            return
        off, again = hold.was.jump_to(reading), hold.seen.jump_to(reading)
        if abs(off) <= HELD_OVER or (hold.is_floor and off > clock.NO_JUMP):
            self._wrong = _Wrong(None, clock.NO_JUMP, reading.after)
            self._settle(reading, "the clock by which things come due is right again")
        elif abs(again) > NOTICED:
            self._jumped(again, _at(hold.was.reckoned(reading.after), reading), reading, 0.0, hold.is_floor)
        elif reading.after >= hold.until:
            self._settle(reading, "the clock by which things come due has gone evenly for one lease, and is believed")
        else:
            hold.seen = reading

    def _jumped(self, jump: timedelta, was: Reading, reading: Reading, away: float, is_floor: bool = False) -> None:
        """The clock was set. `was`: what it would show without the jump; `away`: seconds for which this daemon did not
        run.
        """
        direction = "ahead" if jump > clock.NO_JUMP else "back"
        self._database.metrics.clock_jumps.labels(direction).inc()
        self._even_since, length = reading.after, self._lease.length
        # By the new time the other daemons' heartbeats are as old as the jump is wide.
        self._lease.suspend_takeover()
        is_far = abs(jump) > HELD_OVER or self._hold is not None
        log.error(
            "the clock by which things come due was set %s by %s: it shows %s and should show %s%s%s",
            direction,
            _span(jump),
            text(reading.at),
            "at least " if is_floor else "",
            text(was.at),
            f"; nothing fires for {length:.0f} s, unless it is put right before" if is_far else "",
        )
        back = was.at - reading.at
        if back > clock.NO_JUMP:
            # This comes before anything fires again. If nothing is held back, what is past by the new time has fired
            # already.
            wait = max(min(length, MAX_UNARMED) - LOOK_EVERY, 0.0) if is_far else 0.0
            since = reading.at - timedelta(seconds=away) if is_far else None
            self._wrong = _Wrong(since, back, reading.after + wait)
        self.believed = reading
        if is_far:
            self._hold = _Hold(was, reading, reading.after + length, is_floor)

    def _settle(self, reading: Reading, words: str) -> None:
        log.warning("%s: it shows %s", words, text(reading.at))
        self._hold, self.believed, self._even_since = None, reading, reading.after
        self._on_settled()

    async def _repair(self, wrong: _Wrong) -> None:
        """Bring back what waits for an instant that is in the future only by a clock that was ahead."""
        brought = await self._database.write(left_ahead.bring_back, wrong.since, DELIVERY_DELAYS, MAX_RETRY_AFTER)
        if brought:
            log.warning(
                "%d retries, deliveries and others waited for times that are far off by a clock that is right", brought
            )
        jobs, ahead = 0, list[Ahead]()
        next_job: int | None = 0
        while next_job is not None:
            began = clock.steady()
            late = await self._database.read(rearming.armed_too_late, next_job, wrong.since, wrong.back)
            next_job = late.next_job
            if late.schedules:
                rearmed = await self._database.write(rearming.rearm, late.schedules)
                jobs, ahead = jobs + rearmed.jobs, ahead + rearmed.ahead
            # Half of the time is left to others.
            await asyncio.sleep(clock.steady() - began)
        if self._wrong is wrong:
            self._wrong = None
        _log_repair(jobs, ahead)
        if jobs and not self.is_held:
            self._on_settled()


def _log_repair(jobs: int, ahead: list[Ahead]) -> None:
    if jobs:
        log.warning("%d schedules waited for times that are far off by a clock that is right, and are armed anew", jobs)
    for each in ahead[:MAX_JOBS_LOGGED]:
        log.warning("job %d: %s ran ahead of their time, and are not run again", each.job_id, each)
    if len(ahead) > MAX_JOBS_LOGGED:
        log.warning(
            "slots of %d more jobs ran ahead of their time; their schedule_error says which",
            len(ahead) - MAX_JOBS_LOGGED,
        )


def _tolerated(passed: float) -> timedelta:
    return NOTICED + timedelta(seconds=passed * DRIFT)


def _at(at: datetime, reading: Reading) -> Reading:
    return Reading(at, reading.before, reading.after)


def _span(jump: timedelta) -> str:
    return str(timedelta(seconds=round(abs(jump).total_seconds())))


def _by(offset: timedelta) -> str:
    return f"this machine's is {_span(offset)} {'ahead' if offset > clock.NO_JUMP else 'behind'}"
