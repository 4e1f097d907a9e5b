"""The engine's events: a stream of them, to learn of ends at once, and past ones, to find out whether a container was
ever started.
"""

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
"""Seconds that `stop` waits for the thread, which may be connecting to an engine that does not respond."""
DELAYS = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each attempt to reconnect; the last one is repeated."""
CLEARS_UP_IN = 60.0
"""Seconds before the beginning of a stream from which ends are reported again. The engine sends the event of an end,
then removes network and mounts, and only then lists the container as exited. So a stream that begins in between would
miss the event and not find the container in the list.
"""
MEMORY = 256
"""Events that an engine keeps until it restarts (`eventsLimit` in moby's daemon/events)."""


class Watch:
    """The event stream for all runs of an installation, read by one thread. Reconnects until `stop`.

    `client()` returns a connected client or raises an ExecutorError.
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
        """The number of the open stream, 0 if there is none. While it stays the same, no end was missed."""
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
                # Fails if the stream has just ended by itself.
                with contextlib.suppress(OSError, RuntimeError, ValueError):
                    self._stream.raw.shutdown()
        if threading.current_thread() is not self._thread:
            self._thread.join(STOP_PATIENCE)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                for callback, handle in self._changes():
                    self._notify(callback, handle)
                log.debug("region %s: the event stream ended", self._name)
            except (ExecutorError, requests.RequestException, OSError, ValueError) as error:
                log.debug("region %s: no events: %s", self._name, error)
            self._stopped.wait(DELAYS[min(self._failures, len(DELAYS) - 1)])
            self._failures += 1

    def _changes(self) -> Iterator[tuple[Callable[[Handle], None], Handle]]:
        """Ends, and starts by others, each with the callback to call: first those missed before this stream, then new
        ones as they happen.
        """
        client = self._client()
        self._first_runs.connected()
        began = _clock(client).timestamp()
        # Begin with all past events that the engine still has, for missed ends and for runs from before this process.
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
        # Older ends have been found in the list of exited containers.
        if event["Action"] == "die" and age < CLEARS_UP_IN:
            yield self._on_change, Handle(event["Actor"]["ID"])
        elif is_foreign_start and age <= 0:
            yield self._on_start, Handle(event["Actor"]["ID"])

    def _notify(self, callback: Callable[[Handle], None], handle: Handle) -> None:
        try:
            callback(handle)
        except Exception:
            log.exception("region %s: a callback for an event failed", self._name)


def learn(client: docker.APIClient, installation: str, first_runs: FirstRuns) -> None:
    """Note the past events of an installation's runs that the engine still has, once."""
    if not first_runs.has_history:
        for event in _remembered(client, _of_runs(f"{INSTALLATION}={installation}")):
            first_runs.note(event)
        first_runs.has_history = True


def _of_runs(label: str) -> dict[str, list[str]]:
    return {"type": ["container"], "event": list(EVENTS), "label": [label]}


def was_started(client: docker.APIClient, container: str) -> bool | None:
    """Whether the engine ever started a container; None if that is not known. While the container exists, its state
    says so. After that the engine's events do; but the engine keeps only 256 of them, and none over a restart, so that
    without the container's `create` among them it is not known.
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
    """Whether the engine may have seen how a container ended. It did not if it has no such event, although it has not
    dropped any events since its start.
    """
    remembered = _remembered(client, {})
    return len(remembered) >= MEMORY or any(
        event["Action"] == "die" and event["Actor"]["ID"] == container for event in remembered
    )


def saw_start(client: docker.APIClient, container: str) -> bool | None:
    """Whether the engine has been running since a container started: False if it has no event of that start although
    it has not dropped any events; None if it has dropped some.
    """
    remembered = _remembered(client, {})
    if any(event["Action"] == "start" and event["Actor"]["ID"] == container for event in remembered):
        return True
    return None if len(remembered) >= MEMORY else False


def _actions(client: docker.APIClient, container: str) -> set[str]:
    """The actions on a container in the events that the engine still has."""
    return {event["Action"] for event in _remembered(client, {"container": [container]})}


def _remembered(client: docker.APIClient, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The events that the engine still has, up to now by its own clock."""
    past = {"since": "1", "until": f"{_clock(client).timestamp() + 0.001:.6f}", "filters": json.dumps(filters)}
    with client.get(url(client, "/events"), params=past, stream=True, timeout=client.timeout) as response:
        # An error must not look like an empty list of events.
        response.raise_for_status()
        return [json.loads(line) for line in response.iter_lines() if line]


def _clock(client: docker.APIClient) -> datetime:
    """The current time of the engine's clock."""
    now = time(client.info()["SystemTime"])
    assert now is not None  # noqa: S101
    return now
