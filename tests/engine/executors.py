"""Executors without an engine behind them: one that behaves, and named ones that do not."""

import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from jobd.errors import HandleGone, ImageAbsent, ImageNotFound, RegionUnavailable, StartFailed
from jobd.executor import (
    Executor,
    Handle,
    Health,
    LogChunk,
    LogStream,
    Options,
    Region,
    Run,
    RunSpec,
    State,
    Status,
    Stream,
)


@dataclass
class Container:
    spec: RunSpec
    state: State = State.CREATED
    exit_code: int | None = None
    oom_killed: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    output: list[LogChunk] = field(default_factory=list)
    ran_again: bool = False
    """It ended, and was started again from outside; code, times and output are those of the first run."""


class World:
    """What outlives a daemon: containers, images, and the engine's own log of what it started."""

    def __init__(self) -> None:
        self.identity = str(uuid.uuid4())
        self.lock = threading.RLock()
        self.news = threading.Condition(self.lock)
        """Something was written, ended, or came to nothing."""
        self.reads: list[tuple[str, bool]] = []
        """(handle, follow), once for each reading of a log."""
        self.followers = 0
        """Readings with `follow` that go on."""
        self.containers: dict[str, Container] = {}
        self.images: set[str] = {"repo:latest"}
        self.pullable: set[str] = set()
        self.started: list[tuple[str, str]] = []
        """(exec id, handle), once for each start."""
        self.forgot_starts = False
        self.down = False

    def break_down(self) -> None:
        """The region goes away, and with it whoever follows."""
        with self.news:
            self.down = True
            self.news.notify_all()

    def starts_of(self, exec_id: str) -> int:
        return sum(started == exec_id for started, _ in self.started)


class MemoryExecutor(Executor):
    """Behaves as the contract says. A run goes on until `end` is called."""

    options = Options

    def __init__(self, region: Region, world: World | None = None) -> None:
        super().__init__(region)
        self.world = world or World()
        self.listeners: list[Callable[[Handle], None]] = []
        self.on_start: Callable[[Handle], None] = lambda handle: None

    def end(self, exec_id: str, exit_code: int = 0, output: bytes = b"", oom_killed: bool = False) -> None:
        """The program of this exec ends."""
        with self.world.lock:
            for key, container in self.world.containers.items():
                if container.spec.exec_id == exec_id and container.state is State.RUNNING:
                    if output:
                        container.output.append(LogChunk(datetime.now(UTC), "stdout", output))
                    container.oom_killed = oom_killed
                    self._end(key, exit_code)

    def restart(self, exec_id: str, exit_code: int = 143) -> None:
        """Somebody has the engine stop this exec's container and start it again, before anybody looks."""
        with self.world.lock:
            for key, container in self.world.containers.items():
                if container.spec.exec_id == exec_id:
                    container.exit_code, container.ended_at = exit_code, datetime.now(UTC)
                    container.state, container.ran_again = State.RUNNING, True
                    self.on_start(Handle(key))

    def write(self, exec_id: str, data: bytes, stream: Stream = "stdout") -> None:
        """The program of this exec writes."""
        with self.world.news:
            for container in self.world.containers.values():
                if container.spec.exec_id == exec_id and container.state is State.RUNNING:
                    container.output.append(LogChunk(datetime.now(UTC), stream, data))
            self.world.news.notify_all()

    def _end(self, key: str, exit_code: int) -> None:
        container = self.world.containers[key]
        container.state, container.exit_code, container.ended_at = State.ENDED, exit_code, datetime.now(UTC)
        self.world.news.notify_all()
        for listener in self.listeners:
            listener(Handle(key))

    def _reach(self) -> None:
        if self.world.down:
            raise RegionUnavailable("the world is down")

    def identity(self) -> str:
        self._reach()
        return self.world.identity

    def check(self) -> Health:
        return Health(not self.world.down, "the world is down" if self.world.down else "", "memory")

    def pull(self, spec: RunSpec) -> None:
        self._reach()
        if spec.image not in self.world.pullable | self.world.images:
            raise ImageNotFound(f"no image {spec.image}")
        self.world.images.add(spec.image)

    def create(self, spec: RunSpec) -> Handle:
        self._reach()
        if spec.image not in self.world.images:
            raise ImageAbsent(spec.image)
        key = uuid.uuid4().hex
        with self.world.lock:
            self.world.containers[key] = Container(spec)
        return Handle(key, "sha256:" + spec.image)

    def start(self, handle: Handle) -> None:
        self._reach()
        with self.world.lock:
            container = self._container(handle)
            if container.state is State.CREATED:
                self.world.started.append((container.spec.exec_id, handle.id))
                container.state, container.started_at = State.RUNNING, datetime.now(UTC)

    def stop(self, handle: Handle, grace: float) -> None:
        self._reach()
        with self.world.lock:
            container = self.world.containers.get(handle.id)
            if container is not None and container.state is State.RUNNING:
                self._end(handle.id, (container.exit_code or 0) if container.ran_again else 143)

    def remove(self, handle: Handle, force: bool) -> None:
        self._reach()
        with self.world.lock:
            container = self.world.containers.get(handle.id)
            if container is not None and container.state is State.RUNNING and not force:
                raise StartFailed("it runs")
            self.world.containers.pop(handle.id, None)

    def statuses(self, handles: Iterable[Handle]) -> dict[Handle, Status]:
        self._reach()
        with self.world.lock:
            return {handle: self._status(handle) for handle in handles}

    def _status(self, handle: Handle) -> Status:
        found = self.world.containers.get(handle.id)
        if found is None:
            return Status(State.GONE)
        state = State.ENDED if found.ran_again else found.state
        return Status(
            state, found.exit_code, found.started_at, found.ended_at, found.oom_killed, ran_again=found.ran_again
        )

    def watch_starts(self, on_start: Callable[[Handle], None]) -> None:
        self.on_start = on_start

    def watch(self, on_change: Callable[[Handle], None]) -> Callable[[], None] | None:
        self.listeners.append(on_change)
        return lambda: self.listeners.remove(on_change)

    def logs(self, handle: Handle, follow: bool = False, since: datetime | None = None) -> LogStream:
        self._reach()
        self.world.reads.append((handle.id, follow))
        over = threading.Event()

        def cut() -> None:
            with self.world.news:
                over.set()
                self.world.news.notify_all()

        return LogStream(self._written(self._container(handle), follow, over), cut)

    def _written(self, container: Container, follow: bool, over: threading.Event) -> Generator[LogChunk, None, None]:
        self.world.followers += follow
        try:
            at = 0
            while not over.is_set():
                with self.world.news:
                    self._reach()
                    fresh = container.output[at:]
                    if not fresh and (not follow or container.state is not State.RUNNING):
                        return
                    if not fresh:
                        self.world.news.wait()
                at += len(fresh)
                yield from fresh
        finally:
            self.world.followers -= follow

    def list(self) -> list[Run]:
        self._reach()
        with self.world.lock:
            return [Run(c.spec.exec_id, Handle(key), c.state) for key, c in self.world.containers.items()]

    def was_started(self, handle: Handle) -> bool | None:
        self._reach()
        if self.world.forgot_starts:
            return None
        return any(key == handle.id for _, key in self.world.started)

    def _container(self, handle: Handle) -> Container:
        found = self.world.containers.get(handle.id)
        if found is None:
            raise HandleGone(f"no {handle.id}")
        return found


