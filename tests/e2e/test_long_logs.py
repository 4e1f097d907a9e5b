"""Logs of more than is kept, and what a record says of output that may be missing."""

import json
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.daemon import Daemon
from tests.engines import OwnEngine, import_busybox, started_engine
from tests.plugins.sshd import Sshd
from tests.services import fresh_postgres

LINE = "0123456789abcdef" * 4
KEPT = 20_000
SECTION = {"execs": f"max_log = {KEPT}"}
MUCH = f"echo FIRST LINE; yes {LINE} | head -n 60000; echo LAST LINE"
WRITTEN = len("FIRST LINE\n") + 60_000 * (len(LINE) + 1) + len("LAST LINE\n")


@pytest.fixture
def region(request: pytest.FixtureRequest, tmp_path: Path, docker_socket: str) -> Iterator[str]:
    """The INI keys of a region, local or behind SSH."""
    if request.param == "docker":
        yield f"executor = docker\nsocket = {docker_socket}"
        return
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = Sshd(folder).start()
    keys = server.options().model_dump(include={"host", "identity_file", "known_hosts", "socket"})
    yield "executor = docker-ssh\n" + "\n".join(f"{key} = {value}" for key, value in keys.items())
    server.stop()


def trigger(daemon: Daemon, image: str, script: str, **more: Any) -> dict[str, Any]:
    repo, tag = image.rsplit(":", 1)
    values = {"docker_image_repo": repo, "docker_image_tag": tag, "command": f"sh -c {shlex.quote(script)}", **more}
    return daemon.trigger(daemon.create_job(**values))


def path_of(exec_: dict[str, Any]) -> str:
    job = exec_["job"]["id"] if isinstance(exec_["job"], dict) else exec_["job"]
    return f"/v1/jobs/{job}/execs/{exec_['id']}/logs"


def followed(daemon: Daemon, exec_: dict[str, Any]) -> bytes:
    """All that a follower gets as text, from the beginning to the end of the exec."""
    return daemon.request("GET", f"{path_of(exec_)}?follow=1").content


