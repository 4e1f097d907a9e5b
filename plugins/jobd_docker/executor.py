"""The executor contract for a Docker engine, however `connect` reaches it."""

import math
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any, ClassVar

import docker
from docker.errors import APIError
from docker.errors import ImageNotFound as NoSuchImage

from jobd.errors import HandleGone, ImageAbsent, RegionUnavailable, StartFailed, StillRunning
from jobd.executor import (
    Collected,
    Executor,
    Handle,
    Health,
    LogChunk,
    LogStream,
    OutputSink,
    Region,
    Run,
    RunSpec,
    State,
    Status,
)
from jobd_docker import client as transport
from jobd_docker import containers, events, images, logs, networks
from jobd_docker.attaching import Connection, SocketConnection
from jobd_docker.client import readable, translated
from jobd_docker.collecting import Collector
from jobd_docker.collection import Collection
from jobd_docker.first_runs import FirstRuns
from jobd_docker.logs import Frame, LogRequest
from jobd_docker.options import JOBD_NETWORK, ContainerOptions, DockerOptions

FEW = 3
"""Up to this many containers are inspected one by one; for more of them, the running ones are listed first."""
CANNOT_EXECUTE = (126, 127)
"""Exit codes of an init (and of a shell) if the command cannot be executed or does not exist."""
END_NOT_SEEN = 255
"""The exit code that an engine records if it was down when the container ended. Programs may end with it, too, so the
engine's events have to decide.
"""
STOP_MARGIN = 60
"""Seconds after the grace period in which the engine has to have killed the container."""
START_LOCKS = 64
START_NOTED_WITHIN = 2.0
"""Seconds after a container's first output within which the engine records its start."""


