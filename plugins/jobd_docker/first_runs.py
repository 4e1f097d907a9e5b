"""Remembers which containers were started again after their end, and how their first run ended.

jobd starts a container once. `docker restart`, `docker start` or a restart policy may start it again, but then it is
not the exec's run. Docker keeps exit code and times of the last run only, so those of the first come from its events.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from jobd.executor import State, Status
from jobd_docker.containers import DAEMON

Piece = TypeVar("Piece")

EVENTS = ("start", "die", "oom")
"""The events to be noted."""
MAX_CONTAINERS = 20_000
"""Containers in memory; the oldest are dropped first."""


@dataclass(frozen=True)
class FirstEnd:
    """How a first run ended; `exit_code` is None if it is not known. Its output is not later than `output_until`."""

    ended_at: datetime
    output_until: datetime
    exit_code: int | None = None
    oom_killed: bool = False


@dataclass
class _Container:
    is_ours: bool = False
    """Whether this executor started it."""
    is_checked: bool = False
    """Whether it was seen in its first run since the event stream was connected."""
    had_oom: bool = False
    first_end: FirstEnd | None = None
    ran_again: bool = False


class FirstRuns:
    """Thread-safe: used by the threads of the region and by the one that reads the events."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._containers: OrderedDict[str, _Container] = OrderedDict()
        self.has_history = False
        """Whether the engine's events from before this process were noted."""
        self._daemons: set[str] = set()

    def creating(self, daemon: str) -> None:
        """This executor creates containers for this daemon, and is the one to start them."""
        self._daemons.add(daemon)

    def starting(self, container: str) -> None:
        """This executor is about to start a container."""
        with self._lock:
            known = self._known(container)
            known.is_ours = known.is_checked = True

    def forget(self, container: str) -> None:
        """A container was removed."""
        with self._lock:
            self._containers.pop(container, None)

    def connected(self) -> None:
        """The event stream was reconnected and may have missed events: containers have to be checked again."""
        with self._lock:
            for known in self._containers.values():
                known.is_checked = False

    def note(self, event: dict[str, Any]) -> bool:
        """Note one of `EVENTS`, which may be repeated. Returns True for a second start of any run, and for the first
        start of a run of this daemon by anyone but this executor.
        """
        at = datetime.fromtimestamp(event["timeNano"] / 1e9, UTC)
        action, attributes = event["Action"], event["Actor"]["Attributes"]
        with self._lock:
            known = self._known(event["Actor"]["ID"])
            if action == "oom" and known.first_end is None:
                known.had_oom = True
            elif action == "die" and known.first_end is None:
                code = int(attributes["exitCode"]) if "exitCode" in attributes else None
                known.first_end = FirstEnd(at, at, code, known.had_oom)
            elif action == "start" and known.first_end is not None:
                known.ran_again = known.ran_again or at > known.first_end.output_until
                return known.ran_again
            return action == "start" and not known.is_ours and attributes.get(DAEMON) in self._daemons

    def is_known(self, container: str) -> bool:
        """Whether a container's events were noted since its start."""
        with self._lock:
            return self.has_history or (container in self._containers and self._containers[container].is_ours)

    def may_be_believed(self, container: str) -> bool:
        """Whether a container that a list shows as running is in its first run."""
        with self._lock:
            known = self._containers.get(container)
            return known is not None and known.is_checked and known.first_end is None

    def checked(self, container: str, status: Status, started_at: datetime | None) -> Status:
        """The status of a container's first run, from that of the inspected container, last started at `started_at`."""
        with self._lock:
            known = self._known(container)
            first = known.first_end
            if status.state is State.RUNNING:
                known.is_checked = True
                return status
            if status.ran_again and first is None and status.ended_at is not None:
                first = known.first_end = _without_events(status.ended_at, started_at)
            is_later = first is not None and started_at is not None and started_at > first.output_until
            known.ran_again = known.ran_again or status.ran_again or is_later
            if not known.ran_again or first is None or status.state is not State.ENDED:
                return status
        return replace(
            status,
            exit_code=first.exit_code,
            started_at=None,
            ended_at=first.ended_at,
            oom_killed=first.oom_killed,
            message="",
            ran_again=True,
        )

    def output(
        self,
        container: str,
        pieces: Iterator[Piece],
        time_of: Callable[[Piece], datetime],
        was_started_again: Callable[[], bool],
    ) -> Iterator[Piece]:
        """The output of the first run only. Output after its end is of another run, unless a clock was set back; then
        `was_started_again`, which asks the engine, returns False.
        """
        is_first = False
        for piece in pieces:
            until = None if is_first else self._output_until(container)
            if until is not None and time_of(piece) > until:
                if was_started_again():
                    return
                is_first = True
            yield piece

    def _output_until(self, container: str) -> datetime | None:
        with self._lock:
            known = self._containers.get(container)
            return known.first_end.output_until if known is not None and known.first_end is not None else None

    def _known(self, container: str) -> _Container:
        known = self._containers.setdefault(container, _Container())
        if len(self._containers) > MAX_CONTAINERS:
            self._containers.popitem(last=False)
        return known


def _without_events(ended_at: datetime, started_again_at: datetime | None) -> FirstEnd:
    """The first end without events. The engine may record output shortly after an end, and a start shortly after the
    first output; so the middle between end and start separates the output of the two runs.
    """
    again = started_again_at or ended_at
    return FirstEnd(ended_at, ended_at + max(again - ended_at, ended_at - ended_at) / 2)
