"""Runs over links that are few, full, cut, half open, or not there for a while."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest

from jobd.conformance.bench import Bench, Ends, collect
from jobd.errors import ExecutorError, RegionUnavailable
from jobd.executor import State
from jobd_ssh import adapter
from tests.engines import SOCKET
from tests.plugins.sshd import Sshd, at_once
from tests.services import missing, require, wait_for

MakeBench = Callable[..., tuple[Sshd, Bench]]
NO_PROGRAM = {"docker": "/no/such/docker"}
"""Options of an executor that can do with forwarding alone."""


@pytest.fixture
def make_bench(tmp_path: Path, image: str, engine: docker.APIClient) -> Iterator[MakeBench]:
    """A server with its own settings, and a bench that works through it."""
    made: list[tuple[Sshd, Bench]] = []

    def make(settings: str = "", authorized: str = "", **options: object) -> tuple[Sshd, Bench]:
        folder = tmp_path / f"sshd{len(made)}"
        folder.mkdir()
        server = Sshd(folder, settings, authorized).start()
        made.append((server, server.bench(image, **options)))
        return made[-1]

    yield make
    for server, bench in made:
        bench.clear()
        server.stop()
        for left in engine.containers(all=True, filters={"label": f"jobd.installation={bench.installation}"}):
            engine.remove_container(left["Id"], force=True)


def whole_life(bench: Bench) -> None:
    handle, status = bench.run(bench.shell("echo out; echo err >&2; exit 3"))
    assert (status.state, status.exit_code) == (State.ENDED, 3)
    assert bench.output(handle) == {"stdout": b"out\n", "stderr": b"err\n"}
    assert [run.handle for run in bench.executor.list()] == [handle]
    bench.executor.remove(handle, False)
    assert bench.status(handle).state is State.GONE


def test_a_whole_life_takes_one_connection_and_no_program_on_the_far_side(make_bench: MakeBench):
    server, bench = make_bench("MaxSessions 0", **NO_PROGRAM)
    whole_life(bench)
    assert server.sign_ins() == 1


def test_a_key_that_may_only_forward_is_enough(make_bench: MakeBench):
    _, bench = make_bench(authorized="restrict,port-forwarding", **NO_PROGRAM)
    whole_life(bench)


@pytest.mark.parametrize("transport", ["auto", "dial-stdio"])
def test_a_key_that_may_only_dial_docker_is_enough(make_bench: MakeBench, transport: str):
    only = f'restrict,command="{require("docker-cli")} -H {SOCKET} system dial-stdio"'
    server, bench = make_bench(authorized=only, transport=transport, docker="anything")
    whole_life(bench)
    assert server.sign_ins() == 1


def test_where_forwarding_is_forbidden_the_program_does_it(make_bench: MakeBench):
    server, bench = make_bench("AllowStreamLocalForwarding no", docker=require("docker-cli"))
    whole_life(bench)
    assert server.sign_ins() == 1


@contextmanager
def followers(bench: Bench, count: int) -> Iterator[list[dict[str, bytes]]]:
    """So many that follow the output of one run at once, which ends with the block; and what each has read."""
    handle = bench.start(bench.shell("echo begin; while [ ! -e /tmp/end ]; do sleep 0.1; done"))
    reading = threading.Semaphore(0)
    seen: list[dict[str, bytes]] = []

    def follow() -> None:
        chunks = bench.executor.logs(handle, follow=True)
        first = next(iter(chunks))
        reading.release()
        rest = collect(chunks)
        seen.append({**rest, "stdout": first.data + rest["stdout"]})

    threads = [threading.Thread(target=follow, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert reading.acquire(timeout=bench.patience), "a follower that reads nothing"
    yield seen
    bench.executor.stop(handle, 1)
    for thread in threads:
        thread.join(bench.patience)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("transport", "sessions", "most"), [("streamlocal", 10, 1), ("dial-stdio", 10, 6), ("dial-stdio", 4, 14)]
)
def test_forty_streams_at_once_share_few_connections(make_bench: MakeBench, transport: str, sessions: int, most: int):
    server, bench = make_bench(f"MaxSessions {sessions}\nMaxStartups 10:30:100", transport=transport, docker="docker")
    require("docker-cli")
    assert bench.executor.check().ok, server.evidence()
    with followers(bench, 40) as seen:
        assert bench.executor.check().ok
    assert seen == [{"stdout": b"begin\n", "stderr": b""}] * 40
    assert server.sign_ins() <= most


def test_forty_runs_at_once_all_end(make_bench: MakeBench):
    server, bench = make_bench()
    ended: list[int | None] = []

    def live() -> None:
        handle, status = bench.run(bench.spec("true"))
        bench.executor.remove(handle, False)
        ended.append(status.exit_code)

    at_once([threading.Thread(target=live, daemon=True) for _ in range(40)], 110)
    assert ended == [0] * 40
    # the first forty may ask before it is known that forwarding works
    assert server.sign_ins() <= 4


def test_connections_that_are_no_longer_needed_are_closed(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(adapter, "KEPT", 0.5)
    _, bench = make_bench(transport="dial-stdio", docker=require("docker-cli"))
    with followers(bench, 40):
        assert transports() >= 4
    wait_for(lambda: bench.executor.check().ok and transports() == 1, "one connection to be left")


def transports() -> int:
    """SSH connections of this process: paramiko has a thread for each."""
    return sum(type(thread).__name__ == "Transport" for thread in threading.enumerate())


def test_a_watch_and_operations_outlive_the_server(make_bench: MakeBench):
    server, bench = make_bench(keepalive=1)
    ends = Ends()
    bench.executor.watch(ends)
    handle = bench.start(bench.shell("sleep 1; exit 3"))
    before = bench.start(bench.spec("true"))
    assert ends.include(before, bench.patience)
    done = threading.Event()
    faults: list[BaseException] = []
    asked = [0] * 8

    def ask(number: int) -> None:
        while not done.is_set():
            try:
                assert bench.status(before).exit_code == 0
                asked[number] += 1
            except RegionUnavailable:
                done.wait(0.05)
            except BaseException as error:
                faults.append(error)

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    wait_for(lambda: all(asked), "everybody to have asked")
    server.stop()
    wait_for(lambda: not bench.executor.check().ok, "the region to be down")
    server.start()
    wait_for(lambda: bench.executor.check().ok, "the region to be back")
    asked[:] = [0] * len(asked)
    wait_for(lambda: all(asked), "everybody to ask again")
    done.set()
    for thread in threads:
        thread.join(bench.patience)
    assert not faults
    assert ends.include(handle, bench.patience), "an end during the outage"
    assert bench.end_of(handle).exit_code == 3
    later = bench.start(bench.spec("true"))
    assert ends.include(later, bench.patience), "an end after it"


def test_a_cut_connection_fails_what_is_under_way_and_nothing_later(make_bench: MakeBench):
    server, bench = make_bench()
    handle = bench.start(bench.shell("trap 'echo stubborn' TERM; echo begin; while true; do sleep 0.1; done"))
    chunks = bench.executor.logs(handle, follow=True)
    assert next(iter(chunks)).data == b"begin\n"
    failures: list[str] = []

    def stop() -> None:
        with pytest.raises(RegionUnavailable) as told:
            bench.executor.stop(handle, 60)
        failures.append(told.value.message)

    stopping = threading.Thread(target=stop, daemon=True)
    stopping.start()
    assert next(iter(chunks)).data == b"stubborn\n"
    server.cut()
    with pytest.raises(RegionUnavailable, match="the SSH connection was lost"):
        list(chunks)
    stopping.join(bench.patience)
    assert len(failures) == 1
    assert "the SSH connection was lost" in failures[0]
    assert bench.status(handle).state is State.RUNNING
    assert server.sign_ins() == 2


@pytest.fixture
def block() -> Iterator[Callable[[int], None]]:
    """Drops all packets to a port of the loopback, as a firewall that forgot a connection does."""
    if os.geteuid() != 0:
        missing("root, for iptables")
    program = require("iptables")
    rules: list[list[str]] = []

    def drop(port: int) -> None:
        rule = ["INPUT", "-i", "lo", "-p", "tcp", "--dport", str(port), "-j", "DROP"]
        subprocess.run([program, "-w", "-I", *rule], check=True)
        rules.append(rule)

    yield drop
    for rule in rules:
        subprocess.run([program, "-w", "-D", *rule], check=True)


def test_a_half_open_link_is_given_up_in_four_signs_of_life(make_bench: MakeBench, block: Callable[[int], None]):
    server, bench = make_bench(keepalive=2, connect_timeout=1)
    handle = bench.start(bench.shell("echo begin; sleep 60"))
    chunks = bench.executor.logs(handle, follow=True)
    assert next(iter(chunks)).data == b"begin\n"
    block(server.port)
    began = time.monotonic()
    with pytest.raises(RegionUnavailable, match="the SSH connection was lost"):
        list(chunks)
    assert time.monotonic() - began < 4 * 2 + 4
    health = bench.executor.check()
    assert f"does not answer on port {server.port} within 1 s" in health.message


def test_close_leaves_no_connection_thread_or_file(make_bench: MakeBench):
    server, bench = make_bench()
    before = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    executor = server.executor(bench.installation)
    stop = executor.watch(lambda handle: None)
    at_once([threading.Thread(target=executor.list) for _ in range(20)])
    assert len(os.listdir("/proc/self/fd")) > before[1]
    executor.close()
    stop()
    wait_for(lambda: set(threading.enumerate()) <= before[0], "threads to end")
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before[1], "files to be closed")
    with pytest.raises(RegionUnavailable, match="was closed"):
        executor.list()


def test_a_child_process_has_connections_of_its_own(make_bench: MakeBench):
    server, bench = make_bench()
    assert bench.executor.check().ok
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(ExecutorError):
            bench.executor.list()
            code = 0
        os._exit(code)
    deadline = time.monotonic() + 30
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.02)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    whole_life(bench)
    assert server.sign_ins() == 2
