"""The engine's events: pushed, to know an end at once; and looked up, to know whether a start ever happened."""

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import docker
import requests
from docker.errors import APIError

from jobd.errors import ExecutorError
from jobd.executor import Handle
from jobd_docker.client import url
from jobd_docker.containers import INSTALLATION, time
from jobd_docker.first_runs import EVENTS, FirstRuns

log = logging.getLogger(__name__)

STOP_PATIENCE = 5.0
"""Seconds that `stop` waits for the thread, which may be connecting to an engine that does not answer."""
DELAYS = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds until the next try after a connection was lost; the last one for all further tries."""
CLEARS_UP_IN = 60.0
"""Seconds before a stream began from which ends are told again. The engine tells an end, then takes away network and
mounts, and only then lists the container as exited: a stream that begins in between finds it in neither.
"""
MEMORY = 256
"""Events that an engine remembers, until it restarts (`eventsLimit` in moby's daemon/events)."""


class Watch:
    """One event stream and one thread, for all runs of an installation. Heals itself until `stop`.

    `client()` gives a connected client or raises an ExecutorError.
    """

    def __init__(
        self,
        client: Callable[[], docker.APIClient],
        installation: str,
        first_runs: FirstRuns,
        on_change: Callable[[Handle], None],
        on_start: Callable[[Handle], None],
        name: str,
    ) -> None:
        self._client = client
        self._label = f"{INSTALLATION}={installation}"
        self._first_runs = first_runs
        self._on_change = on_change
        self._on_start = on_start
        self._name = name
        self._failures = 0
        self._sessions = 0
        self.session = 0
        """Number of the stream that goes on; 0 while there is none. As long as it stays the same, no end was missed."""
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._stream: requests.Response | None = None
        self._thread = threading.Thread(target=self._run, name=f"jobd-{name}-events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. May be called from any thread, and again."""
        with self._lock:
            self._stopped.set()
            if self._stream is not None:
                # refused when the stream has just ended by itself
                with contextlib.suppress(OSError, RuntimeError, ValueError):
                    self._stream.raw.shutdown()
        if threading.current_thread() is not self._thread:
            self._thread.join(STOP_PATIENCE)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                for tell, handle in self._changes():
                    self._tell(tell, handle)
                log.debug("region %s: the event stream ended", self._name)
            except (ExecutorError, requests.RequestException, OSError, ValueError) as error:
                log.debug("region %s: no events: %s", self._name, error)
            self._stopped.wait(DELAYS[min(self._failures, len(DELAYS) - 1)])
            self._failures += 1

    def _changes(self) -> Iterator[tuple[Callable[[Handle], None], Handle]]:
        """Ends, and starts by others, as they are told, after those that were missed before this stream; each with
        whom to tell.
        """
        client = self._client()
        self._first_runs.connected()
        began = _clock(client).timestamp()
        # Whatever the engine remembers comes first: ends that were missed, and what became of runs before this process.
        params = {"filters": json.dumps(_of_runs(self._label)), "since": "1"}
        response = client.get(url(client, "/events"), params=params, stream=True, timeout=(client.timeout, None))
        with response:
            response.raise_for_status()
            with self._lock:
                if self._stopped.is_set():
                    return
                self._stream = response
            try:
                for missed in client.containers(all=True, filters={"label": self._label, "status": "exited"}):
                    yield self._on_change, Handle(missed["Id"])
                self._failures = 0
                self._sessions += 1
                self.session = self._sessions
                for line in response.iter_lines(chunk_size=None):
                    if line:
                        yield from self._change(json.loads(line), began)
            finally:
                self.session = 0
                with self._lock:
                    self._stream = None

    def _change(self, event: dict[str, Any], began: float) -> Iterator[tuple[Callable[[Handle], None], Handle]]:
        is_foreign_start = self._first_runs.note(event)
        age = began - event["timeNano"] / 1e9
        # Who lists what runs at the beginning sees what is left of older ones.
        if event["Action"] == "die" and age < CLEARS_UP_IN:
            yield self._on_change, Handle(event["Actor"]["ID"])
        elif is_foreign_start and age <= 0:
            yield self._on_start, Handle(event["Actor"]["ID"])

    def _tell(self, tell: Callable[[Handle], None], handle: Handle) -> None:
        try:
            tell(handle)
        except Exception:
            log.exception("region %s: what listens to ends failed", self._name)


def learn(client: docker.APIClient, installation: str, first_runs: FirstRuns) -> None:
    """Note what the engine remembers of an installation's runs, once."""
    if not first_runs.has_history:
        for event in _remembered(client, _of_runs(f"{INSTALLATION}={installation}")):
            first_runs.note(event)
        first_runs.has_history = True


def _of_runs(label: str) -> dict[str, list[str]]:
    return {"type": ["container"], "event": list(EVENTS), "label": [label]}


def was_started(client: docker.APIClient, container: str) -> bool | None:
    """Whether the engine ever started a container. The container tells while it exists; after that the engine's
    events do, which it keeps 256 of until it restarts: without the container's `create` among them nobody can tell.
    """
    try:
        return time(client.inspect_container(container)["State"]["StartedAt"]) is not None
    except APIError as error:
        if error.status_code != 404:
            raise
    seen = _actions(client, container)
    if "start" in seen:
        return True
    return False if "create" in seen else None


def saw_end(client: docker.APIClient, container: str) -> bool:
    """Whether the engine can have seen how a container ended. It was not there when it remembers no such end, though
    since its start it has not had to forget anything yet.
    """
    told = _remembered(client, {})
    return len(told) >= MEMORY or any(event["Action"] == "die" and event["Actor"]["ID"] == container for event in told)


def saw_start(client: docker.APIClient, container: str) -> bool | None:
    """Whether the engine has been running since a container started: False when it remembers no such start, though it
    has not had to forget anything yet; None when it had to.
    """
    told = _remembered(client, {})
    if any(event["Action"] == "start" and event["Actor"]["ID"] == container for event in told):
        return True
    return None if len(told) >= MEMORY else False


def _actions(client: docker.APIClient, container: str) -> set[str]:
    """What the engine remembers to have happened to a container until now."""
    return {event["Action"] for event in _remembered(client, {"container": [container]})}


def _remembered(client: docker.APIClient, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The events that the engine still knows, until now by its own clock."""
    past = {"since": "1", "until": f"{_clock(client).timestamp() + 0.001:.6f}", "filters": json.dumps(filters)}
    with client.get(url(client, "/events"), params=past, stream=True, timeout=client.timeout) as response:
        # an error must not look like a past without events
        response.raise_for_status()
        return [json.loads(line) for line in response.iter_lines() if line]


def _clock(client: docker.APIClient) -> datetime:
    """The engine's."""
    now = time(client.info()["SystemTime"])
    assert now is not None  # noqa: S101
    return now
