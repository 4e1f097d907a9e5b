"""The execs that this daemon owns now, as the engine holds them in memory."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from jobd import daemon_log
from jobd.engine.regions import ServedRegion
from jobd.executor import Handle
from jobd.output.masking import Mask
from jobd.output.recording import Recording
from jobd.statuses import ExecStatus
from jobd.store.db.tables import Exec

log = logging.getLogger(__name__)


@dataclass(eq=False)
class LiveExec:
    """One owned exec. While it merely runs, it has no task and no thread."""

    row: Exec
    region: ServedRegion
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while its state is being changed; transitions of one exec never overlap."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once its end was requested or its time is over."""
    claimed_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    """Loop time."""
    stop_under_way: bool = False
    log_failures: int = 0
    mask: Mask | None = None
    """Hides its secrets from messages while it is being started, and while it is being ended."""
    recording: Recording | None = None
    """Its output, if its executor gives it while the exec runs."""
    deadline: float | None = None
    """When its timeout is over, by the steady clock, which goes on while this machine sleeps: the run
    may do so, too.
    """
    cut_off: str | None = None
    """What interrupted its start, in words, if it is not known whether it was started."""

    def in_log(self) -> AbstractContextManager[None]:
        """Within it, log lines name this exec and its job."""
        return daemon_log.log_context(exec_id=self.row.id, job_id=self.row.job_id)

    @property
    def handle(self) -> Handle | None:
        return None if self.row.handle is None else Handle(self.row.handle, self.row.image_digest)

    def redact(self, words: str | None) -> str | None:
        """A message from outside, such as an engine's, without secrets and without paths of the host: engines repeat
        what they were given, and name their own paths. The log keeps the paths.
        """
        if not words:
            return words
        masked = self.mask.text(words) if self.mask else words
        shown = self.region.host_paths.hidden(masked, self._own_paths())
        if shown != masked:
            log.info("exec %s: %s", self.row.id, masked)
        return shown

    def _own_paths(self) -> set[str]:
        """The paths that the job itself names."""
        return {*(self.row.command or "").replace("'", " ").replace('"', " ").split(), *_targets(self.row)}

    @property
    def is_running(self) -> bool:
        return bool(self.row.status == ExecStatus.RUNNING)


def _targets(row: Exec) -> list[str]:
    return [mount["path"] for mount in row.mounts or []]


class LiveExecs:
    """The live execs, by exec id and by handle."""

    def __init__(self) -> None:
        self._by_id: dict[str, LiveExec] = {}
        self._by_handle: dict[tuple[str, str], LiveExec] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[LiveExec]:
        return iter(list(self._by_id.values()))

    def __contains__(self, live: LiveExec) -> bool:
        return self._by_id.get(live.row.id) is live

    def add(self, live: LiveExec) -> None:
        self._by_id[live.row.id] = live
        if live.row.handle is not None:
            self._by_handle[live.region.name, live.row.handle] = live

    def named(self, exec_id: str) -> LiveExec | None:
        return self._by_id.get(exec_id)

    def with_handle(self, region: str, handle: Handle) -> LiveExec | None:
        return self._by_handle.get((region, handle.id))

    def drop(self, live: LiveExec) -> None:
        """Forget an exec: it has ended, waits again, or belongs to another daemon now."""
        if live in self:
            del self._by_id[live.row.id]
        for key in [key for key, held in self._by_handle.items() if held is live]:
            del self._by_handle[key]
        if live.recording is not None:
            live.recording.close()
