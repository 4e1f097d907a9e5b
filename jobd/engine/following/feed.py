"""One followed exec: its output as it comes, for all its followers, until it is what the store keeps.

While the exec runs, its recording, or if there is none a thread that reads the executor, adds to a bounded `Output`.
New output is published every so often, so that all followers who keep up get the same batches, and what is made of a
batch is made once. Once the exec has ended, the output is the stored one: offsets mean the same there.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from jobd.engine.following import joining
from jobd.engine.following.listening import Listening
from jobd.engine.following.reader import Reader
from jobd.engine.regions import ServedRegion
from jobd.engine.run_secrets import Secrets
from jobd.errors import ExecutorError, ServiceUnavailable
from jobd.executor import Handle, LogChunk
from jobd.loop_turns import Turns
from jobd.output import run_log
from jobd.output.recording import Recording
from jobd.output.run_log import Batch, Output
from jobd.statuses import LIVE, ExecStatus
from jobd.store import execs
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec

log = logging.getLogger(__name__)

PIECE = 65536
"""The maximum number of bytes that a follower gets at once. If there are more, a batch ends where the offset is a
multiple of this, so that followers who came to different offsets get the same batches from there on.
"""
FIRST_PAUSE, MAX_PAUSE = 0.1, 2.0
"""Seconds until the exec's record is read again, if no change is reported before: the first time, and at most."""
ENDED_PAUSE = 5.0
"""Seconds that a record has to end in after its output was read to the end; then the executor is read again."""
GATHERED, GATHERED_EACH, MAX_GATHERED = 0.02, 0.0003, 0.05
"""Seconds for which output is gathered before it is published: for one follower, for each further one, and at most."""
MAX_ENTRIES = 256
"""The maximum number of entries in a batch: the time it takes to make something of a batch grows with them."""
SHARED = 8
"""How many batches are kept for followers who come to the same offset."""


@dataclass(frozen=True)
class End:
    """How a followed exec ended; `status` is None if its record was deleted."""

    status: str | None
    exit_code: int | None = None
    reason: str | None = None


