"""A run's output while it runs: whole, whatever the amount and whatever becomes of the connection."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import docker
import pytest

from jobd.conformance.bench import Bench, Ends
from jobd.errors import ExecutorError, HandleGone, RegionUnavailable
from jobd.executor import Collected, Handle, LogChunk, RunSpec, State
from jobd_docker import collecting
from tests.engines import SOCKET, OwnEngine, import_busybox, started_engine
from tests.plugins.conftest import docker_bench
from tests.plugins.sshd import Sshd
from tests.services import require, wait_for

LINE = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"


class Sink:
    """Takes what comes, as it is."""

    def __init__(self) -> None:
        self.chunks: list[LogChunk] = []
        self.gaps = 0

    def add(self, chunk: LogChunk) -> None:
        self.chunks.append(chunk)

    def gap(self) -> None:
        self.gaps += 1
        self.chunks.append(LogChunk(datetime.now(UTC), "stdout", b"<gap>"))

    def of(self, stream: str) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks if chunk.stream == stream)

    @property
    def size(self) -> int:
        return sum(len(chunk.data) for chunk in self.chunks)


def watched(bench: Bench) -> Bench:
    """A bench whose executor listens to its engine, as it does in a region."""
    bench.executor.watch(Ends())
    wait_for(lambda: bench.executor._watches[-1].session, "the engine's events")
    return bench


def begin(bench: Bench, spec: RunSpec) -> tuple[Handle, Sink, Collected]:
    handle, sink = bench.create(spec), Sink()
    collected = bench.executor.collect(handle, sink)
    assert collected is not None
    bench.executor.start(handle)
    return handle, sink, collected


def collect(bench: Bench, spec: RunSpec) -> tuple[Sink, str]:
    handle, sink, collected = begin(bench, spec)
    bench.end_of(handle)
    return sink, collected.complete()


@pytest.fixture
def server(tmp_path) -> Iterator[Sshd]:
    server = Sshd(tmp_path).start()
    yield server
    server.stop()


@pytest.fixture(params=["socket", "streamlocal", "dial-stdio"])
def any_bench(request: pytest.FixtureRequest, engine: docker.APIClient, image: str) -> Iterator[Bench]:
    """An executor, on each way to the engine."""
    if request.param == "socket":
        bench = docker_bench(image)
    else:
        server = request.getfixturevalue("server")
        bench = server.bench(image, transport=request.param, docker=require("docker-cli"))
    yield watched(bench)
    bench.clear()


@pytest.fixture
def own_bench() -> Iterator[Callable[..., tuple[OwnEngine, Bench]]]:
    """An engine that may be killed, and an executor on it."""
    stack: list[tuple[Iterator[OwnEngine], Bench]] = []

    def make(*options: str) -> tuple[OwnEngine, Bench]:
        context = started_engine(*options)
        engine = context.__enter__()
        client = docker.APIClient(engine.socket, version="auto")
        image = import_busybox(client, "jobd-test")
        client.close()
        bench = docker_bench(image, socket=engine.socket, network="none")
        stack.append((context, bench))
        return engine, watched(bench)

    yield make
    for context, bench in stack:
        bench.executor.close()
        context.__exit__(None, None, None)


def test_much_output_of_both_streams_is_whole_though_the_engine_drops_most_of_it(any_bench: Bench):
    script = f"echo first; yes {LINE.decode().strip()} | head -n 80000; echo error >&2; echo last"
    spec = any_bench.spec("sh", "-c", script, max_log=1024)
    sink, missing = collect(any_bench, spec)
    assert sink.of("stdout") == b"first\n" + LINE * 80000 + b"last\n"
    assert sink.of("stderr") == b"error\n"
    assert (missing, sink.gaps) == ("", 0)


def test_output_comes_while_the_run_goes_on_with_times_in_order(any_bench: Bench):
    handle, sink, _ = begin(any_bench, any_bench.shell("echo one; sleep 0.2; echo two; sleep 60"))
    wait_for(lambda: sink.of("stdout") == b"one\ntwo\n", "both lines")
    assert any_bench.status(handle).state is State.RUNNING
    times = [chunk.time for chunk in sink.chunks]
    assert times == sorted(times)
    assert all(abs((time - datetime.now(UTC)).total_seconds()) < 60 for time in times)


def test_odd_bytes_come_as_they_are(any_bench: Bench):
    sink, missing = collect(any_bench, any_bench.shell(r"printf '\377\000\r\n no newline'"))
    assert (sink.of("stdout"), missing) == (b"\xff\x00\r\n no newline", "")


def test_many_runs_take_no_more_threads_than_one(bench: Bench):
    watched(bench)
    runs = [begin(bench, bench.shell("echo here; sleep 60"))]
    wait_for(lambda: runs[0][1].size, "the first line")
    before = threading.active_count()
    runs += [begin(bench, bench.shell("echo here; sleep 60")) for _ in range(10)]
    wait_for(lambda: all(sink.size for _, sink, _ in runs), "every first line")
    assert threading.active_count() == before


def test_a_closed_collection_gives_nothing_more_and_holds_nobody_up(bench: Bench):
    watched(bench)
    script = f"echo first; sleep 1; yes {LINE.decode().strip()} | head -n 60000"
    handle, sink, collected = begin(bench, bench.shell(script))
    wait_for(lambda: sink.size, "the first line")
    collected.close()
    assert bench.end_of(handle).exit_code == 0
    assert sink.of("stdout") == b"first\n"


def test_a_sink_that_raises_costs_that_run_alone(bench: Bench):
    watched(bench)
    handle, sink, collected = begin(bench, bench.shell("echo here; sleep 1; echo there"))

    class Broken(Sink):
        def add(self, chunk: LogChunk) -> None:
            raise OSError("no space")

    broken = bench.create(bench.shell("echo here"))
    bench.executor.collect(broken, Broken())
    bench.executor.start(broken)
    bench.end_of(broken)
    bench.end_of(handle)
    assert (collected.complete(), sink.of("stdout")) == ("", b"here\nthere\n")


HALTED = """
import os, signal, sys
from jobd.conformance.bench import Collecting, Ends
from jobd.executor import Handle, Region
from jobd_docker.executor import DockerExecutor
from jobd_docker.options import DockerOptions

