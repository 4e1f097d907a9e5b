"""What handlers depend on, passed to them when the application is built."""

import asyncio
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import pluggy

from jobd.config import Settings
from jobd.engine.following.followers import Follower
from jobd.engine.regions import ServedRegion
from jobd.keyring import Keyring
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from jobd.threads import Threads
from jobd.web.connections import Connections
from jobd.web.fair_turns import FairTurns
from jobd.web.log_readers import LogReaders
from jobd.web.rate_limits import Rates
from jobd.web.sign_ins import SignIns
from jobd.web.slow_work import SlowWork
from jobd.web.token_uses import TokenUses

MAX_LISTS = 4
"""Pages of lists that are read and encoded at once."""
MAX_BODIES = 100
"""Large bodies that may wait to be parsed; each is in memory."""
MAX_SCHEDULES = 20
"""Requests for slots of a schedule that may wait."""


class Engine(Protocol):
    """What handlers use of the engine. All methods but `running_log` return at once."""

    @property
    def regions(self) -> Mapping[str, ServedRegion]:
        """The regions that this daemon serves, by name."""

    def exec_created(self, rows: Iterable[Exec]) -> None:
        """These execs were committed: notify plugins, and run them."""

    def stop_requested(self) -> None:
        """A request to stop an exec was committed."""

    async def running_log(self, row: Exec) -> bytes | None:
        """A live exec's output so far, as `jobd.output.run_log` frames; None if this daemon does not have it.

        Raises ExecutorError if it must not or cannot be read.
        """

    def follow(self, row: Exec, offset: int) -> Follower:
        """Follow an exec's output from an offset in bytes. Raises TooManyRequests, ServiceUnavailable."""


class Requests:
    """The requests in progress, so that a stopping daemon can wait for them."""

    def __init__(self) -> None:
        self._open: set[object] = set()
        self._none = asyncio.Event()
        self._none.set()

    def begin(self, request: object) -> None:
        self._open.add(request)
        self._none.clear()

    def end(self, request: object) -> None:
        """Does nothing for a request that has ended already."""
        self._open.discard(request)
        if not self._open:
            self._none.set()

    def __len__(self) -> int:
        return len(self._open)

    async def finished(self, patience: float) -> bool:
        """Wait until no request is in progress, at most `patience` seconds. Returns whether none is."""
        try:
            await asyncio.wait_for(self._none.wait(), patience)
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True)
class Services:
    """With `plugins` None, no plugin takes part in authentication."""

    database: Database
    settings: Settings
    engine: Engine
    plugins: pluggy.PluginManager | None = None
    requests: Requests = field(default_factory=Requests)
    connections: Connections = field(default_factory=Connections)
    uses: TokenUses = field(default_factory=TokenUses)
    sign_ins: SignIns = field(default_factory=SignIns)
    bodies: SlowWork = field(default_factory=lambda: SlowWork("jobd-bodies", MAX_BODIES))
    """Parses and validates large bodies."""
    answers: SlowWork = field(default_factory=lambda: SlowWork("jobd-answers"))
    """Encodes large rows. Has no limit, since the request's change may have been committed already."""
    schedules: SlowWork = field(default_factory=lambda: SlowWork("jobd-schedules", MAX_SCHEDULES))
    """Calculates slots to show."""
    openings: dict[Hashable, asyncio.Task[Any]] = field(default_factory=dict)
    """The last lines of logs that are being read for new followers."""

    def close(self) -> None:
        """Stop the threads: at exit, one that waits for work could not be told from one that hangs."""
        self.sign_ins.close()
        for work in (self.bodies, self.answers, self.schedules):
            work.close()
        self.log_threads.close(wait=False)

    @cached_property
    def lists(self) -> FairTurns:
        """Turns for reading lists: pages may have megabytes, and other threads wait while one is encoded."""
        return FairTurns(MAX_LISTS)

    @cached_property
    def log_readers(self) -> LogReaders:
        return LogReaders(self.settings.limits.followers_per_caller)

    @cached_property
    def log_threads(self) -> Threads:
        """Threads that render logs; two, so that a large log does not keep a small one waiting."""
        return Threads(2, "jobd-logs")

    @cached_property
    def rates(self) -> Rates:
        return Rates(self.settings.limits.requests_per_minute)

    @cached_property
    def keyring(self) -> Keyring:
        return Keyring(self.settings.jobd.key_file)
