"""Waiting for the end of an exec: prints its states and its log, and determines the exit code."""

import base64
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

from jobd.cli.client import Client, Item
from jobd.cli.failure import FAILED, INTERRUPTED, Failure, TryLater
from jobd.cli.output import plain, say
from jobd.statuses import LIVE, ExecStatus

FIRST_PAUSE, MAX_PAUSE, PAUSE_GROWTH = 0.1, 1.0, 1.5
"""Seconds between two requests for an exec's state."""
PATIENCE = 60.0
"""Seconds for which the server may be unreachable meanwhile: long enough for a restart."""
RETRY_SEARCH = 100
"""The newest execs of a job among which a retry is searched: it was created when the exec before it ended."""
ENDED = tuple(status for status in ExecStatus if status not in LIVE)
WORDS = {
    ExecStatus.WAITING: "waiting",
    ExecStatus.RUNNING: "running",
    ExecStatus.SUCCEEDED: "succeeded",
    ExecStatus.FAILED: "failed",
    ExecStatus.CANCELLED: "cancelled",
    ExecStatus.NOT_RUN: "not run",
}

Result = TypeVar("Result")


def path_of(exec: Item) -> str:
    """The exec's URL path. `job` is an id or, in the detail of an exec, the job itself."""
    job = exec["job"]
    return f"/v1/jobs/{job['id'] if isinstance(job, dict) else job}/execs/{exec['id']}"


def name_of(exec: Item) -> str:
    """The exec's name on the command line: JOB/EXEC."""
    return path_of(exec).removeprefix("/v1/jobs/").replace("/execs/", "/")


def wait_for_end(client: Client, exec: Item, follow: bool) -> int:
    """Wait for the end of an exec and of its retries, and return the last attempt's exit code. Prints states on stderr
    and logs on stdout, with `follow` as they are written, else at the end. An interrupt does not stop the exec.
    """
    attempt: Item | None = exec
    try:
        while attempt is not None:
            exec = attempt
            last = _attend(client, exec, follow)
            attempt = _retry_of(client, last) if last["status"] == ExecStatus.FAILED else None
        return exit_code(last)
    except KeyboardInterrupt:
        say(f"exec {name_of(exec)} goes on; to stop it: jobd exec stop {name_of(exec)}")
        return INTERRUPTED
    except TryLater as error:
        raise Failure(f"{error.message}\nexec {name_of(exec)} goes on", error.exit_code) from error


def await_end(client: Client, path: str) -> None:
    """Return when the exec has ended, and print how."""
    for last in readings(client, path):
        if last["status"] in ENDED:
            say(describe(last))


def _attend(client: Client, exec: Item, follow: bool) -> Item:
    """Wait for the end of one exec and return it. Prints a line for each change of its status or message."""
    path = path_of(exec)
    log = FollowedLog(client, path)
    last, shown = exec, ""
    for last in readings(client, path):
        if describe(last) != shown:
            shown = describe(last)
            say(shown)
        if last["started_at"] and follow:
            log.print_to_end()
        elif last["started_at"] and last["status"] in ENDED:
            _write(with_retries(lambda: _whole_log(client, path)))
    return last


def _retry_of(client: Client, exec: Item) -> Item | None:
    """The retry of a failed exec, if any: it is created together with the end of the failed one."""
    path = path_of(exec).rpartition("/")[0]
    newest, _ = with_retries(lambda: client.items(path, RETRY_SEARCH))
    return next((item for item in newest if item.get("retry_of") == exec["id"]), None)


def follow_log(client: Client, path: str, tail: int | None, stream: str | None, timestamps: bool) -> None:
    """Print the log as it is written, beginning with its last `tail` lines, until the exec ends."""
    FollowedLog(client, path, tail, stream, timestamps).print_to_end()


