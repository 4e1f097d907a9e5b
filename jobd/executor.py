"""The executor contract: what jobd asks of the thing that runs containers.

An executor is written by a third party as easily as by us. Its methods block; they get and give frozen
dataclasses, never a database row; jobd calls them from the region's own threads, several at once, and each may be
called again after a crash or a cut connection. One instance serves one region.

The life of one run::

    handle = executor.create(spec)      # nothing runs yet; ImageAbsent: pull(spec), then create again
    ...the handle is committed...       # from here on a crash cannot lose the run
    executor.start(handle)              # at most once for a handle
    executor.statuses([handle])         # RUNNING ... ENDED
    executor.logs(handle)
    ...result and log are committed...
    executor.remove(handle, force=False)
"""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

PullPolicy = Literal["always", "if_not_present", "never"]
Stream = Literal["stdout", "stderr"]


class State(Enum):
    CREATED = "created"
    RUNNING = "running"
    ENDED = "ended"
    GONE = "gone"


@dataclass(frozen=True)
class RegistryAuth:
    """Credentials for the registry that an image comes from."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Mount:
    """An operator's mount: `source` on the region's host, `target` in the container."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True)
class RunSpec:
    """All that an executor needs to know of one exec."""

    installation: str
    """Id of jobd's database: an executor touches and lists only what carries it."""
    daemon: str
    exec_id: str
    job_id: int
    namespace: str
    image: str
    """`repo:tag` or `repo@sha256:…`."""
    argv: tuple[str, ...] | None
    """None: the image's own command."""
    environment: Mapping[str, str] = field(repr=False)
    """Values may be secret: they are not to be told in errors, logs or labels."""
    cpus: float
    memory: int
    """Bytes; swap is not granted on top."""
    max_log: int
    """Bytes of output that jobd keeps; the executor should hold several times that."""
    pull_policy: PullPolicy = "if_not_present"
    registry_auth: RegistryAuth | None = None
    mounts: tuple[Mount, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Handle:
    """Names one created run in its region, for ever: Docker's container id. At most 255 characters."""

    id: str
    image_digest: str | None = field(default=None, compare=False)
    """Digest or id of the image that the run was created from, where known."""


@dataclass(frozen=True)
class Status:
    """What the region says of one handle. Times are the region's, with zone."""

    state: State
    exit_code: int | None = None
    """Of an ended run: 0 to 255, 128 + N when signal N ended it. None when it has ended and nobody knows how (its
    supervisor was killed, its machine restarted): the exec fails as `lost`, with `message` if there is one.
    """
    started_at: datetime | None = None
    ended_at: datetime | None = None
    oom_killed: bool = False
    message: str = ""
    """Words of the engine's own, if it gave any."""
    never_ran: bool = False
    """An ended run whose command could not be executed, for the reason in `message`: it counts as `StartFailed`."""
    ran_again: bool = False
    """An ended run that somebody started again from outside, and that may run now: jobd stops it at once. Code, times
    and output are those of its first run; `exit_code` None: nobody remembers."""


@dataclass(frozen=True)
class Run:
    """One run of this installation that the region still holds, with its record's id."""

    exec_id: str
    handle: Handle
    state: State


@dataclass(frozen=True)
class LogChunk:
    """Output as the program wrote it. Chunks come in order; a chunk may hold part of a line or several lines."""

    time: datetime
    stream: Stream
    data: bytes


class OutputSink(Protocol):
    """Where a run's output goes as it comes, both streams from their beginning, nothing twice."""

    def add(self, chunk: LogChunk) -> None:
        """The next bytes. It may take a moment, for which the executor is to read no more of this run."""

    def gap(self) -> None:
        """Output may be missing here, and nobody knows how much."""


class Collected:
    """A run's output on its way to a sink, in threads of the executor's own: none belongs to one run."""

    def complete(self) -> str:
        """Called when the run has ended, perhaps again: give the sink the rest. Blocks. What it returns says, in words,
        why output may be missing; nothing when all that the run wrote has come. Raises RegionUnavailable, HandleGone.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End it: the sink gets nothing more soon. From any thread, and again."""


class LogStream(Iterator[LogChunk]):
    """Output as it is read, by one thread. `close` ends the reading and may be called from any thread, and again.

    `chunks` yields the output. Where it can wait long, as a follow does, `cut` wakes it up from another thread: it
    shuts down the socket, or sets an event; what `chunks` raises because of that is nobody's error. `cut` may be
    called before `chunks` has begun, and while it runs.
    """

    def __init__(self, chunks: Generator[LogChunk, None, None], cut: Callable[[], None] = lambda: None) -> None:
        self._chunks = chunks
        self._cut = cut
        self._closed = threading.Event()

    def __next__(self) -> LogChunk:
        try:
            chunk = next(self._chunks)
        except Exception:
            if self._closed.is_set():
                raise StopIteration from None
            raise
        if self._closed.is_set():
            self._chunks.close()
            raise StopIteration
        return chunk

    def close(self) -> None:
        """End the reading: `next` in another thread raises StopIteration soon, and connections are let go of."""
        self._closed.set()
        self._cut()
        # a generator that is at work in its own thread lets go of what it holds there, woken up by `cut`
        with contextlib.suppress(ValueError):
            self._chunks.close()


@dataclass(frozen=True)
class Health:
    """`engine` says what answered ("Docker 20.10.24"); `message` why not, when `ok` is false."""

    ok: bool
    message: str = ""
    engine: str = ""


@dataclass(frozen=True)
class Region:
    """What an executor is built from: its region's name, its installation and its validated options."""

    name: str
    installation: str
    options: BaseModel


class Options(BaseModel):
    """Base of an executor's INI keys. A key that is not declared stops the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Executor:
    """Base of all executors. `options` declares the INI keys of `[region:NAME]` beyond `executor` and `max_running`.

    What a spec asks for and the region cannot do (mounts, a pull policy, registry credentials, an image at all) is
    refused by `create`, with StartFailed and words: a run never goes without it in silence. The bounds `cpus`, `memory`
    and `max_log` may be left out where there is no way to set them, if the executor's manual says so.

    Any method may raise `RegionUnavailable`; other errors are named at the method. An executor translates its
    libraries' errors: one that is not an `ExecutorError` is logged as a fault of the plugin and treated like
    `StartFailed` in `create`, `pull` and `start`, like `RegionUnavailable` elsewhere.
    """

    options: ClassVar[type[BaseModel]] = Options

    def __init__(self, region: Region) -> None:
        self.region = region

    def identity(self) -> str:
        """Which engine this is, stable over restarts of the engine (Docker: `info.ID`)."""
        raise NotImplementedError

    def check(self) -> Health:
        """Can the region run something now? Does not raise for a region that is down."""
        raise NotImplementedError

    def pull(self, spec: RunSpec) -> None:
        """Fetch `spec.image`. jobd runs one pull at a time per image and calls this before `create` for
        `always`, and after `create` raised `ImageAbsent` for `if_not_present`. May take minutes.

        Raises ImageNotFound, ImagePullFailed.
        """

    def create(self, spec: RunSpec) -> Handle:
        """Make the run without starting it. Called again for the same exec, it makes another.

        Raises ImageAbsent, StartFailed.
        """
        raise NotImplementedError

    def start(self, handle: Handle) -> None:
        """Start it. On a run that was already started this does nothing. There is no spec here: `create` has put down
        whatever the start needs, secret values too, where the run is; on a disk for the executor's user alone (0600),
        and deleted once it is started.

        Raises StartFailed (the engine refused; the run never ran), HandleGone.
        """
        raise NotImplementedError

    def stop(self, handle: Handle, grace: float) -> None:
        """SIGTERM, after `grace` seconds SIGKILL. Returns when it ended. On an ended or gone run it does nothing."""
        raise NotImplementedError

    def remove(self, handle: Handle, force: bool) -> None:
        """Remove the run and its output. Gone already: nothing to do. Without `force` a running one is refused.

        Raises StillRunning when it runs and `force` is false.
        """
        raise NotImplementedError

    def statuses(self, handles: Iterable[Handle]) -> dict[Handle, Status]:
        """The state of each, in one call for many; one that the region does not know is `GONE`."""
        raise NotImplementedError

    def watch(self, on_change: Callable[[Handle], None]) -> Callable[[], None] | None:
        """Call `on_change(handle)`, from a thread of the executor's own, soon after a run of this installation
        ended. Returns what stops the watch, or None when the executor has no push: jobd then asks `statuses` often.
        The watch heals itself; what it misses meanwhile jobd finds by `statuses`.
        """
        return None

    def watch_starts(self, on_start: Callable[[Handle], None]) -> None:
        """Called once before `watch`: from then on call `on_start(handle)` soon after somebody else than this executor
        started a run of this installation, be it again or for the first time. An executor that does not tell needs
        nothing: jobd finds such runs by `list`, within a minute.
        """

    def logs(self, handle: Handle, follow: bool = False, since: datetime | None = None) -> LogStream:
        """Output from the beginning (or from `since` on). With `follow` it goes on until the run ends, each chunk
        given as soon as it was written. Read again, the same run gives the same bytes in the same order.

        Raises HandleGone, here or at the first chunk.
        """
        raise NotImplementedError

    def collect(self, handle: Handle, sink: OutputSink) -> Collected | None:
        """Give a run's output to `sink` while it runs, without waiting for it. Called once before `start`, and by a
        daemon that finds the run running. None, as here: jobd reads `logs` when the run has ended, and what the region
        has dropped by then is lost.
        """
        return None

    def list(self) -> list[Run]:
        """Every run of this installation that the region still holds, in any state."""
        raise NotImplementedError

    def was_started(self, handle: Handle) -> bool | None:
        """Whether the engine ever started this handle, from the engine's own records; None: it cannot tell."""
        return None

    def tidy(self) -> None:
        """Called about once a minute: free what the region holds for nobody, such as images that nothing uses."""

    def close(self) -> None:
        """Let go of connections and threads. Runs go on."""