class Feed:
    """One followed exec."""

    def __init__(self, exec_id: str, limit: int, turns: Turns) -> None:
        self.exec_id = exec_id
        self.followers = 0
        self.unused_since = 0.0
        """Loop time at which the last follower left."""
        self.end: End | None = None
        self.dismissed = False
        self.turns = turns
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._limit = limit
        self._output = Output(limit)
        self._lock = threading.Lock()
        self._is_complete = False
        """Whether the exec has ended and its stored output is here: what readers still bring is in that."""
        self._loop = asyncio.get_running_loop()
        self._published = 0
        """Bytes of the output that followers may have."""
        self._shared: dict[int, Batch] = {}
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._read_at = 0.0
        """Loop time from which on the executor may be read."""
        self._is_to_publish = False

    @property
    def is_over(self) -> bool:
        return self.dismissed or self.end is not None

    def read(self, offset: int) -> Batch:
        """What was published after `offset`; the same object for all who come there, early or late."""
        if self.dismissed or offset >= self._published:
            return Batch()
        piece = self._shared.pop(offset, None)
        if piece is None:
            size = self._published - offset
            if size > PIECE:
                size = PIECE - offset % PIECE
            with self._lock:
                piece = Batch(self._output.read(offset, size, MAX_ENTRIES))
            if len(self._shared) >= SHARED:
                del self._shared[next(iter(self._shared))]
        # The batch that was asked for last is dropped last.
        self._shared[offset] = piece
        return piece

    async def news(self, patience: float) -> None:
        """Returns when more is published, when the feed is over, or after `patience` seconds."""
        waiting = self._loop.create_future()
        self._waiting[waiting] = None
        try:
            async with asyncio.timeout(patience):
                await waiting
        except TimeoutError:
            pass
        finally:
            self._waiting.pop(waiting, None)

    def dismiss(self) -> None:
        self.dismissed = True
        if self.task is not None:
            self.task.cancel()
        self._publish()

    async def run(
        self,
        database: Database,
        regions: Mapping[str, ServedRegion],
        secrets: Secrets,
        recording: Callable[[str], Recording | None],
    ) -> None:
        """Follow the exec until its end."""
        reading: asyncio.Task[None] | None = None
        pause = FIRST_PAUSE
        try:
            while True:
                self.changed.clear()
                before = self._output.size
                try:
                    row, frames = await database.read(execs.followed, self.exec_id)
                    if row is None or row.status not in LIVE:
                        await self._finish(row, frames)
                        return
                    if reading is None:
                        reading = self._begin_reading(
                            row, regions.get(row.region_name), secrets, recording(self.exec_id)
                        )
                except ServiceUnavailable as error:
                    log.debug("exec %s: following goes on when the database is back: %s", self.exec_id, error)
                await self._wait(pause, reading)
                if reading is not None and reading.done():
                    reading = None
                pause = FIRST_PAUSE if self._output.size > before else min(2 * pause, MAX_PAUSE)
        finally:
            if reading is not None:
                reading.cancel()

    def _begin_reading(
        self, row: Exec, region: ServedRegion | None, secrets: Secrets, recording: Recording | None
    ) -> "asyncio.Task[None] | None":
        if recording is not None:
            return asyncio.create_task(self._listen(recording))
        if row.status != ExecStatus.RUNNING or row.handle is None or region is None or region.outage is not None:
            return None
        if self._loop.time() < self._read_at:
            return None
        return asyncio.create_task(self._read(region, row, secrets))

    async def _wait(self, pause: float, reading: "asyncio.Task[None] | None") -> None:
        """Wait until the record changed, `reading` came to its end, or `pause` seconds are over."""
        change = asyncio.create_task(self.changed.wait())
        try:
            awaited = [change] if reading is None else [change, reading]
            await asyncio.wait(awaited, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        finally:
            change.cancel()

    async def _finish(self, row: Exec | None, frames: bytes | None) -> None:
        if row is None:
            self.end = End(None, reason="deleted")
        else:
            if frames is not None:
                self._output = await asyncio.to_thread(self._joined, frames)
                self._shared.clear()
            self.end = End(row.status, row.exit_code, row.reason)
        self._publish()

    def _joined(self, frames: bytes) -> Output:
        """The stored output, or what was read, completed with the end of the stored one."""
        stored = Output.of(run_log.decode(frames))
        with self._lock:
            # Without the lock from here on: followers go on reading in the loop, however much there is to compare.
            self._is_complete = True
            output = self._output
        if joining.agree(output, stored):
            return stored
        joining.go_on_with(output, stored, self._lock)
        return output

    async def _listen(self, recording: Recording) -> None:
        """Take what is recorded until the recording ends."""
        try:
            await Listening(recording, self._output, self._limit, self._go_on_with, self._hear).run()
        except OSError as error:
            log.debug("exec %s: what is recorded cannot be read: %s", self.exec_id, error)

    def _go_on_with(self, output: Output) -> None:
        with self._lock:
            if self._is_complete:
                return
            self._output = output
        self._publish_soon()

    def _hear(self, chunk: LogChunk) -> None:
        self._add(self._output, chunk)

    async def _read(self, region: ServedRegion, row: Exec, secrets: Secrets) -> None:
        """Read the executor until the run ends, or as far as it can be read."""
        try:
            mask = await secrets.mask(row)
        except (ExecutorError, ServiceUnavailable) as error:
            log.debug("exec %s: following goes on when its secrets can be hidden: %s", self.exec_id, error)
            return
        handle = Handle(str(row.handle))
        reader = Reader(region.executor, handle, mask, self._output.size, partial(self._add, self._output))
        try:
            await reader.run(f"jobd-{region.name}-follow")
            self._read_at = self._loop.time() + ENDED_PAUSE
        except ExecutorError as error:
            log.debug("exec %s: following goes on when its region is back: %s", self.exec_id, error)
        finally:
            # in a thread: closing is the plugin's code, and may take its time
            self._loop.run_in_executor(None, reader.close)

    def _add(self, output: Output, chunk: LogChunk) -> None:
        with self._lock:
            if self._is_complete:
                return
            output.add(chunk)
        self._publish_soon()

    def _publish_soon(self) -> None:
        """There is more than is published."""
        if not self._is_to_publish:
            self._is_to_publish = True
            gathered = min(GATHERED + GATHERED_EACH * self.followers, MAX_GATHERED)
            self._loop.call_soon_threadsafe(self._loop.call_later, gathered, self._publish)

    def _publish(self) -> None:
        self._is_to_publish = False
        self._published = self._output.size
        waiting, self._waiting = self._waiting, {}
        for one in waiting:
            self.turns.queue(one)