def print_log(client: Client, path: str, **query: Any) -> None:
    """Print the log as the program wrote it, byte for byte."""
    with client.stream(f"{path}/logs", "text/plain", **query) as answer:
        for data in answer.iter_content(65536):
            sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class FollowedLog:
    """Prints a log as it is written, each byte once, even if the connection breaks in between."""

    def __init__(
        self, client: Client, path: str, tail: int | None = None, stream: str | None = None, timestamps: bool = False
    ) -> None:
        self._stamped = StampedLines() if timestamps else None
        self._client = client
        self._path = path
        self._query = {"tail": tail, "stream": stream}
        self._last_id: str | None = None
        self._last = b"\n"
        self._ended = False

    def print_to_end(self) -> None:
        """Print until the exec has ended; does nothing when called again. Raises TryLater if the server cannot be
        reached for too long.
        """
        while not self._ended:
            answered = False
            try:
                with ExitStack() as stack:
                    answer = with_retries(lambda: stack.enter_context(self._request()))
                    answered = True
                    self._print(answer)
            except TryLater:
                if not answered:
                    raise
            if not self._ended:
                time.sleep(FIRST_PAUSE)

    def _request(self) -> AbstractContextManager[requests.Response]:
        headers = {} if self._last_id is None else {"Last-Event-ID": self._last_id}
        return self._client.stream(f"{self._path}/logs", "text/event-stream", headers, follow=1, **self._query)

    def _print(self, answer: requests.Response) -> None:
        """Print events until the exec or the stream ends."""
        for event in events(answer.iter_lines(chunk_size=None)):
            if event.name == "end":
                self._ended = True
                if self._stamped is not None:
                    _write(self._stamped.rest())
                return
            if event.name == "log":
                self._write(event.data)
            self._last_id = event.id or self._last_id

    def _write(self, log: Item) -> None:
        data = base64.b64decode(log["base64"]) if "base64" in log else log["message"].encode()
        if log["stream"] == "cut" and not self._last.endswith(b"\n"):
            data = b"\n" + data
        if self._stamped is not None:
            data = self._stamped.lines(
                log["stream"], log["time"], data.lstrip(b"\n") if log["stream"] == "cut" else data
            )
        _write(data)
        self._last = data[-1:] or self._last


class StampedLines:
    """Puts the time of its beginning in front of each line. Lines of the two streams are not mixed."""

    def __init__(self) -> None:
        self._begun: dict[str, bytes] = {}

    def lines(self, stream: str, time: str, data: bytes) -> bytes:
        """The lines that are complete with this piece."""
        whole = b""
        for part in re.findall(rb"[^\n]*\n|[^\n]+", data):
            line = self._begun.pop(stream, f"{time} ".encode()) + part
            if line.endswith(b"\n"):
                whole += line
            else:
                self._begun[stream] = line
        return whole

    def rest(self) -> bytes:
        """The incomplete lines, at the end of the log."""
        rest = b"".join(line + b"\n" for line in self._begun.values())
        self._begun = {}
        return rest


@dataclass
class Event:
    """A server-sent event (WHATWG HTML, 9.2) whose data is JSON."""

    name: str
    id: str
    data: Item


def events(lines: Iterable[bytes]) -> Iterator[Event]:
    """The events in the lines of a stream."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().partition(":")
        if line:
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
            fields = {}


def _whole_log(client: Client, path: str) -> bytes:
    with client.stream(f"{path}/logs", "text/plain") as answer:
        return b"".join(answer.iter_content(65536))


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def readings(client: Client, path: str) -> Iterator[Item]:
    """The exec, read repeatedly until it has ended: often after a change of its status, then less often."""
    seen, pause = None, FIRST_PAUSE
    while True:
        exec = with_retries(lambda: client.get(path))
        if exec["status"] != seen:
            seen, pause = exec["status"], FIRST_PAUSE
        yield exec
        if seen in ENDED:
            return
        time.sleep(pause)
        pause = min(pause * PAUSE_GROWTH, MAX_PAUSE)


def with_retries(call: Callable[[], Result]) -> Result:
    """The call's result; retries for `PATIENCE` seconds while the server cannot be reached, then raises TryLater."""
    began, is_announced = time.monotonic(), False
    while True:
        try:
            return call()
        except TryLater as error:
            if time.monotonic() - began > PATIENCE:
                raise
            if not is_announced:
                say(f"{error.message}; retrying for {PATIENCE:.0f} s")
                is_announced = True
            time.sleep(MAX_PAUSE)


def describe(exec: Item) -> str:
    """One line: the exec, its status, and why."""
    why = ", ".join(str(exec[key]) for key in ("reason", "message") if exec.get(key))
    return plain(f"exec {name_of(exec)} {WORDS.get(exec['status'], exec['status'])}{': ' if why else ''}{why}")


def exit_code(exec: Item) -> int:
    """0 for success, the container's code or else 1 for a failure, and 130 if it was cancelled."""
    if exec["status"] == ExecStatus.SUCCEEDED:
        return 0
    if exec["status"] == ExecStatus.CANCELLED:
        return INTERRUPTED
    return exec.get("exit_code") or FAILED
