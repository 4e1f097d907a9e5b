"""Logs of real containers, followed from a real daemon."""

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.e2e.conftest import MakeDaemon
from tests.e2e.daemon import PATIENCE, Daemon

LINE = b"%0255d\n" % 7


@pytest.fixture
def start(busybox_image: str) -> Callable[..., dict[str, Any]]:
    """Trigger a run of a shell script; the new exec."""
    repo, tag = busybox_image.rsplit(":", 1)

    def start(daemon: Daemon, script: str, **more: Any) -> dict[str, Any]:
        values = {"docker_image_repo": repo, "docker_image_tag": tag, "command": f"sh -c '{script}'", **more}
        exec_ = daemon.trigger(daemon.create_job(**values))
        return {**exec_, "job": {"id": exec_["job"]}}

    return start


def path_of(exec_: dict[str, Any]) -> str:
    return f"/v1/jobs/{exec_['job']['id']}/execs/{exec_['id']}/logs"


class Events:
    """An event stream, from an id on."""

    def __init__(self, daemon: Daemon, exec_: dict[str, Any], last_id: str | None = None) -> None:
        headers = {"Accept": "text/event-stream", **({} if last_id is None else {"Last-Event-ID": last_id})}
        self._answer = daemon.request("GET", f"{path_of(exec_)}?follow=1", headers=headers, stream=True)
        assert self._answer.status_code == 200, daemon.evidence()
        self.last_id = last_id
        self.text = ""
        self.end: Any = None
        self._names = self._read()

    def _read(self) -> Iterator[str]:
        fields: dict[str, str] = {}
        for line in self._answer.iter_lines(chunk_size=None):
            name, _, value = line.decode().partition(": ")
            fields[name] = value
            if line or "event" not in fields:
                continue
            self.last_id, data = fields["id"], json.loads(fields["data"])
            if fields["event"] == "end":
                self.end = data
            else:
                self.text += data["message"]
            yield fields["event"]
            fields = {}

    def until(self, text: str) -> None:
        for _ in self._names:
            if self.text.endswith(text):
                return
        raise AssertionError(f"it ended with {self.text!r}")

    def close(self) -> None:
        self._answer.close()

    def rest(self) -> "Events":
        for _ in self._names:
            pass
        return self


async def hashes(daemon: Daemon, exec_: dict[str, Any], count: int) -> list[tuple[int, str]]:
    """Follow with many connections at once; the length and the hash of what each is given."""

    async def follow() -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        head = f"GET {path_of(exec_)}?follow=1 HTTP/1.0\r\nAuthorization: Token {daemon.token}\r\n\r\n"
        writer.write(head.encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        size, digest = 0, hashlib.sha256()
        while data := await reader.read(2**16):
            size += len(data)
            digest.update(data)
        writer.close()
        return size, digest.hexdigest()

    return await asyncio.wait_for(asyncio.gather(*(follow() for _ in range(count))), PATIENCE)


def test_a_hundred_followers_of_a_megabyte_a_second_get_every_byte(
    make_daemon: MakeDaemon, start: Callable[..., dict[str, Any]]
) -> None:
    daemon = make_daemon().start()
    script = "for i in 1 2 3 4 5; do yes $(printf %0255d 7) | head -c 1048576; sleep 1; done"
    exec_ = start(daemon, script, resource_size="XS")
    events = Events(daemon, exec_)
    whole = LINE * (5 * 2**20 // len(LINE))
    assert set(asyncio.run(hashes(daemon, exec_, 99))) == {(len(whole), hashlib.sha256(whole).hexdigest())}
    assert events.rest().text.encode() == whole
    assert events.end == {"status": "S", "exit_code": 0, "reason": None}


def test_whoever_comes_before_the_start_in_the_middle_or_after_the_end_gets_the_same(
    make_daemon: MakeDaemon, docker_socket: str, start: Callable[..., dict[str, Any]]
) -> None:
    daemon = make_daemon({"region:BEIJING1": f"executor = docker\nsocket = {docker_socket}\nmax_running = 1"}).start()
    blocker = start(daemon, "sleep 600")
    daemon.reached(blocker, "R")
    exec_ = start(daemon, "echo one; echo two; sleep 2; printf three >&2; exit 4")
    early = Events(daemon, exec_)
    daemon.call("POST", path_of(blocker).replace("/logs", "/stop"), 202)
    early.until("two\n")
    middle = Events(daemon, exec_).rest()
    daemon.ended(exec_)
    late = Events(daemon, exec_).rest()
    end = {"status": "F", "exit_code": 4, "reason": "exit_code"}
    for follower in (early.rest(), middle, late):
        assert (follower.text, follower.end) == ("one\ntwo\nthree", end)


def test_a_cut_connection_is_gone_on_with_from_the_last_id(
    make_daemon: MakeDaemon, start: Callable[..., dict[str, Any]]
) -> None:
    daemon = make_daemon().start()
    exec_ = start(daemon, "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.3; done")
    text, last_id = "", None
    for number in range(1, 6):
        events = Events(daemon, exec_, last_id)
        events.until(f"line {number}\n")
        events.close()
        text, last_id = text + events.text, events.last_id
    events = Events(daemon, exec_, last_id).rest()
    assert text + events.text == "".join(f"line {number}\n" for number in range(1, 7))
    assert events.end["status"] == "S"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_restarts_is_followed_on(
    make_daemon: MakeDaemon, start: Callable[..., dict[str, Any]], number: signal.Signals
) -> None:
    daemon = make_daemon().start()
    exec_ = start(daemon, "echo begin; sleep 4; echo end")
    before = Events(daemon, exec_)
    before.until("begin\n")
    stopping = threading.Thread(target=daemon.stop, args=(number,))
    stopping.start()
    if number is signal.SIGTERM:
        assert before.rest().end is None
    else:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            before.rest()
    stopping.join()
    after = Events(daemon.start(), exec_, before.last_id).rest()
    assert (before.text, after.text, after.end["status"]) == ("begin\n", "end\n", "S")


def test_a_followed_text_that_a_stop_cuts_off_does_not_pass_for_whole(
    make_daemon: MakeDaemon, start: Callable[..., dict[str, Any]]
) -> None:
    daemon = make_daemon().start()
    exec_ = start(daemon, "echo begin; sleep 600")
    answer = daemon.request("GET", f"{path_of(exec_)}?follow=1", stream=True)
    pieces = answer.iter_content(None)
    assert next(pieces) == b"begin\n"
    assert daemon.stop() == 0
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(pieces)
    daemon.start().call("POST", path_of(exec_).replace("/logs", "/stop"), 202)
    daemon.ended(exec_)


def test_the_command_line_follows_over_a_restart(make_daemon: MakeDaemon, start: Callable[..., dict[str, Any]]) -> None:
    daemon = make_daemon().start()
    exec_ = start(daemon, r'printf "\377 begin\n"; sleep 4; echo end')
    command = [sys.executable, "-m", "jobd", "exec", "logs", "-f", f"{exec_['job']['id']}/{exec_['id']}"]
    environ = {
        "JOBD_URL": f"http://127.0.0.1:{daemon.port}",
        "JOBD_TOKEN": str(daemon.token),
        "HOME": str(daemon.folder),
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\xff begin\n"
        daemon.stop()
        daemon.start()
        assert process.stdout.read() == b"end\n"
    assert process.returncode == 0