class DeafExecutor(MemoryExecutor):
    """Has no push: ends are found by asking."""

    def watch(self, on_change: Callable[[Handle], None]) -> None:
        return None


class SlowExecutor(MemoryExecutor):
    """Takes its time to create."""

    def create(self, spec: RunSpec) -> Handle:
        time.sleep(0.3)
        return super().create(spec)


class HangingExecutor(MemoryExecutor):
    """Never answers `check`, as behind a firewall that drops."""

    def __init__(self, region: Region, world: World | None = None) -> None:
        super().__init__(region, world)
        self.released = threading.Event()

    def check(self) -> Health:
        self.released.wait(30)
        return super().check()

    def close(self) -> None:
        self.released.set()


class CrashingExecutor(MemoryExecutor):
    """Raises what the contract does not name."""

    def create(self, spec: RunSpec) -> Handle:
        raise KeyError("oops")


class ForgetfulExecutor(MemoryExecutor):
    """Does not know any more what it ran."""

    def statuses(self, handles: Iterable[Handle]) -> dict[Handle, Status]:
        return {}


class LyingExecutor(MemoryExecutor):
    """Tells of ends that did not happen, and of handles that never were."""

    def start(self, handle: Handle) -> None:
        super().start(handle)
        for listener in self.listeners:
            listener(handle)
            listener(Handle("never was"))


class CutStartExecutor(MemoryExecutor):
    """Starts the run, and loses the connection before it can say so; `reaches` false: loses it before."""

    reaches = True

    def start(self, handle: Handle) -> None:
        if self.reaches:
            super().start(handle)
        raise RegionUnavailable("connection reset")


class StuckStartExecutor(MemoryExecutor):
    """`start` hangs until `released`, and then does nothing."""

    def __init__(self, region: Region, world: World | None = None) -> None:
        super().__init__(region, world)
        self.released = threading.Event()
        self.asked = threading.Event()

    def start(self, handle: Handle) -> None:
        self.asked.set()
        self.released.wait(30)


class BrokenStartExecutor(MemoryExecutor):
    """Starts the run, and then stumbles over the answer."""

    def start(self, handle: Handle) -> None:
        super().start(handle)
        raise KeyError("State")


class UnreadableExecutor(MemoryExecutor):
    """Answers, but not for logs."""

    def logs(self, handle: Handle, follow: bool = False, since: datetime | None = None) -> LogStream:
        raise ValueError("damaged log file")


class StuckExecutor(MemoryExecutor):
    """`statuses` and `close` hang until `released`, once `stuck`."""

    def __init__(self, region: Region, world: World | None = None) -> None:
        super().__init__(region, world)
        self.stuck = False
        self.released = threading.Event()
        self.asked = threading.Event()

    def statuses(self, handles: Iterable[Handle]) -> dict[Handle, Status]:
        if self.stuck:
            self.asked.set()
            self.released.wait(30)
        return super().statuses(handles)

    def close(self) -> None:
        if self.stuck:
            self.released.wait(30)
