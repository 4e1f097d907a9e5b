"""Following a run that is recorded: first what has been kept of it, then all that comes."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from jobd.executor import LogChunk
from jobd.output.recording import Recording
from jobd.output.run_log import Entry, Output


class Listening:
    """Calls `go_on_with` with what is recorded, unless that is less than is `known`, and then `add` with what comes
    after both, each from other threads.
    """

    def __init__(
        self,
        recording: Recording,
        known: Output,
        limit: int,
        go_on_with: Callable[[Output], None],
        add: Callable[[LogChunk], None],
    ) -> None:
        self._recording = recording
        self._known = known
        self._limit = limit
        self._go_on_with = go_on_with
        self._add = add
        self._skipped = 0
        """How many of the bytes to come are known already."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Listen until the recording ends. Raises OSError if it cannot be read."""
        try:
            await asyncio.to_thread(self._recording.begin_listening, self)
            await self._ended.wait()
        finally:
            # in a thread: somebody else may be holding the recording's lock
            self._loop.run_in_executor(None, self._recording.end_listening, self)

    def begin(self, entries: list[Entry]) -> None:
        output = Output(self._limit)
        output.begin_with(entries)
        self._skipped = max(self._known.size - output.size, 0)
        if not self._skipped:
            self._go_on_with(output)

    def add(self, chunk: LogChunk) -> None:
        passed = min(self._skipped, len(chunk.data))
        self._skipped -= passed
        if passed < len(chunk.data):
            self._add(replace(chunk, data=chunk.data[passed:]) if passed else chunk)

    def end(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)