class EngineExecutor(Executor):
    """Runs execs as containers of the engine that `connect` reaches. Its options extend `ContainerOptions`."""

    options: ClassVar[type[ContainerOptions]] = ContainerOptions

    def __init__(self, region: Region) -> None:
        super().__init__(region)
        assert isinstance(region.options, ContainerOptions)  # noqa: S101
        self._options = region.options
        self._label = f"{containers.INSTALLATION}={region.installation}"
        self._client: docker.APIClient | None = None
        self._connecting = threading.Lock()
        self._network_known = self._options.network != JOBD_NETWORK
        self._digests = images.Digests()
        self._collection = None if self._options.image_disk is None else Collection(self._options.image_disk)
        self._never_started: set[str] = set()
        self._starting = [threading.Lock() for _ in range(START_LOCKS)]
        self._watches: list[events.Watch] = []
        self._first_runs = FirstRuns()
        self._on_start: Callable[[Handle], None] = lambda handle: None
        self._collector = Collector(
            region.name, lambda: self.place, self.client, self.dial, self._session, self._first_frames
        )

    @property
    def place(self) -> str:
        """The engine's address, for messages."""
        raise NotImplementedError

    def connect(self) -> docker.APIClient:
        """A connected client. May raise all that `jobd_docker.client.translated` translates."""
        raise NotImplementedError

    def dial(self) -> Connection:
        """A separate connection to the engine, for a container's streams. May raise the same as `connect`."""
        raise NotImplementedError

    def client(self) -> docker.APIClient:
        """The region's client, connected at first use. Raises RegionUnavailable."""
        with self._connecting:
            if self._client is None:
                with translated(self.place):
                    self._client = self.connect()
            return self._client

    def identity(self) -> str:
        with translated(self.place):
            return self.client().info()["ID"]

    def check(self) -> Health:
        try:
            with translated(self.place):
                info = self.client().info()
                now = containers.time(info["SystemTime"])
                if now is not None:
                    self._collector.set_clock(now)
                return Health(True, engine=f"Docker {info['ServerVersion']}")
        except RegionUnavailable as error:
            self._forget_client()
            return Health(False, error.message)

    def pull(self, spec: RunSpec) -> None:
        with translated(self.place):
            images.pull(self.client(), spec)

    def create(self, spec: RunSpec) -> Handle:
        client = self.client()
        self._first_runs.creating(spec.daemon)
        with translated(self.place, StartFailed):
            self._ensure_network(client)
            configuration = containers.configuration(client, spec, self._options, self.region.name)
            for attempt in count(1):
                name = f"jobd-{spec.exec_id}" if attempt == 1 else f"jobd-{spec.exec_id}-{attempt}"
                try:
                    container = client.create_container(name=name, **configuration)["Id"]
                    break
                except NoSuchImage as error:
                    raise ImageAbsent(f"{spec.image} is not in the region") from error
                except APIError as error:
                    if not (error.status_code == 409 and "already in use" in _words(error)):
                        raise
        self._never_started.add(container)
        with translated(self.place):
            digest = self._digests.of(client, spec.image)
        if self._collection is not None and digest is not None:
            self._collection.used(digest)
        return Handle(container, digest)

    def start(self, handle: Handle) -> None:
        with self._starting[hash(handle) % START_LOCKS]:
            fresh = handle.id in self._never_started
            self._never_started.discard(handle.id)
            # Docker would run an ended container again.
            state = State.CREATED if fresh else self._inspect(handle).state
            if state is State.GONE:
                raise HandleGone(f"no such container: {handle.id}")
            if state is State.CREATED:
                self._first_runs.starting(handle.id)
                self._start(handle)

    def _start(self, handle: Handle) -> None:
        client = self.client()
        with translated(self.place, StartFailed):
            try:
                client.start(handle.id)
            except APIError as error:
                if _is_gone(error):
                    raise HandleGone(f"no such container: {handle.id}") from error
                if not _lacks_network(error) or self._options.network != JOBD_NETWORK:
                    raise
                # Somebody has removed the network or is about to, as `networks.ensure` does.
                self._network_known = False
                self._ensure_network(client)
                client.start(handle.id)

    def stop(self, handle: Handle, grace: float) -> None:
        seconds = math.ceil(grace)
        client = self.client()
        with translated(self.place):
            response = client.post(
                transport.url(client, f"/containers/{handle.id}/stop"),
                params={"t": seconds},
                timeout=(client.timeout, seconds + STOP_MARGIN),
            )
            if response.status_code != 404 and not response.ok:
                raise RegionUnavailable(f"{handle.id} could not be stopped: {response.text.strip()}")

    def remove(self, handle: Handle, force: bool) -> None:
        self._never_started.discard(handle.id)
        self._first_runs.forget(handle.id)
        with translated(self.place):
            try:
                self.client().remove_container(handle.id, v=True, force=force)
            except APIError as error:
                if _is_gone(error) or "already in progress" in _words(error):
                    return
                if error.status_code == 409 and not force:
                    raise StillRunning(readable(_words(error))) from error
                raise

    def statuses(self, handles: Iterable[Handle]) -> dict[Handle, Status]:
        requested = list(handles)
        if len(requested) <= FEW:
            return {handle: self._inspect(handle) for handle in requested}
        running = {container["Id"] for container in self._containers() if container["State"] in ("running", "paused")}
        # The list may be outdated and has no exit codes and times: use it only for running containers.
        return {
            handle: Status(State.RUNNING)
            if handle.id in running and self._first_runs.may_be_believed(handle.id)
            else self._inspect(handle)
            for handle in requested
        }

    def _inspect(self, handle: Handle) -> Status:
        client = self.client()
        with translated(self.place):
            try:
                inspected = client.inspect_container(handle.id)
            except APIError as error:
                if not _is_gone(error):
                    raise
                return Status(State.GONE)
            status = containers.status(inspected)
            if status.state is State.ENDED and not self._first_runs.is_known(handle.id):
                events.learn(client, self.region.installation, self._first_runs)
            status = self._first_runs.checked(handle.id, status, containers.time(inspected["State"]["StartedAt"]))
            if status.ran_again:
                return status
            if status.exit_code in CANNOT_EXECUTE and not status.message:
                failure = logs.init_failure(client, handle.id)
                return replace(status, message=failure, never_ran=bool(failure))
            if status.exit_code == END_NOT_SEEN and not events.saw_end(client, handle.id):
                return replace(
                    status, exit_code=None, message="Docker was not running when it ended and knows no exit code"
                )
            return status

    def watch(self, on_change: Callable[[Handle], None]) -> Callable[[], None]:
        self._collector.start()
        watch = events.Watch(
            self.client, self.region.installation, self._first_runs, on_change, self._on_start, self.region.name
        )
        self._watches.append(watch)
        return watch.stop

    def watch_starts(self, on_start: Callable[[Handle], None]) -> None:
        self._on_start = on_start

    def collect(self, handle: Handle, sink: OutputSink) -> Collected:
        return self._collector.collect(handle.id, handle.id in self._never_started, sink)

    def _session(self) -> int:
        return self._watches[-1].session if self._watches else 0

    def logs(self, handle: Handle, follow: bool = False, since: datetime | None = None) -> LogStream:
        reading = LogRequest(handle.id, follow, since)
        return LogStream(self._chunks(reading, handle), reading.cut)

    def _chunks(self, reading: LogRequest, handle: Handle) -> Generator[LogChunk, None, None]:
        with translated(self.place):
            try:
                chunks = reading.chunks(self.client())
                again = partial(self._was_started_again, handle)
                yield from self._first_runs.output(handle.id, chunks, lambda chunk: chunk.time, again)
            except APIError as error:
                if _is_gone(error) or error.status_code == 409:
                    raise HandleGone(f"no such container: {handle.id}") from error
                raise

    def _first_frames(self, container: str, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames that a container's first run wrote."""
        again = partial(self._was_started_again, Handle(container))
        return self._first_runs.output(container, frames, Frame.at, again)

    def _was_started_again(self, handle: Handle) -> bool:
        """Whether it was started again. Waits a little, since the engine records a start after the first output."""
        until = time.monotonic() + START_NOTED_WITHIN
        while not self._inspect(handle).ran_again:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def _containers(self) -> Iterable[dict[str, Any]]:
        with translated(self.place):
            return self.client().containers(all=True, filters={"label": self._label})

    def list(self) -> list[Run]:
        return [
            Run(
                container["Labels"].get(containers.EXEC, ""),
                Handle(container["Id"], container["ImageID"]),
                containers.state(container["State"]),
            )
            for container in self._containers()
        ]

    def was_started(self, handle: Handle) -> bool | None:
        with translated(self.place):
            return events.was_started(self.client(), handle.id)

    def tidy(self) -> None:
        if self._collection is not None:
            with translated(self.place):
                self._collection.collect(self.client())

    def close(self) -> None:
        for watch in self._watches:
            watch.stop()
        self._collector.close()
        self._forget_client()

    def _ensure_network(self, client: docker.APIClient) -> None:
        if not self._network_known:
            networks.ensure(client)
            self._network_known = True

    def _forget_client(self) -> None:
        """The next client requests the engine's API version again, which an update may have changed."""
        with self._connecting:
            if self._client is not None:
                self._client.close()
                self._client = None


class DockerExecutor(EngineExecutor):
    """The engine behind a Unix socket on this machine."""

    options = DockerOptions

    @property
    def place(self) -> str:
        assert isinstance(self.region.options, DockerOptions)  # noqa: S101
        return self.region.options.socket

    def connect(self) -> docker.APIClient:
        return transport.connect(self.place)

    def dial(self) -> Connection:
        return SocketConnection(self.place.removeprefix("unix://"), transport.TIMEOUT)


def _words(error: APIError) -> str:
    return error.explanation or str(error)


def _is_gone(error: APIError) -> bool:
    return error.status_code == 404 and "no such container" in _words(error).lower()


def _lacks_network(error: APIError) -> bool:
    return re.search(r"network \S+ (?:not found|is ambiguous)", _words(error)) is not None
