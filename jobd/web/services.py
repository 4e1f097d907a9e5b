"""What handlers work with: handed in when the application is built, never looked up."""

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
"""Pages that are read and written at once."""
MAX_BODIES = 100
"""Large bodies that wait to be read; each is in memory."""
MAX_SCHEDULES = 20
"""Schedules that wait to be shown."""


class Engine(Protocol):
    """What the API asks of the engine. All but `running_log` return at once."""

    @property
    def regions(self) -> Mapping[str, ServedRegion]:
        """The regions that this daemon serves, by name."""

    def exec_created(self, rows: Iterable[Exec]) -> None:
        """These execs were committed: tell plugins, and run them."""

    def stop_requested(self) -> None:
        """Somebody asked for the end of an exec, and it is committed."""

    async def running_log(self, row: Exec) -> bytes | None:
        """What a live exec has written so far, as `jobd.output.run_log` frames; None if that cannot be known here.

        Raises ExecutorError when it must not or cannot be read.
        """

    def follow(self, row: Exec, offset: int) -> Follower:
        """Follow an exec's output from an offset in bytes on. Raises TooManyRequests, ServiceUnavailable."""


class Requests:
    """The requests under way, so that a stop can wait for them."""

    def __init__(self) -> None:
        self._open: set[object] = set()
        self._none = asyncio.Event()
        self._none.set()

    def begin(self, request: object) -> None:
        self._open.add(request)
        self._none.clear()

    def end(self, request: object) -> None:
        """Of a request that has ended already: nothing."""
        self._open.discard(request)
        if not self._open:
            self._none.set()

    def __len__(self) -> int:
        return len(self._open)

    async def finished(self, patience: float) -> bool:
        """Wait until none is under way, at most `patience` seconds; whether none is."""
        try:
            await asyncio.wait_for(self._none.wait(), patience)
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True)
class Services:
    """`plugins` None: no plugin is asked who a caller is."""

    database: Database
    settings: Settings
    engine: Engine
    plugins: pluggy.PluginManager | None = None
    requests: Requests = field(default_factory=Requests)
    connections: Connections = field(default_factory=Connections)
    uses: TokenUses = field(default_factory=TokenUses)
    sign_ins: SignIns = field(default_factory=SignIns)
    bodies: SlowWork = field(default_factory=lambda: SlowWork("jobd-bodies", MAX_BODIES))
    """Reads and judges large bodies."""
    answers: SlowWork = field(default_factory=lambda: SlowWork("jobd-answers"))
    """Writes large rows. None is refused: what it tells of may have been done."""
    schedules: SlowWork = field(default_factory=lambda: SlowWork("jobd-schedules", MAX_SCHEDULES))
    """Works out slots to show."""
    openings: dict[Hashable, asyncio.Task[Any]] = field(default_factory=dict)
    """Last lines of logs that are being read for followers who just came."""

    def close(self) -> None:
        """Let the threads go: at exit, one that waits for work looks like one that is stuck."""
        self.sign_ins.close()
        for work in (self.bodies, self.answers, self.schedules):
            work.close()
        self.log_threads.close(wait=False)

    @cached_property
    def lists(self) -> FairTurns:
        """For whoever reads a list: pages may be megabytes, and while they are written other threads wait."""
        return FairTurns(MAX_LISTS)

    @cached_property
    def log_readers(self) -> LogReaders:
        return LogReaders(self.settings.limits.followers_per_caller)

    @cached_property
    def log_threads(self) -> Threads:
        """Render logs. Two, so that one large log does not keep a small one waiting."""
        return Threads(2, "jobd-logs")

    @cached_property
    def rates(self) -> Rates:
        return Rates(self.settings.limits.requests_per_minute)

    @cached_property
    def keyring(self) -> Keyring:
        return Keyring(self.settings.jobd.key_file)