executor = DockerExecutor(Region("TEST", sys.argv[1], DockerOptions(socket=sys.argv[2])))
executor._never_started.add(sys.argv[3])
executor.watch(Ends())
executor.collect(Handle(sys.argv[3]), Collecting())
executor.start(Handle(sys.argv[3]))
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_process_that_is_halted_holds_no_run_up_for_long(bench: Bench):
    handle = bench.create(bench.shell(f"yes {LINE.decode().strip()} | head -n 150000"))
    halted = subprocess.Popen([sys.executable, "-c", HALTED, bench.installation, SOCKET, handle.id])
    try:
        assert bench.end_of(handle).exit_code == 0
        assert Path(f"/proc/{halted.pid}/stat").read_text().split(")")[1].split()[0] == "T"
    finally:
        halted.kill()
        halted.wait()


def test_a_run_that_is_found_running_is_read_from_its_beginning(bench: Bench):
    watched(bench)
    handle = bench.start(bench.shell("echo one; echo err >&2; sleep 1; echo two; sleep 1; printf three"))
    sink = Sink()
    collected = bench.executor.collect(handle, sink)
    wait_for(lambda: b"one\n" in sink.of("stdout"), "what was written before")
    assert bench.status(handle).state is State.RUNNING
    bench.end_of(handle)
    assert collected.complete() == ""
    assert (sink.of("stdout"), sink.of("stderr"), sink.gaps) == (b"one\ntwo\nthree", b"err\n", 0)


def test_of_a_run_that_is_found_running_what_docker_dropped_is_told(bench: Bench):
    watched(bench)
    script = f"echo first; yes {LINE.decode().strip()} | head -n 12000; echo last; sleep 60"
    handle = bench.start(bench.spec("sh", "-c", script, max_log=1024))
    wait_for(lambda: bench.output(handle)["stdout"].endswith(b"last\n"), "all of it")
    sink = Sink()
    collected = bench.executor.collect(handle, sink)
    wait_for(lambda: sink.of("stdout").endswith(b"last\n"), "the end of it")
    bench.executor.stop(handle, 0)
    bench.end_of(handle)
    assert collected.complete() == collecting.WORDS_GAPS
    assert sink.of("stdout").startswith(b"<gap>")
    assert sink.gaps == 1


