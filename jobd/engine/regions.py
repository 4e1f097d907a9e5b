"""One served region: its executor, the threads that call it, and whether it answers."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from jobd import daemon_log
from jobd.config import RegionSettings
from jobd.engine.host_paths import HostPaths
from jobd.errors import ExecutorError, RegionUnavailable, StartFailed
from jobd.executor import Executor, Handle
from jobd.threads import Threads

log = logging.getLogger(__name__)

Result = TypeVar("Result")

CALL_THREADS = 8
READ_THREADS = 4
PULL_THREADS = 4
STOP_THREADS = 16
CALL_TIMEOUT = 120.0
PULL_TIMEOUT = 3600.0
"""Seconds without an answer after which the region counts as unavailable."""
READ_TIMEOUT = 900.0
"""Seconds that reading a whole log may take; millions of short lines do take minutes."""
CLOSE_TIMEOUT = 5.0
PROBE_DELAYS = (1.0, 2.0, 4.0, 8.0, 15.0)


class Unanswered(RegionUnavailable):
    """A call that took too long."""


class ServedRegion:
    """The only way to an executor. Nothing here waits in the loop's thread, and a region that hangs holds up nobody but
    itself: it has threads of its own, those for pulls, stops and long logs apart from those for everything else.
    """

    def __init__(self, settings: RegionSettings, executor: Executor, host_paths: HostPaths) -> None:
        self.name = settings.name
        self.settings = settings
        self.executor = executor
        self.host_paths = host_paths
        self.outage: str | None = "not asked yet"
        """Why the region cannot be used now, in words for everybody; None while it can."""
        self.engine = ""
        self.answered_at = 0.0
        """Unix time of the last answer; an error that the contract names counts as an answer."""
        self.was_open = False
        self.has_push = False
        self.ask_at = 0.0
        """Loop time at which `statuses` is due."""
        self.taking_over: asyncio.Future[None] | None = None
        self.unknown: set[int] = set()
        """Execs of this daemon that the last sweep found only in the records."""
        self._calls = Threads(CALL_THREADS, f"jobd-{self.name}")
        self._reads = Threads(READ_THREADS, f"jobd-{self.name}-read")
        self._pulls = Threads(PULL_THREADS, f"jobd-{self.name}-pull")
        self._stops = Threads(STOP_THREADS, f"jobd-{self.name}-stop")
        self._unwatch: Callable[[], None] | None = None

    def is_up(self) -> bool:
        """Whether the region can be used now."""
        return self.outage is None

    def last_answer(self) -> float:
        """Unix time of the last answer."""
        return self.answered_at

    async def call(self, method: Callable[..., Result], *args: Any) -> Result:
        """Ask about runs that exist. An error that the contract does not name counts as an unavailable region."""
        return await self._run(self._calls, CALL_TIMEOUT, RegionUnavailable, method, *args)

    async def make(self, method: Callable[..., Result], *args: Any) -> Result:
        """Create or start one run. An error that the contract does not name affects that run alone."""
        return await self._run(self._calls, CALL_TIMEOUT, StartFailed, method, *args)

    async def read(self, method: Callable[..., Result], *args: Any) -> Result:
        """Read a run's whole log. One that takes too long raises ExecutorError: it is that run's trouble, not the
        region's.
        """
        try:
            return await self._run(self._reads, READ_TIMEOUT, ExecutorError, method, *args)
        except Unanswered as error:
            raise ExecutorError(error.message) from error

    async def pull(self, method: Callable[..., Result], *args: Any) -> Result:
        return await self._run(self._pulls, PULL_TIMEOUT, StartFailed, method, *args)

    async def stop_run(self, handle: Handle, grace: float) -> None:
        await self._run(self._stops, grace + CALL_TIMEOUT, RegionUnavailable, self.executor.stop, handle, grace)

    async def watch(self, on_change: Callable[[Handle], None], on_start: Callable[[Handle], None]) -> None:
        """Call `on_change` when a run has ended, and `on_start` when somebody else has started one, in the loop's
        thread, if the executor can report it.
        """
        if self._unwatch is not None:
            return
        loop = asyncio.get_running_loop()

        def in_loop(report: Callable[[Handle], None], handle: Handle) -> None:
            loop.call_soon_threadsafe(report, handle)

        await self.call(self.executor.watch_starts, partial(in_loop, on_start))
        self._unwatch = await self.call(self.executor.watch, partial(in_loop, on_change))
        self.has_push = self._unwatch is not None

    async def close(self) -> None:
        """End the watch and close connections. Runs go on. A plugin that hangs in this is left behind."""
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()
        # Not a thread of a pool: those are waited for at exit.
        threading.Thread(target=self._close, args=(loop, closed), daemon=True).start()
        try:
            await asyncio.wait_for(closed.wait(), CLOSE_TIMEOUT)
        except TimeoutError:
            log.error("region %s: the executor did not close within %.0f s", self.name, CLOSE_TIMEOUT)
        for pool in (self._calls, self._reads, self._pulls, self._stops):
            pool.close(wait=False)

    def _close(self, loop: asyncio.AbstractEventLoop, closed: asyncio.Event) -> None:
        for step in (self._unwatch, self.executor.close):
            try:
                if step is not None:
                    step()
            except Exception:  # a plugin's error must not become the engine's
                log.exception("region %s: the executor raised an error while it was being closed", self.name)
        with contextlib.suppress(RuntimeError):  # the loop has not waited for this
            loop.call_soon_threadsafe(closed.set)

    async def _run(
        self,
        pool: Threads,
        seconds: float,
        unexpected: type[ExecutorError],
        method: Callable[..., Result],
        *args: Any,
    ) -> Result:
        try:
            async with asyncio.timeout(seconds):
                answer: Result = await pool.call(daemon_log.with_log_context(method), *args)
        except RegionUnavailable as error:
            # Everybody sees why a region is down; paths of its host are for the log only.
            words = self.host_paths.hidden(error.message)
            if words == error.message:
                raise
            log.info("region %s: %s", self.name, error.message)
            raise RegionUnavailable(words) from error
        except ExecutorError:
            self.answered_at = time.time()
            raise
        except TimeoutError:
            raise Unanswered(f"region {self.name} did not answer within {seconds:.0f} s") from None
        except Exception as error:  # a plugin's error must not become the engine's
            log.exception("region %s: the executor raised an error that its contract does not name", self.name)
            raise unexpected(f"{type(error).__name__}: {error}") from error
        self.answered_at = time.time()
        return answer
