"""Seeing an exec through: its states, its log, and the exit code that tells how it ended."""

import json
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
    try:
        last, printed = exec, False
        for last in states(client, path):
            say(describe(last))
            if printed or not last["started_at"] or not (follow or last["status"] in ENDED):
                continue
            if follow:
                follow_log(client, path)
            else:
                print_log(client, path, PATIENCE)
            printed = True
        return exit_code(last)
    except KeyboardInterrupt:
        say(f"exec {name} goes on; to stop it: jobd exec stop {name}")
        return INTERRUPTED
    except TryLater as error:
        raise Failure(f"{error.message}\nexec {name} goes on", error.exit_code) from error


def states(client: Client, path: str) -> Iterator[Item]:
    """The exec, now and each time its status has changed, until it ended."""
    seen, pause = None, FIRST_PAUSE
    while True:
        exec = patiently(lambda: client.get(path), PATIENCE)
        if exec["status"] != seen:
            seen, pause = exec["status"], FIRST_PAUSE
            yield exec
        if seen in ENDED:
            return
        time.sleep(pause)
        pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)


def patiently(call: Callable[[], Result], patience: float) -> Result:
    """The call's result, tried again for `patience` seconds while the server is away. Raises TryLater after that."""
    began, told = time.monotonic(), False
    while True:
        try:
            return call()
        except TryLater as error:
            if time.monotonic() - began >= patience:
                raise
            if not told:
                say(f"{error.message}; trying for {patience:.0f} s")
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


def print_log(client: Client, path: str, patience: float = 0, **query: Any) -> None:
    """The log as the program wrote it, byte for byte. What was printed before a cut is not printed again."""
    stdout = sys.stdout.buffer
    written = 0

    def attempt() -> None:
        nonlocal written
        at = 0
        with client.stream(f"{path}/logs", "text/plain", **query) as answer:
            for data in answer.iter_content(65536):
                fresh = data[max(written - at, 0) :]
                at += len(data)
                stdout.write(fresh)
                written += len(fresh)
        stdout.flush()

    patiently(attempt, patience)


def follow_log(client: Client, path: str, **query: Any) -> None:
    """The log as it is written, until the exec ends. After a cut it goes on behind the last event that came."""
    stdout = sys.stdout.buffer
    last_id = ""

    def ended() -> bool:
        nonlocal last_id
        resume = {"Last-Event-ID": last_id} if last_id else {}
        connected = False
        try:
            with client.stream(f"{path}/logs", "text/event-stream", headers=resume, follow=1, **query) as answer:
                connected = True
                for event in events(answer.iter_lines(chunk_size=None)):
                    if event["event"] == "end":
                        return True
                    if event["event"] == "log":
                        stdout.write(json.loads(event["data"])["message"].encode())
                        stdout.flush()
                    last_id = event.get("id", last_id)
        except TryLater:
            # A cut is no reason to lose patience: the server was there.
            if not connected:
                raise
        return False

    while not patiently(ended, PATIENCE):
        time.sleep(LONGEST_PAUSE)


def events(lines: Iterator[bytes]) -> Iterator[dict[str, str]]:
    """Server-sent events (WHATWG HTML, 9.2.6): `event`, `data`, and `id` where there is one."""
    event: dict[str, str] = {}
    for line in lines:
        field, _, value = line.decode().partition(":")
        if not line:
            if "data" in event or "event" in event:
                yield {"event": "message", "data": "", **event}
            event = {}
        elif field == "data" and "data" in event:
            event["data"] += "\n" + value.removeprefix(" ")
        elif field:
            event[field] = value.removeprefix(" ")
