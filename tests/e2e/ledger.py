"""What really ran: a file into which containers write their start and their end, and the engine's own events."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests

PLACE = "/ledger"
"""Where containers see the folder."""


@dataclass(frozen=True)
class Line:
    what: str
    job: str
    exec: str
    slot: str


class Ledger:
    """The folder of an operator's mount; a job that has it runs `command`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._file = folder / "lines"
        self._file.touch()

    @property
    def section(self) -> dict[str, str]:
        """The INI section of the mount."""
        return {"mount:ledger": f"source = {self.folder}\nread_only = false"}

    mounts = [{"name": "ledger", "path": PLACE}]

    @staticmethod
    def command(body: str) -> str:
        """A shell's command that writes its start, does `body`, writes its end."""
        line = '"$JOBD_JOB_ID $JOBD_EXEC_ID ${JOBD_SCHEDULED_FOR:-}"'
        return f"sh -c 'echo start {line} >>{PLACE}/lines; {body}; echo end {line} >>{PLACE}/lines'"

    def lines(self) -> list[Line]:
        rows = [text.split(" ") for text in self._file.read_text().splitlines()]
        return [Line(*[*row, ""][:4]) for row in rows]

    def count(self, what: str) -> Counter[str]:
        """How often each exec wrote this."""
        return Counter(line.exec for line in self.lines() if line.what == what)


class StartWatch:
    """Counts the starts of execs' containers by the engine's event stream, over restarts of the engine."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._over = threading.Event()
        self._heard = threading.Condition()
        self._listening = threading.Event()
        self._seen: set[tuple[str, int]] = set()
        self._starts: Counter[str] = Counter()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "StartWatch":
        self._thread.start()
        assert self._listening.wait(60), "the engine sends no events"
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        if self._stream is not None:
            # Refused when the stream has just ended by itself.
            with contextlib.suppress(Exception):
                self._stream.close()
        self._thread.join(10)

    def starts(self) -> Counter[str]:
        with self._heard:
            return Counter(self._starts)

    def wait_for(self, exec_id: str, seconds: float = 30) -> int:
        """How often an exec's container was started, once it was."""
        with self._heard:
            self._heard.wait_for(lambda: self._starts[exec_id], seconds)
            return self._starts[exec_id]

    def _run(self) -> None:
        since = time.time()
        while not self._over.is_set():
            began = time.time()
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException, OSError, ValueError):
                client = docker.APIClient(self._socket, version="auto", timeout=30)
                # a little twice rather than too little: an event's own time tells it from another
                for event in self._events(client, since - 5):
                    self._note(event)
            since = began
            self._over.wait(0.05)

    def _events(self, client: docker.APIClient, since: float) -> Iterator[dict[str, Any]]:
        filters = {"type": "container", "event": "start", "label": "jobd.exec"}
        self._stream = client.events(since=f"{since:.3f}", filters=filters, decode=True)
        self._listening.set()
        return self._stream

    def _note(self, event: dict[str, Any]) -> None:
        key = (event["Actor"]["ID"], event["timeNano"])
        with self._heard:
            if key not in self._seen:
                self._seen.add(key)
                self._starts[event["Actor"]["Attributes"]["jobd.exec"]] += 1
                self._heard.notify_all()