def is_cut_as_it_should_be(log: bytes) -> bool:
    head, mark, tail = log.partition(b"\n[jobd: %d bytes left out here]\n" % (WRITTEN - KEPT))
    whole = b"FIRST LINE\n" + f"{LINE}\n".encode() * 60_000 + b"LAST LINE\n"
    return bool(mark) and head == whole[: KEPT // 2] and tail == whole[-KEPT // 2 :]


@pytest.mark.parametrize("region", ["docker", "docker-ssh"], indirect=True)
def test_of_much_output_beginning_end_and_size_are_true_and_a_follower_has_them_too(
    make_daemon: MakeDaemon, region: str, busybox_image: str
) -> None:
    daemon = make_daemon({"region:BEIJING1": region, **SECTION}).start()
    exec_ = trigger(daemon, busybox_image, MUCH)
    text = followed(daemon, exec_)
    ended = daemon.ended(exec_)
    assert (ended["status"], ended["message"]) == ("S", None)
    assert (ended["log_bytes"], ended["log_is_cut"], ended["log_may_lack_output"]) == (WRITTEN, True, False)
    log = daemon.output(ended)
    assert is_cut_as_it_should_be(log)
    assert text.startswith(b"FIRST LINE\n")
    assert text.endswith(log[-KEPT // 2 :])
    omitted = sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(b"[jobd: "))
    marks = sum(len(line) + 2 for line in text.splitlines() if line.startswith(b"[jobd: "))
    assert len(text) - marks + omitted == WRITTEN


def test_on_postgresql_a_cut_log_is_told_in_the_record_and_a_whole_one_is_not(
    make_daemon: MakeDaemon, busybox_image: str
) -> None:
    with fresh_postgres() as url:
        daemon = make_daemon({"database": f"url = {url}", **SECTION}).start()
        cut, whole = trigger(daemon, busybox_image, MUCH), trigger(daemon, busybox_image, "echo all")
        assert daemon.ended(cut)["log_is_cut"]
        ended = daemon.ended(whole)
        assert (ended["log_bytes"], ended["log_is_cut"], ended["log_may_lack_output"]) == (4, False, False)
        daemon.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_written_while_no_jobd_was_there_is_in_the_log(
    make_daemon: MakeDaemon, busybox_image: str, number: signal.Signals
) -> None:
    daemon = make_daemon().start()
    exec_ = trigger(daemon, busybox_image, f"echo one; sleep 3; yes {LINE} | head -n 1000; sleep 4; echo last")
    daemon.reached(exec_, "R")
    daemon.eventually(lambda: daemon.request("GET", path_of(exec_)).content == b"one\n", "the first line")
    daemon.stop(number)
    daemon.start()
    text = followed(daemon, exec_)
    ended = daemon.ended(exec_)
    assert daemon.output(ended) == b"one\n" + f"{LINE}\n".encode() * 1000 + b"last\n"
    assert text == daemon.output(ended)
    assert (ended["status"], ended["message"], ended["log_may_lack_output"]) == ("S", None, False)


def test_what_docker_dropped_while_no_jobd_was_there_is_marked_and_told(
    make_daemon: MakeDaemon, busybox_image: str, engine: Any, containers_of: Callable[[str], list[dict[str, Any]]]
) -> None:
    daemon = make_daemon(SECTION).start()
    exec_ = trigger(daemon, busybox_image, f"sleep 2; {MUCH}")
    daemon.reached(exec_, "R")
    daemon.stop()
    engine.wait(containers_of(exec_["id"])[0]["Id"])
    daemon.start()
    ended = daemon.ended(exec_)
    assert ended["status"] == "S"
    assert ended["message"] == "its log may lack output: Docker had dropped some of it before it was read"
    assert ended["log_may_lack_output"]
    log = daemon.output(ended)
    assert log.startswith(b"\n[jobd: output may be missing here]\n")
    assert log.endswith(b"LAST LINE\n")
    lines = json.loads(daemon.request("GET", path_of(exec_), headers={"Accept": "application/json"}).content)
    assert lines[0]["stream"] == "cut"


@pytest.fixture
def make_engine() -> Iterator[Callable[..., OwnEngine]]:
    contexts = []

    def make(*options: str) -> OwnEngine:
        context = started_engine(*options)
        contexts.append(context)
        return context.__enter__()

    yield make
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.mark.parametrize("options", [["--live-restore"], []])
def test_an_exec_that_ran_while_dockerd_was_away_says_that_its_log_may_lack_output(
    make_daemon: MakeDaemon, make_engine: Callable[..., OwnEngine], options: list[str]
) -> None:
    engine = make_engine(*options)
    client = docker.APIClient(engine.socket, version="auto")
    image = import_busybox(client, "jobd-test")
    client.close()
    region = f"executor = docker\nsocket = {engine.socket}\nnetwork = none"
    daemon = make_daemon({"region:BEIJING1": region}).start()
    exec_ = trigger(daemon, image, "echo one; sleep 8; echo two")
    daemon.eventually(lambda: daemon.request("GET", path_of(exec_)).content == b"one\n", "the first line")
    engine.kill()
    daemon.eventually(lambda: "is down" in daemon.evidence(), "the outage to be noticed")
    engine.start()
    ended = daemon.ended(exec_)
    assert ended["log_may_lack_output"]
    assert ended["message"].endswith("its log may lack output: Docker was away while it ran")
    assert daemon.output(ended).startswith(b"one\n")
    if options:
        assert (ended["status"], daemon.output(ended)) == ("S", b"one\ntwo\n")


def test_a_jobd_that_is_halted_holds_no_run_up_and_has_its_whole_log_when_it_goes_on(
    make_daemon: MakeDaemon, busybox_image: str, engine: Any, containers_of: Callable[[str], list[dict[str, Any]]]
) -> None:
    daemon = make_daemon().start()
    exec_ = trigger(daemon, busybox_image, f"echo FIRST LINE; sleep 3; yes {LINE} | head -n 60000; echo LAST LINE")
    daemon.eventually(lambda: daemon.request("GET", path_of(exec_)).content == b"FIRST LINE\n", "the first line")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        assert engine.wait(containers_of(exec_["id"])[0]["Id"], timeout=60)["StatusCode"] == 0
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    ended = daemon.ended(exec_)
    assert (ended["status"], ended["message"], ended["log_bytes"]) == ("S", None, WRITTEN)
    assert daemon.output(ended) == b"FIRST LINE\n" + f"{LINE}\n".encode() * 60_000 + b"LAST LINE\n"


def memory_of(pid: int) -> int:
    """Bytes that a process holds in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def test_memory_does_not_grow_with_what_runs_write(make_daemon: MakeDaemon, busybox_image: str) -> None:
    daemon = make_daemon({"execs": "max_log = 10MB", "sizes": "BIG = 1 cpu, 64 MB"}).start()
    script = r"head -c 20000000 /dev/zero | tr '\0' x; echo"
    warm = daemon.ended(trigger(daemon, busybox_image, script, resource_size="BIG"))
    assert warm["log_bytes"] == 20_000_001
    assert daemon.process is not None
    pid = daemon.process.pid
    before = memory_of(pid)
    execs = [trigger(daemon, busybox_image, script, resource_size="BIG") for _ in range(8)]
    most = [0]

    def all_ended() -> bool:
        most[0] = max(most[0], memory_of(pid))
        states = [daemon.call("GET", path_of(exec_).removesuffix("/logs"), 200)["status"] for exec_ in execs]
        return all(state == "S" for state in states)

    daemon.eventually(all_ended, "all of them to end")
    # four are read to their ends at once, each of up to 10 MB in a few copies
    assert most[0] - before < 200 * 2**20, f"{before} bytes before, {most[0]} at the most"
