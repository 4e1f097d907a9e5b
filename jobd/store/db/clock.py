"""The database's clock: all daemons go by it for due times, leases and timeouts.

Beside it there is a steady clock, which nobody can set. When the database's clock has moved by more or by less than the
steady one, somebody has set it.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from peewee import SqliteDatabase

from jobd.store.db.columns import EPOCH
from jobd.store.db.tables import Installation

POSTGRESQL = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""The current time by PostgreSQL's clock, in microseconds since the Unix epoch."""
STATEMENT = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"
"""The time at which PostgreSQL received the statement. It is constant within the statement, so an index can be searched
with it.
"""
HELD_OVER = timedelta(seconds=60)
"""A clock that jumps by more than this is not believed for the length of one lease."""
NOTICED = timedelta(seconds=1)
"""Smaller differences count as ordinary drift."""
NO_JUMP = timedelta()


def now() -> datetime:
    """The time by the clock of the database's host, to the microsecond. SQLite has no host of its
    own: this machine's.
    """
    database = Installation._meta.database
    if isinstance(database, SqliteDatabase):
        return datetime.now(UTC)
    cursor = database.execute_sql(f"SELECT {POSTGRESQL}")
    return EPOCH + timedelta(microseconds=cursor.fetchone()[0])


def steady() -> float:
    """Seconds since this machine booted, including the time it was asleep. `time.monotonic` stands still during sleep,
    so a machine that wakes up would look like one whose clock was set ahead.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """Identifies this boot of the machine, from which its steady clock counts; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Reading:
    """The database's clock showed `at` at some moment between `before` and `after`, in seconds of the steady clock."""

    at: datetime
    before: float
    after: float

    def reckoned(self, steady_now: float) -> datetime:
        """What the database's clock shows at `steady_now` if nobody sets it."""
        return self.at + timedelta(seconds=steady_now - self.after)

    def jump_to(self, later: "Reading") -> timedelta:
        """By how much the clock was set ahead between the two readings; negative if it was set back. A difference that
        the time taken by the readings can explain is no jump.
        """
        passed = later.at - self.at
        least, most = timedelta(seconds=later.before - self.after), timedelta(seconds=later.after - self.before)
        if passed > most:
            return passed - most
        return passed - least if passed < least else NO_JUMP


def read() -> Reading:
    before = steady()
    at = now()
    return Reading(at, before, steady())


def own_offset() -> tuple[Reading, timedelta]:
    """A reading of the database's clock, and by how much this machine's own clock is ahead of it; exact to half of the
    time that the reading took.
    """
    first = datetime.now(UTC)
    reading = read()
    own = first + (datetime.now(UTC) - first) / 2
    is_own = isinstance(Installation._meta.database, SqliteDatabase)
    return reading, NO_JUMP if is_own else own - reading.at
