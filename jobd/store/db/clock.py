"""The database's clock: due times, leases and time-outs of all daemons go by it.

Beside it there is a steady clock, which nobody can set: what the database's clock shows beyond what has passed by that
one, it was set to.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from peewee import SqliteDatabase

from jobd.store.db.tables import EPOCH, Installation

POSTGRESQL = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""The instant at which PostgreSQL looks, as it is kept."""
STATEMENT = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"
"""The instant at which the statement came to PostgreSQL, the same in all of it: an index can be asked for it."""
HELD_OVER = timedelta(seconds=60)
"""A clock that jumps by more than this is not believed for one lease."""
NOTICED = timedelta(seconds=1)
"""What is less is taken for the clock's own unevenness."""
NO_JUMP = timedelta()


def now() -> datetime:
    """The time of the database's host, to the microsecond. SQLite has no host of its own: this machine's."""
    database = Installation._meta.database
    if isinstance(database, SqliteDatabase):
        return datetime.now(UTC)
    cursor = database.execute_sql(f"SELECT {POSTGRESQL}")
    return EPOCH + timedelta(microseconds=cursor.fetchone()[0])


def steady() -> float:
    """Seconds since this machine began, by the clock that goes on while it sleeps: `time.monotonic` stands still then,
    and a machine that wakes would look like one whose clock was set ahead.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """Which start of this machine its steady clock counts from; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Reading:
    """The database's clock showed `at` somewhen between `before` and `after` by the steady clock."""

    at: datetime
    before: float
    after: float

    def reckoned(self, steady_now: float) -> datetime:
        """What the clock shows then if it goes on evenly."""
        return self.at + timedelta(seconds=steady_now - self.after)

    def jump_to(self, later: "Reading") -> timedelta:
        """By how much the clock was set ahead between the two, below zero: back. What the looks themselves may have
        taken counts as no jump.
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
    """The database's clock, and by how much this machine's own is ahead of it, to half of what the look took."""
    first = datetime.now(UTC)
    reading = read()
    own = first + (datetime.now(UTC) - first) / 2
    is_own = isinstance(Installation._meta.database, SqliteDatabase)
    return reading, NO_JUMP if is_own else own - reading.at
