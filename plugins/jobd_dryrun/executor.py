"""The executor contract without I/O: runs exist in memory only, end by the clock, and are lost when jobd restarts."""

import heapq
import logging
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import Field

from jobd.errors import HandleGone, StillRunning
from jobd.executor import Executor, Handle, Health, LogChunk, LogStream, Options, Region, Run, RunSpec, State, Status
from jobd_dryrun.play import Play, play

log = logging.getLogger(__name__)

TERMINATED = 143
"""The exit code of a program that was ended by SIGTERM."""
MAX_WAIT = 3600.0
"""Maximum seconds of a single wait."""


class DryRunOptions(Options):
    duration: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Seconds that a run takes if its command does not say so."""
    exit_code: int = Field(0, ge=0, le=255)
    """The exit code of such a run."""


@dataclass
class _Run:
    spec: RunSpec
    play: Play
    began: datetime | None = None
    started: float = float("inf")
    """The time of the start, by `time.monotonic()`; `ends` is that of the end, past or future."""
    ends: float = float("inf")
    exit_code: int = 0

    def state(self) -> State:
        if self.began is None:
            return State.CREATED
        return State.ENDED if self.ends <= time.monotonic() else State.RUNNING

    def at(self, monotonic: float) -> datetime:
        assert self.began is not None  # noqa: S101
        return self.began + timedelta(seconds=monotonic - self.started)


class DryRunExecutor(Executor):
    """Runs have no threads: their state follows from the clock, and one thread notifies watchers of ends."""

    options = DryRunOptions

    def __init__(self, region: Region) -> None:
        super().__init__(region)
        assert isinstance(region.options, DryRunOptions)  # noqa: S101
        self._options = region.options
        self._runs: dict[str, _Run] = {}
        self._changed = threading.Condition()
        self._ends: list[tuple[float, str]] = []
        """A heap of future ends. A stopped run is in it twice."""
        self._listeners: list[Callable[[Handle], None]] = []
        self._notifier: threading.Thread | None = None
        self._closed = False

    def identity(self) -> str:
        return "dry-run"

    def check(self) -> Health:
        return Health(True, engine="dry run")

    def create(self, spec: RunSpec) -> Handle:
        handle = Handle(uuid.uuid4().hex)
        run = _Run(spec, play(spec, self._options.duration, self._options.exit_code))
        with self._changed:
            self._runs[handle.id] = run
        return handle

    def start(self, handle: Handle) -> None:
        with self._changed:
            run = self._known(handle)
            if run.began is None:
                run.began, run.started = datetime.now(UTC), time.monotonic()
                run.exit_code = run.play.exit_code
                self._end_at(handle, run, run.started + run.play.seconds)

    def stop(self, handle: Handle, grace: float) -> None:
        with self._changed:
            run = self._runs.get(handle.id)
            if run is not None and run.state() is State.RUNNING:
                run.exit_code = TERMINATED
                self._end_at(handle, run, time.monotonic())

    def remove(self, handle: Handle, force: bool) -> None:
        with self._changed:
            run = self._runs.get(handle.id)
            if run is not None and run.state() is State.RUNNING:
                if not force:
                    raise StillRunning(f"{handle.id} is running: stop it first, or remove it by force")
                run.ends = time.monotonic()
            self._runs.pop(handle.id, None)
            self._changed.notify_all()

    def statuses(self, handles: Iterable[Handle]) -> dict[Handle, Status]:
        with self._changed:
            return {handle: self._status(self._runs.get(handle.id)) for handle in handles}

    def watch(self, on_change: Callable[[Handle], None]) -> Callable[[], None]:
        with self._changed:
            self._listeners.append(on_change)
            if self._notifier is None:
                self._notifier = threading.Thread(
                    target=self._notify_ends, name=f"jobd-{self.region.name}-ends", daemon=True
                )
                self._notifier.start()

        def stop() -> None:
            with self._changed:
                if on_change in self._listeners:
                    self._listeners.remove(on_change)

        return stop

    def logs(self, handle: Handle, follow: bool = False, since: datetime | None = None) -> LogStream:
        with self._changed:
            run = self._known(handle)
        over = threading.Event()

        def cut() -> None:
            with self._changed:
                over.set()
                self._changed.notify_all()

        return LogStream(self._written(run, follow, since, over), cut)

    def _written(
        self, run: _Run, follow: bool, since: datetime | None, over: threading.Event
    ) -> Generator[LogChunk, None, None]:
        for line in run.play.lines:
            due = run.started + line.after
            if not self._reached(run, due, follow, over):
                return
            written = run.at(due)
            if since is None or written >= since:
                yield LogChunk(written, line.stream, line.data)
        if follow:
            self._reached(run, float("inf"), follow, over)

    def list(self) -> list[Run]:
        with self._changed:
            return [Run(run.spec.exec_id, Handle(id), run.state()) for id, run in self._runs.items()]

    def was_started(self, handle: Handle) -> bool | None:
        with self._changed:
            run = self._runs.get(handle.id)
            return None if run is None else run.began is not None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _known(self, handle: Handle) -> _Run:
        run = self._runs.get(handle.id)
        if run is None:
            raise HandleGone(f"no such run: {handle.id}")
        return run

    def _end_at(self, handle: Handle, run: _Run, when: float) -> None:
        run.ends = when
        heapq.heappush(self._ends, (when, handle.id))
        self._changed.notify_all()

    def _status(self, run: _Run | None) -> Status:
        if run is None:
            return Status(State.GONE)
        state = run.state()
        if state is not State.ENDED:
            return Status(state, started_at=run.began)
        return Status(state, run.exit_code, run.began, run.at(run.ends))

    def _reached(self, run: _Run, due: float, wait: bool, over: threading.Event) -> bool:
        """Whether the run was still in progress at `due`. With `wait`, wait until then or until the run's end."""
        with self._changed:
            while wait and run.state() is State.RUNNING and not (self._closed or over.is_set()):
                if time.monotonic() >= due:
                    break
                self._wait_until(min(due, run.ends))
            return due <= min(run.ends, time.monotonic())

    def _notify_ends(self) -> None:
        while (handle := self._next_end()) is not None:
            for listener in list(self._listeners):
                try:
                    listener(handle)
                except Exception:
                    log.exception("region %s: a callback for an end failed", self.region.name)

    def _next_end(self) -> Handle | None:
        """Wait for the next run to end; None when the executor is closed."""
        with self._changed:
            while not self._closed:
                if self._ends and self._ends[0][0] <= time.monotonic():
                    return Handle(heapq.heappop(self._ends)[1])
                self._wait_until(self._ends[0][0] if self._ends else float("inf"))
            return None

    def _wait_until(self, due: float) -> None:
        self._changed.wait(min(due - time.monotonic(), MAX_WAIT))
