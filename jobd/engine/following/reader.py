"""Reads the output of a running run that is not recorded here, in a thread of its own."""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from jobd.errors import ExecutorError
from jobd.executor import Executor, Handle, LogChunk, LogStream
from jobd.output.masking import Mask

log = logging.getLogger(__name__)


class Reader:
    """Reads a run's output in a thread of its own, masked and without its first `skipped` bytes, until the run ends or
    `close` is called.
    """

    def __init__(
        self, executor: Executor, handle: Handle, mask: Mask | None, skipped: int, add: Callable[[LogChunk], None]
    ) -> None:
        self._executor = executor
        self._handle = handle
        self._mask = mask
        self._skipped = skipped
        self._add = add
        self._lock = threading.Lock()
        self._stream: LogStream | None = None
        self._closed = False

    async def run(self, name: str) -> None:
        """Read until the end. Raises ExecutorError."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            error: Exception | None = None
            try:
                self._read()
            except Exception as raised:  # a plugin's error must not become the engine's
                error = raised
            if not self._closed:
                loop.call_soon_threadsafe(_settle, done, error)

        # no pool: a thread that hangs in a dead region must delay neither others nor the end of the process
        threading.Thread(target=work, name=name, daemon=True).start()
        await done

    def close(self) -> None:
        """Wake the thread up, so that it ends. From any thread."""
        with self._lock:
            self._closed = True
            stream = self._stream
        if stream is not None:
            stream.close()

    def _read(self) -> None:
        stream = self._executor.logs(self._handle, follow=True)
        with self._lock:
            self._stream = stream
            closed = self._closed
        if closed:
            stream.close()
        skipped = self._skipped
        # What the mask holds back at the end comes with what is stored: the run may go on after this end.
        for chunk in stream if self._mask is None else self._mask.apply(stream, final=False):
            passed = min(skipped, len(chunk.data))
            skipped -= passed
            if self._closed:
                return
            if passed < len(chunk.data):
                self._add(replace(chunk, data=chunk.data[passed:]) if passed else chunk)


def _settle(done: "asyncio.Future[None]", error: Exception | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    elif isinstance(error, ExecutorError):
        done.set_exception(error)
    else:
        log.error("following: the executor raised an error that its contract does not name", exc_info=error)
        done.set_exception(ExecutorError(f"{type(error).__name__}: {error}"))
