"""A connection that breaks at the worst moment, which a relay in front of the real engine makes it do."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.conformance.bench import Bench, Ends
from jobd.errors import RegionUnavailable
from jobd.executor import State
from tests.engines import SOCKET
from tests.plugins.conftest import docker_bench
from tests.services import wait_for


class Relay(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Passes on what comes until it is cut. A request that says `deaf_to` still arrives, and its answer does not."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Passage)
        self.is_cut = False
        self.deaf_to: bytes | None = None
        self.open: set[socket.socket] = set()

    def cut(self) -> None:
        self.is_cut = True
        for end in list(self.open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Passage(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        if self.server.is_cut:
            return
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(SOCKET.removeprefix("unix://"))
            self.server.open |= {self.request, engine}
            back = threading.Thread(target=self._pass, args=(engine, self.request), daemon=True)
            back.start()
            self._pass(self.request, engine)
            back.join()
            self.server.open -= {self.request, engine}

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
                if self.server.deaf_to and self.server.deaf_to in data:
                    self.server.cut()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with Relay(tmp_path / "docker.sock") as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.05,))
        thread.start()
        yield relay
        relay.shutdown()
        thread.join()


@pytest.fixture
def relayed(relay: Relay, bench: Bench) -> Iterator[Bench]:
    """Of the same installation as `bench`, which clears up after both."""
    relayed = docker_bench(bench.image, socket=f"unix://{relay.server_address}")
    relayed.installation = bench.installation
    relayed.executor.close()
    relayed.executor = relayed.build(bench.installation)
    yield relayed
    for run in bench.executor.list():
        bench.executor.remove(run.handle, True)
    relayed.executor.close()


def test_a_follower_is_told_when_the_connection_breaks(relayed: Bench, relay: Relay):
    handle = relayed.start(relayed.shell("echo one; sleep 600"))
    followed = relayed.executor.logs(handle, follow=True)
    assert next(followed).data == b"one\n"
    relay.cut()
    with pytest.raises(RegionUnavailable):
        next(followed)


def test_a_start_whose_answer_is_lost_is_neither_a_failure_nor_repeated(relayed: Bench, relay: Relay, bench: Bench):
    handle = relayed.create(relayed.shell("echo ran; sleep 600"))
    relay.deaf_to = b"/start HTTP"
    with pytest.raises(RegionUnavailable):
        relayed.executor.start(handle)
    assert bench.wait(handle, State.RUNNING)
    relay.deaf_to, relay.is_cut = None, False
    relayed.executor.start(handle)
    assert relayed.executor.was_started(handle) is True
    bench.executor.stop(handle, 5)
    assert bench.output(handle)["stdout"] == b"ran\n"


def test_a_connection_that_was_idle_while_it_broke_does_no_harm(relayed: Bench, relay: Relay):
    assert relayed.executor.check().ok
    relay.cut()
    assert not relayed.executor.check().ok
    relay.is_cut = False
    assert relayed.executor.check().ok
    assert relayed.run(relayed.shell("exit 3"))[1].exit_code == 3


def test_a_watch_tells_what_ended_while_it_was_cut_off(relayed: Bench, relay: Relay, bench: Bench):
    ends = Ends()
    handle = relayed.start(relayed.spec("sleep", "600"))
    stop = relayed.executor.watch(ends)
    wait_for(lambda: len(relay.open) > 2, "the watch is connected")
    relay.cut()
    bench.executor.stop(handle, 5)
    assert not ends.include(handle, 0.5)
    relay.is_cut = False
    assert ends.include(handle, 60)
    stop()