def test_a_run_that_is_found_running_keeps_its_beginning_though_docker_drops_it_later(bench: Bench):
    watched(bench)
    part = f"yes {LINE.decode().strip()} | head -n 1500; sleep 3;"
    handle = bench.start(bench.spec("sh", "-c", f"echo first; sleep 3; {part * 6} echo last", max_log=1024))
    sink = Sink()
    collected = bench.executor.collect(handle, sink)
    bench.end_of(handle)
    assert collected.complete() == ""
    assert sink.of("stdout") == b"first\n" + LINE * 9000 + b"last\n"
    assert not bench.output(handle)["stdout"].startswith(b"first")


def test_a_link_that_is_cut_in_the_middle_costs_nothing(server: Sshd, engine: docker.APIClient, image: str):
    bench = watched(server.bench(image))
    try:
        handle, sink, collected = begin(
            bench, bench.shell("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; sleep 2; echo last")
        )
        wait_for(lambda: b"line 1000\n" in sink.of("stdout"), "a thousand lines")
        server.cut()
        wait_for(lambda: _answers(bench), "another link")
        bench.end_of(handle)
        assert collected.complete() == ""
        assert sink.of("stdout") == b"".join(b"line %d\n" % number for number in range(3000)) + b"last\n"
        assert sink.gaps == 0
    finally:
        bench.clear()


def _answers(bench: Bench) -> bool:
    try:
        return bench.executor.check().ok
    except ExecutorError:
        return False


def test_an_engine_that_was_killed_and_left_its_runs_is_told(own_bench):
    engine, bench = own_bench("--live-restore")
    handle, sink, collected = begin(bench, bench.shell("echo one; sleep 6; echo two; exit 3"))
    wait_for(lambda: sink.of("stdout") == b"one\n", "the first line")
    engine.kill()
    wait_for(lambda: not bench.executor._session(), "the loss to be noticed")
    with pytest.raises(RegionUnavailable):
        collected.complete()
    engine.start()
    wait_for(lambda: _answers(bench), "the engine")
    assert bench.end_of(handle).exit_code == 3
    assert collected.complete() == collecting.WORDS_AWAY
    assert sink.of("stdout") == b"one\ntwo\n"


def test_an_engine_that_was_killed_with_its_runs_is_told(own_bench):
    engine, bench = own_bench()
    handle, sink, collected = begin(bench, bench.shell("while :; do echo here; sleep 0.1; done"))
    wait_for(lambda: sink.size > 20, "some lines")
    engine.kill()
    engine.start()
    wait_for(lambda: _answers(bench), "the engine")
    bench.end_of(handle)
    assert collecting.WORDS_AWAY in collected.complete()
    assert sink.of("stdout").startswith(b"here\n" * 4)


def test_an_engine_that_was_stopped_in_order_is_told_of_what_ran_on(own_bench):
    engine, bench = own_bench("--live-restore")
    handle, sink, collected = begin(bench, bench.shell("echo one; sleep 5; echo two"))
    wait_for(lambda: sink.of("stdout") == b"one\n", "the first line")
    engine.stop()
    engine.start()
    wait_for(lambda: _answers(bench), "the engine")
    bench.end_of(handle)
    assert collected.complete() == collecting.WORDS_AWAY
    assert sink.of("stdout") == b"one\ntwo\n"


def test_what_is_gone_before_its_start_is_told_as_gone(bench: Bench):
    handle = bench.create(bench.shell("echo one"))
    bench.executor.remove(handle, True)
    bench.executor._never_started.add(handle.id)
    with pytest.raises(HandleGone):
        bench.executor.collect(handle, Sink())


def test_what_is_gone_cannot_be_completed(bench: Bench):
    watched(bench)
    handle = bench.start(bench.shell("echo one; sleep 60"))
    collected = bench.executor.collect(handle, Sink())
    bench.executor.remove(handle, True)
    with pytest.raises(HandleGone):
        collected.complete()
