"""Databases and executors that fail at one chosen call, once: before it takes effect, half-way, or after."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import peewee

from jobd.errors import RegionUnavailable, ServiceUnavailable
from jobd.executor import Handle, Health, LogStream, Region, Run, RunSpec, Status
from jobd.store.db import transaction
from jobd.store.db.database import Database
from tests.engine.executors import MemoryExecutor, World


class Fault:
    """Breaks the `nth` call of `name`; `moment` is `before`, `commit` (a database's only) or `after`."""

    def __init__(self, name: str, moment: str, error: type[Exception] = RegionUnavailable, nth: int = 1) -> None:
        self.name, self.moment, self.error, self.left = name, moment, error, nth

    @property
    def hit(self) -> bool:
        return self.left <= 0

    def strikes(self, name: str) -> bool:
        if name != self.name:
            return False
        self.left -= 1
        return self.left == 0


class BreakingDatabase(Database):
    """Goes away at one call: before the statement is sent, at COMMIT, or after it, so that the answer is lost."""

    fault: Fault | None = None
    most_together = 1

    def read_sync(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.fault is not None and self.fault.strikes(_name(fn)):
            raise ServiceUnavailable("the connection broke")
        return super().read_sync(fn, *args, **kwargs)

    def write_sync(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        fault = self.fault
        if fault is None or not fault.strikes(_name(fn)):
            return super().write_sync(fn, *args, **kwargs)
        if fault.moment == "commit":

            def undone() -> None:
                fn(*args, **kwargs)
                raise peewee.OperationalError("the connection broke at COMMIT")

            super().write_sync(undone)
        if fault.moment == "after":

            def unanswered() -> None:
                fn(*args, **kwargs)
                transaction.pending.follow.clear()

            super().write_sync(unanswered)
        raise ServiceUnavailable("the connection broke")


class BreakingExecutor(MemoryExecutor):
    """Fails at one call, before or after it took effect; behaves otherwise."""

    def __init__(self, region: Region, world: World | None = None) -> None:
        super().__init__(region, world)
        self.faults: list[Fault] = []

    def _do(self, name: str, work: Callable[[], Any]) -> Any:
        for fault in self.faults:
            if fault.strikes(name):
                if fault.moment == "after":
                    work()
                raise fault.error("the connection broke")
        return work()

    def identity(self) -> str:
        return self._do("identity", super().identity)

    def check(self) -> Health:
        return self._do("check", super().check)

    def pull(self, spec: RunSpec) -> None:
        base = super().pull
        self._do("pull", lambda: base(spec))

    def create(self, spec: RunSpec) -> Handle:
        base = super().create
        return self._do("create", lambda: base(spec))

    def start(self, handle: Handle) -> None:
        base = super().start
        self._do("start", lambda: base(handle))

    def stop(self, handle: Handle, grace: float) -> None:
        base = super().stop
        self._do("stop", lambda: base(handle, grace))

    def remove(self, handle: Handle, force: bool) -> None:
        base = super().remove
        self._do("remove", lambda: base(handle, force))

    def statuses(self, handles: Iterable[Handle]) -> dict[Handle, Status]:
        base = super().statuses
        return self._do("statuses", lambda: base(handles))

    def watch(self, on_change: Callable[[Handle], None]) -> Callable[[], None] | None:
        base = super().watch
        return self._do("watch", lambda: base(on_change))

    def logs(self, handle: Handle, follow: bool = False, since: datetime | None = None) -> LogStream:
        base = super().logs
        return self._do("logs", lambda: base(handle, follow, since))

    def list(self) -> list[Run]:
        return self._do("list", super().list)

    def was_started(self, handle: Handle) -> bool | None:
        base = super().was_started
        return self._do("was_started", lambda: base(handle))


def _name(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__name__", "")
