"""A region behind SSH whose connections are cut, or whose network is gone for a while, while runs come and go."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.daemon import Daemon
from tests.e2e.ledger import Ledger, StartWatch
from tests.e2e.pair import BODY, OUTPUT
from tests.e2e.wire import Wire, laid_wire
from tests.plugins.sshd import Sshd

RUNS = 8
CUT_EVERY = 0.4
"""Seconds: about as long as a run takes from its claim to its start."""
OUTAGE = 30.0
"""Seconds."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = Sshd(folder).start()
    yield server
    server.stop()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def daemon(make_daemon: MakeDaemon, server: Sshd, ledger: Ledger) -> Daemon:
    return make_daemon(region_at(server, ledger)).start()


def region_at(server: Sshd, ledger: Ledger) -> dict[str, str]:
    """The sections of a daemon whose region is behind that server."""
    options = server.options(keepalive=1, connect_timeout=2, network="none").model_dump(
        include={"host", "identity_file", "known_hosts", "socket", "keepalive", "connect_timeout", "network"}
    )
    region = "".join(f"\n{key} = {value}" for key, value in options.items())
    return {"region:BEIJING1": f"executor = docker-ssh{region}", **ledger.section}


def job(daemon: Daemon, ledger: Ledger, image: str, body: str) -> dict[str, Any]:
    repo, tag = image.rsplit(":", 1)
    values = {"docker_image_repo": repo, "docker_image_tag": tag, "command": ledger.command(body)}
    return daemon.create_job(mounts=ledger.mounts, **values)


def test_connections_that_are_cut_again_and_again_start_nothing_twice_and_lose_nothing(
    daemon: Daemon,
    server: Sshd,
    ledger: Ledger,
    docker_socket: str,
    busybox_image: str,
    containers_of: Callable[[str], list[dict[str, Any]]],
) -> None:
    over = threading.Event()

    def cut() -> None:
        while not over.wait(CUT_EVERY):
            server.cut()

    cutting = threading.Thread(target=cut)
    with StartWatch(docker_socket) as watch:
        wanted = job(daemon, ledger, busybox_image, f"sleep 1; {BODY}")
        cutting.start()
        try:
            triggered = [daemon.trigger(wanted) for _ in range(RUNS)]
            daemon.eventually(lambda: ledger.count("end"), "a run to come through")
        finally:
            over.set()
            cutting.join()
        ended = [daemon.ended(one) for one in triggered]
        for one in ended:
            assert (one["status"], one["reason"]) in (("S", None), ("F", "lost")), (one, daemon.evidence())
            assert watch.starts()[one["id"]] <= 1
            assert ledger.count("start")[one["id"]] <= 1
            if one["status"] == "S":
                assert ledger.count("end")[one["id"]] == 1
                assert daemon.output(one) == OUTPUT
    assert any(one["status"] == "S" for one in ended), ended
    for one in ended:
        daemon.eventually(lambda one=one: not containers_of(one["id"]), "its container to be removed")


@pytest.fixture
def wire() -> Iterator[Wire]:
    with laid_wire() as wire:
        yield wire


@pytest.fixture
def far_daemon(make_daemon: MakeDaemon, wire: Wire, ledger: Ledger, tmp_path: Path) -> Iterator[Daemon]:
    """One whose engine is at the other end of the wire."""
    folder = tmp_path / "far"
    folder.mkdir()
    server = Sshd(folder, address=wire.address, enter=wire.enter).start()
    yield make_daemon(region_at(server, ledger)).start()
    server.stop()


def test_a_run_goes_on_while_the_network_is_gone_for_half_a_minute(
    far_daemon: Daemon,
    wire: Wire,
    ledger: Ledger,
    docker_socket: str,
    busybox_image: str,
    containers_of: Callable[[str], list[dict[str, Any]]],
) -> None:
    daemon = far_daemon
    with StartWatch(docker_socket) as watch:
        body = f"until [ -e /ledger/go ]; do sleep 0.1; done; {BODY}; exit 4"
        wanted = job(daemon, ledger, busybox_image, body)
        running = daemon.reached(daemon.trigger(wanted), "R")
        wire.pull()
        mended_at = time.monotonic() + OUTAGE
        waiting = daemon.trigger(wanted)
        daemon.eventually(lambda: "is down: Docker at ssh://" in daemon.evidence(), "the outage to be noticed")
        # The end of the run falls into the outage.
        (ledger.folder / "go").touch()
        daemon.eventually(lambda: daemon.reached(running, "R")["message"], "the run to say why nothing is known of it")
        assert daemon.reached(waiting, "W")["started_at"] is None
        time.sleep(max(0.0, mended_at - time.monotonic()))
        wire.mend()
        for one in (running, waiting):
            ended = daemon.ended(one)
            assert (ended["status"], ended["exit_code"], ended["reason"]) == ("F", 4, "exit_code"), daemon.evidence()
            assert daemon.output(ended) == OUTPUT
            assert (watch.wait_for(one["id"]), ledger.count("start")[one["id"]]) == (1, 1)
            daemon.eventually(lambda one=one: not containers_of(one["id"]), "its container to be removed")
