"""A workbench for an executor: makes specs, runs them, waits for their ends, and removes the runs."""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from jobd.errors import ExecutorError, ImageAbsent
from jobd.executor import Executor, Handle, LogChunk, RunSpec, State, Status

MEMORY = 64 * 2**20


class Bench:
    """An executor and helpers to run it. All runs are removed at the end."""

    def __init__(self, build: Callable[[str], Executor], image: str, patience: float = 60.0) -> None:
        self.image = image
        self.patience = patience
        """Seconds to wait for anything that should happen."""
        self.build = build
        """Makes an executor for an installation's id."""
        self.installation = f"conformance-{uuid.uuid4().hex}"
        self.executor = build(self.installation)
        self._runs: list[tuple[Executor, Handle]] = []

    def spec(self, *argv: str, **changes: Any) -> RunSpec:
        """The spec of a run that executes argv."""
        spec = RunSpec(
            installation=self.installation,
            daemon="conformance",
            exec_id=uuid.uuid4().hex,
            job_id=1,
            namespace="default",
            image=self.image,
            argv=argv,
            environment={"GREETING": "你好"},
            cpus=0.5,
            memory=MEMORY,
            max_log=10 * 2**20,
        )
        return replace(spec, **changes)

    def shell(self, script: str) -> RunSpec:
        return self.spec("sh", "-c", script)

    def create(self, spec: RunSpec, executor: Executor | None = None) -> Handle:
        """Create a run as jobd does: an absent image is pulled."""
        executor = executor or self.executor
        try:
            handle = executor.create(spec)
        except ImageAbsent:
            executor.pull(spec)
            handle = executor.create(spec)
        self._runs.append((executor, handle))
        return handle

    def adopt(self, handle: Handle) -> Handle:
        """Remove this run, which was created elsewhere, at the end, too."""
        self._runs.append((self.executor, handle))
        return handle

    def start(self, spec: RunSpec) -> Handle:
        handle = self.create(spec)
        self.executor.start(handle)
        return handle

    def run(self, spec: RunSpec) -> tuple[Handle, Status]:
        """Run a spec, and return the handle and the status at the end."""
        handle = self.start(spec)
        return handle, self.end_of(handle)

    def end_of(self, handle: Handle) -> Status:
        """Wait until a run has ended, and return its status."""
        return self.wait(handle, State.ENDED)

    def wait(self, handle: Handle, state: State) -> Status:
        deadline = time.monotonic() + self.patience
        while (status := self.status(handle)).state is not state:
            assert time.monotonic() < deadline, f"after {self.patience:.0f} s it is not {state.value}, but {status}"
            time.sleep(0.02)
        return status

    def status(self, handle: Handle) -> Status:
        return self.executor.statuses([handle])[handle]

    def output(self, handle: Handle) -> dict[str, bytes]:
        return collect(self.executor.logs(handle))

    def clear(self) -> None:
        for executor, handle in self._runs:
            with contextlib.suppress(ExecutorError):
                executor.remove(handle, True)
        self.executor.close()


def collect(chunks: Iterator[LogChunk]) -> dict[str, bytes]:
    """The output of each stream."""
    streams = {"stdout": b"", "stderr": b""}
    for chunk in chunks:
        streams[chunk.stream] += chunk.data
    return streams


class Collecting:
    """A sink that stores all chunks."""

    def __init__(self) -> None:
        self.chunks: list[LogChunk] = []

    def add(self, chunk: LogChunk) -> None:
        self.chunks.append(chunk)

    def gap(self) -> None:
        """Fails the test: where nothing goes wrong no output may be missing."""
        raise AssertionError("a gap")


class Ends:
    """A callback for `watch` that remembers which runs have ended."""

    def __init__(self) -> None:
        self._ended: set[Handle] = set()
        self._news = threading.Condition()

    def __call__(self, handle: Handle) -> None:
        with self._news:
            self._ended.add(handle)
            self._news.notify_all()

    def include(self, handle: Handle, within: float) -> bool:
        """Whether the end of a run is reported within so many seconds."""
        with self._news:
            return self._news.wait_for(lambda: handle in self._ended, within)
