"""An executor for tests: runs are processes of this machine, which end with the test."""

import subprocess
import threading
import uuid
from datetime import UTC, datetime

from jobd.executor import Executor, Handle, Health, LogChunk, LogStream, Run, State, Status
from jobd.hookspecs import hookimpl


class Processes(Executor):
    def __init__(self, region):
        super().__init__(region)
        self._lock = threading.Lock()
        self._specs, self._running, self._started, self._ended = {}, {}, {}, {}

    def identity(self):
        return "this machine"

    def check(self):
        return Health(True, engine="processes")

    def create(self, spec):
        handle = Handle(str(uuid.uuid4()))
        self._specs[handle] = spec
        return handle

    def start(self, handle):
        if handle not in self._running:
            spec = self._specs[handle]
            self._started[handle] = datetime.now(UTC)
            self._running[handle] = subprocess.Popen(
                spec.argv, env=dict(spec.environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )

    def stop(self, handle, grace):
        if handle in self._running:
            self._running[handle].terminate()
            self._running[handle].wait(grace)

    def remove(self, handle, force):
        self._specs.pop(handle, None)

    def statuses(self, handles):
        return {handle: self._status(handle) for handle in handles}

    def logs(self, handle, follow=False, since=None):
        return LogStream(self._written(handle))

    def _written(self, handle):
        process = self._running[handle]
        if process.poll() is not None:
            yield LogChunk(self._ended_at(handle), "stdout", self._output(handle))

    def list(self):
        return [Run(spec.exec_id, handle, self._status(handle).state) for handle, spec in self._specs.items()]

    def _status(self, handle):
        if handle not in self._specs:
            return Status(State.GONE)
        if handle not in self._running:
            return Status(State.CREATED)
        code = self._running[handle].poll()
        if code is None:
            return Status(State.RUNNING, started_at=self._started[handle])
        code = code if code >= 0 else 128 - code
        return Status(State.ENDED, code, self._started[handle], self._ended_at(handle))

    def _ended_at(self, handle):
        with self._lock:
            return self._ended.setdefault(handle, (datetime.now(UTC), self._running[handle].stdout.read()))[0]

    def _output(self, handle):
        return self._ended[handle][1]


@hookimpl
def jobd_executors():
    return {"processes": Processes}
