"""Seeing an exec through: its states, its log, and the exit code that tells how it ended."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from jobd.cli.client import Client, Item
from jobd.cli.failure import FAILED, INTERRUPTED, Failure, TryLater
from jobd.cli.output import plain, say

FIRST_PAUSE, LONGEST_PAUSE, PAUSE_GROWTH = 0.1, 1.0, 1.5
"""Seconds between two questions for an exec's state."""
PATIENCE = 60.0
"""Seconds for which a server may be away while one waits: long enough for its restart."""
OVERLAP = 4096
"""Bytes by which the place in a log is found again."""
ENDED = ("S", "F", "C", "N")
WORDS = {
    "W": "waiting",
    "R": "running",
    "S": "succeeded",
    "F": "failed",
    "C": "cancelled",
    "N": "not run",
}

Result = TypeVar("Result")


def path_of(exec: Item) -> str:
    """The exec's URL path. `job` is an id, but in an exec's detail the job itself."""
    job = exec["job"]
    return f"/v1/jobs/{job['id'] if isinstance(job, dict) else job}/execs/{exec['id']}"


def name_of(exec: Item) -> str:
    """What the commands call it: JOB/EXEC."""
    return path_of(exec).removeprefix("/v1/jobs/").replace("/execs/", "/")


def see_through(client: Client, exec: Item, follow: bool) -> int:
    """Wait for the exec's end, its states on stderr and its log on stdout (with `follow` as it is written, else at
    the end); the command's exit code. An interrupt leaves the exec alone.
    """
    path, name = path_of(exec), name_of(exec)
    log = LogTail(client, path)
    last, told = exec, None
    try:
        for last in readings(client, path):
            if last["status"] != told:
                told = last["status"]
                say(describe(last))
            if last["started_at"] and (follow or told in ENDED):
                log.print_fresh()
        return exit_code(last)
    except KeyboardInterrupt:
        say(f"exec {name} goes on; to stop it: jobd exec stop {name}")
        return INTERRUPTED
    except TryLater as error:
        raise Failure(f"{error.message}\nexec {name} goes on", error.exit_code) from error


def follow_log(client: Client, path: str, tail: int | None, stream: str | None) -> None:
    """Print the log as it is written, from its last `tail` lines on, until the exec ends."""
    log = LogTail(client, path, tail, stream)
    for reading in readings(client, path):
        if reading["started_at"]:
            log.print_fresh()


def print_log(client: Client, path: str, **query: Any) -> None:
    """Print the log as the program wrote it, byte for byte."""
    with client.stream(f"{path}/logs", "text/plain", **query) as answer:
        for data in answer.iter_content(65536):
            sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class LogTail:
    """A log that grows: each `print_fresh` prints what was not printed before, from the last `tail` lines on."""

    def __init__(self, client: Client, path: str, tail: int | None = None, stream: str | None = None) -> None:
        self._client = client
        self._path = path
        self._tail = tail
        self._stream = stream
        self._seen: bytes | None = None

    def print_fresh(self) -> None:
        """Raises TryLater when the server stays away."""
        now = patiently(self._read)
        # A daemon that has just started, or is not the one that runs the exec, has less to tell than was told before.
        if self._seen is not None and self._seen.startswith(now):
            return
        sys.stdout.buffer.write(self._first(now) if self._seen is None else added(self._seen, now))
        sys.stdout.buffer.flush()
        self._seen = now

    def _read(self) -> bytes:
        with self._client.stream(f"{self._path}/logs", "text/plain", stream=self._stream) as answer:
            return b"".join(answer.iter_content(65536))

    def _first(self, text: bytes) -> bytes:
        if self._tail is None:
            return text
        lines = re.findall(rb"[^\n]*\n|[^\n]+", text)
        return b"".join(lines[-self._tail :]) if self._tail else b""


def added(seen: bytes, now: bytes) -> bytes:
    """What `now` has behind `seen`. jobd keeps head and tail of a long log: then what was seen last is looked for, and
    where that is left out too, all behind the part in common is new.
    """
    if now.startswith(seen):
        return now[len(seen) :]
    last = seen[-OVERLAP:]
    at = now.rfind(last)
    if at >= 0:
        return now[at + len(last) :]
    both = zip(seen, now, strict=False)
    return now[next((place for place, (a, b) in enumerate(both) if a != b), len(now)) :]


def readings(client: Client, path: str) -> Iterator[Item]:
    """The exec, again and again until it ended; often after its status changed, then seldom."""
    seen, pause = None, FIRST_PAUSE
    while True:
        exec = patiently(lambda: client.get(path))
        if exec["status"] != seen:
            seen, pause = exec["status"], FIRST_PAUSE
        yield exec
        if seen in ENDED:
            return
        time.sleep(pause)
        pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)


def patiently(call: Callable[[], Result]) -> Result:
    """The call's result, tried again for `PATIENCE` seconds while the server is away. Raises TryLater after that."""
    began, told = time.monotonic(), False
    while True:
        try:
            return call()
        except TryLater as error:
            if time.monotonic() - began > PATIENCE:
                raise
            if not told:
                say(f"{error.message}; trying for {PATIENCE:.0f} s")
                told = True
            time.sleep(LONGEST_PAUSE)


def describe(exec: Item) -> str:
    """One line: the exec, its status, and why."""
    why = ", ".join(str(exec[key]) for key in ("reason", "message") if exec.get(key))
    return plain(f"exec {name_of(exec)} {WORDS.get(exec['status'], exec['status'])}{': ' if why else ''}{why}")


def exit_code(exec: Item) -> int:
    """0 for success; the container's own code, or 1 when it has none to tell of a failure; 130 for a cancel."""
    if exec["status"] == "S":
        return 0
    if exec["status"] == "C":
        return INTERRUPTED
    return exec.get("exit_code") or FAILED
