"""The identity of this daemon, and whether it still owns what it has claimed."""

import fcntl
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

from jobd.errors import ConfigError, ServiceUnavailable
from jobd.store import daemons
from jobd.store.db.clock import steady
from jobd.store.db.database import Database

log = logging.getLogger(__name__)

BEATS = 3
"""The number of heartbeats in one lease."""


class FileLock:
    """Allows one daemon at a time in a data directory and, on SQLite, on a database. The kernel frees the lock, even
    after kill -9.

    Raises ConfigError if another process holds it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - held for the life of the daemon
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise ConfigError(f"another jobd (process {holder}) is running here: it holds {path}") from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        self._file.close()


def daemon_id(data_dir: Path) -> str:
    """This daemon's id, kept over restarts, so that a restarted daemon knows what it owned. The caller
    holds the lock.
    """
    path = data_dir / "daemon.id"
    if not path.exists() or not path.read_text().strip():
        path.write_text(f"{uuid.uuid4()}\n")
    return path.read_text().strip()


class Lease:
    """Held while the last heartbeat is younger than `length` seconds by the steady clock. That clock goes on while the
    process is stopped or its machine sleeps, so a daemon that was paused knows when it wakes up that it may own nothing
    any more. When its last heartbeat is older than that, others take over what it owns.
    """

    def __init__(self, database: Database, daemon: str, length: float, clock: Callable[[], float] = steady) -> None:
        self.daemon = daemon
        self.length = length
        self._database = database
        self._clock = clock
        self._term = 0
        self._renewed = float("-inf")
        self._no_takeover_before = float("-inf")

    @property
    def held(self) -> bool:
        return self._clock() - self._renewed < self.length

    @property
    def ran_out(self) -> bool:
        """Whether it was held before, and is not any more."""
        return self._renewed > float("-inf") and not self.held

    @property
    def may_take_over(self) -> bool:
        """False for one lease after the database was unavailable: nobody could send a heartbeat then."""
        return self.held and self._clock() >= self._no_takeover_before

    def suspend_takeover(self) -> None:
        """For one lease take over nothing: after a clock was set, the heartbeats of living daemons look too old."""
        self._no_takeover_before = self._clock() + self.length

    async def begin(self, host: str, pid: int, regions: list[str]) -> None:
        began = self._clock()
        self._term = await self._database.write(daemons.register, self.daemon, host, pid, regions)
        self._renewed = began

    async def renew(self) -> bool:
        """Send one heartbeat. False if another start of this daemon has taken its place: then this one must end.

        Raises ServiceUnavailable.
        """
        began = self._clock()
        try:
            mine = await self._database.write_apart("pulse", daemons.heartbeat, self.daemon, self._term)
        except ServiceUnavailable:
            self._no_takeover_before = self._clock() + self.length
            raise
        if mine:
            self._renewed = began
        return mine

    async def others_alive(self) -> list[str]:
        """Ids of the other living daemons that share the database; on SQLite there are none, since a file lock keeps
        them out.
        """
        if self._database.is_sqlite:
            return []
        length = self.length if self._clock() >= self._no_takeover_before else None
        alive = await self._database.read(daemons.alive, length)
        return [daemon for daemon in alive if daemon != self.daemon]

    async def end(self) -> None:
        """Give up the lease, so that others may take over at once."""
        self._renewed = float("-inf")
        try:
            await self._database.write(daemons.leave, self.daemon, self._term)
        except ServiceUnavailable as error:
            log.warning("could not release the lease; other daemons wait until it expires: %s", error)
