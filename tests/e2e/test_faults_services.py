"""What jobd stands on goes away in the middle of a run: database, disk, engine, container, image."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.daemon import Daemon
from tests.e2e.ledger import Ledger, StartWatch
from tests.e2e.postgres import Cluster, own_postgres
from tests.engines import OwnEngine, import_busybox, started_engine
from tests.services import missing, require

LINES = 2000
OUTPUT = b"".join(b"%d\n" % number for number in range(1, LINES + 1))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with own_postgres() as cluster:
        yield cluster


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def start(daemon: Daemon, ledger: Ledger, image: str, body: str) -> dict[str, Any]:
    """An exec that runs: its container has written its start."""
    repo, tag = image.rsplit(":", 1)
    values = {"docker_image_repo": repo, "docker_image_tag": tag, "command": ledger.command(body)}
    running = daemon.reached(daemon.trigger(daemon.create_job(mounts=ledger.mounts, **values)), "R")
    daemon.eventually(lambda: ledger.count("start")[running["id"]], "the program's first line")
    return running


def ran_once(ledger: Ledger, ended: dict[str, Any], ends: int = 1) -> bool:
    return (ledger.count("start")[ended["id"]], ledger.count("end")[ended["id"]]) == (1, ends)


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_a_run_ends_as_it_should_when_postgresql_crashed_meanwhile(
    make_daemon: MakeDaemon, cluster: Cluster, ledger: Ledger, busybox_image: str, how: str
) -> None:
    daemon = make_daemon({"database": f"url = {cluster.url}", **ledger.section}).start()
    running = start(daemon, ledger, busybox_image, f"sleep 1; seq 1 {LINES}")
    if how == "kill":
        cluster.kill()
        # The end of the run falls into the outage.
        daemon.eventually(lambda: ledger.count("end")[running["id"]], "the program's last line")
        daemon.eventually(lambda: "could not be stored yet" in daemon.evidence(), "the end to meet the outage")
        assert daemon.request("GET", "/v1/jobs").status_code == 503
        cluster.start()
    else:
        cluster.restart()
    ended = daemon.ended(running)
    assert (ended["status"], ended["exit_code"]) == ("S", 0), daemon.evidence()
    assert daemon.output(ended) == OUTPUT
    assert ran_once(ledger, ended)


@pytest.fixture
def make_engine() -> Iterator[Callable[..., OwnEngine]]:
    """Starts an engine of the test's own with these options of dockerd."""
    contexts = []

    def make(*options: str) -> OwnEngine:
        context = started_engine(*options)
        contexts.append(context)
        return context.__enter__()

    yield make
    for context in contexts:
        context.__exit__(None, None, None)


def on_own_engine(make_daemon: MakeDaemon, engine: OwnEngine, ledger: Ledger) -> tuple[Daemon, str]:
    client = docker.APIClient(engine.socket, version="auto")
    image = import_busybox(client, "jobd-test")
    client.close()
    region = f"executor = docker\nsocket = {engine.socket}\nnetwork = none"
    return make_daemon({"region:BEIJING1": region, **ledger.section}).start(), image


def cleared(daemon: Daemon, engine: OwnEngine) -> bool:
    client = docker.APIClient(engine.socket, version="auto")
    try:
        return not client.containers(all=True)
    finally:
        client.close()


@pytest.mark.parametrize("how", [OwnEngine.stop, OwnEngine.kill])
def test_with_live_restore_a_run_does_not_notice_that_dockerd_restarts(
    make_daemon: MakeDaemon, make_engine: Callable[..., OwnEngine], ledger: Ledger, how: Callable[[OwnEngine], None]
) -> None:
    engine = make_engine("--live-restore")
    daemon, image = on_own_engine(make_daemon, engine, ledger)
    with StartWatch(engine.socket) as watch:
        go = ledger.folder / "go"
        body = f"until [ -e /ledger/go ]; do sleep 0.1; done; seq 1 {LINES}; exit 4"
        running = start(daemon, ledger, image, body)
        how(engine)
        daemon.eventually(lambda: "is down" in daemon.evidence(), "the outage to be noticed")
        assert daemon.call("GET", f"/v1/jobs/{running['job']['id']}/execs/{running['id']}", 200)["status"] == "R"
        engine.start()
        go.touch()
        ended = daemon.ended(running)
        assert (ended["status"], ended["exit_code"], ended["reason"]) == ("F", 4, "exit_code"), daemon.evidence()
        assert daemon.output(ended) == OUTPUT
        assert ledger.count("start")[ended["id"]] == 1
        assert watch.starts()[ended["id"]] == 1
    daemon.eventually(lambda: cleared(daemon, engine), "the container to be removed")


@pytest.mark.parametrize("how", [OwnEngine.stop, OwnEngine.kill])
def test_without_live_restore_dockerds_end_is_a_failed_run_and_no_second_one(
    make_daemon: MakeDaemon, make_engine: Callable[..., OwnEngine], ledger: Ledger, how: Callable[[OwnEngine], None]
) -> None:
    engine = make_engine()
    daemon, image = on_own_engine(make_daemon, engine, ledger)
    running = start(daemon, ledger, image, f"seq 1 {LINES}; sleep 600")
    how(engine)
    engine.start()
    ended = daemon.ended(running)
    assert ended["status"] == "F", daemon.evidence()
    assert ended["reason"] in ("exit_code", "lost")
    assert daemon.output(ended) == OUTPUT
    assert ran_once(ledger, ended, ends=0)
    daemon.eventually(lambda: cleared(daemon, engine), "the container to be removed")


def test_a_container_removed_by_somebody_else_is_a_lost_run(
    make_daemon: MakeDaemon, ledger: Ledger, busybox_image: str, engine: Any, containers_of: Callable[..., Any]
) -> None:
    daemon = make_daemon(ledger.section).start()
    running = start(daemon, ledger, busybox_image, "sleep 600")
    (container,) = containers_of(running["id"])
    engine.remove_container(container["Id"], force=True)
    ended = daemon.ended(running)
    # Killed first, it may be seen ended before it is gone.
    assert ended["status"] == "F"
    assert (ended["reason"], ended["exit_code"]) in (("lost", None), ("exit_code", 137)), daemon.evidence()
    assert ran_once(ledger, ended, ends=0)


def test_an_image_removed_under_a_run_does_not_hurt_it_and_fails_the_next(
    make_daemon: MakeDaemon, make_engine: Callable[..., OwnEngine], ledger: Ledger
) -> None:
    engine = make_engine()
    daemon, image = on_own_engine(make_daemon, engine, ledger)
    running = start(daemon, ledger, image, f"until [ -e /ledger/go ]; do sleep 0.1; done; seq 1 {LINES}")
    client = docker.APIClient(engine.socket, version="auto")
    client.remove_image(image, force=True)
    client.close()
    (ledger.folder / "go").touch()
    ended = daemon.ended(running)
    assert ended["status"] == "S", daemon.evidence()
    assert daemon.output(ended) == OUTPUT
    job = {"id": ended["job"]["id"]}
    daemon.call("PUT", f"/v1/jobs/{job['id']}", 200, json={"pull_policy": "never"})
    second = daemon.ended(daemon.trigger(job))
    assert (second["status"], second["reason"]) == ("F", "image_not_found"), daemon.evidence()
    assert ledger.count("start")[second["id"]] == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The data folder of the daemon `small`, on a file system of 4 MB."""
    if os.geteuid() != 0:
        missing("root, to mount a file system")
    folder = tmp_path / "small" / "var"
    folder.mkdir(parents=True)
    subprocess.run([require("mount"), "-t", "tmpfs", "-o", "size=4m", "jobd-test", folder], check=True)
    yield folder
    subprocess.run([require("umount"), "--lazy", folder], check=True)


def test_a_full_disk_delays_an_end_and_loses_nothing(
    make_daemon: MakeDaemon, small_disk: Path, ledger: Ledger, busybox_image: str, containers_of: Callable[..., Any]
) -> None:
    daemon = make_daemon(ledger.section, folder="small").start()
    wait = "until [ -e /ledger/go ]; do sleep 0.1; done"
    running = start(daemon, ledger, busybox_image, f"{wait}; seq 1 {LINES}")
    ballast = small_disk / "ballast"
    fill(ballast)
    (ledger.folder / "go").touch()
    daemon.eventually(lambda: "could not be stored yet" in daemon.evidence(), "the end to meet the full disk")
    job = running["job"]["id"]
    refused = daemon.request("POST", f"/v1/jobs/{job}/execs", json={})
    assert refused.status_code == 503, refused.text
    assert containers_of(running["id"]), "what is not stored yet must not be removed"
    ballast.unlink()
    ended = daemon.ended(running)
    assert (ended["status"], ended["exit_code"]) == ("S", 0), daemon.evidence()
    assert daemon.output(ended) == OUTPUT
    assert ran_once(ledger, ended)
    daemon.eventually(lambda: not containers_of(running["id"]), "the container to be removed")
    assert daemon.call("GET", f"/v1/jobs/{job}/execs", 200)["count"] == 1
    assert daemon.stop(signal.SIGTERM) == 0


def fill(file: Path) -> None:
    """Until the file system has not a block left."""
    with file.open("wb", buffering=0) as out:
        try:
            while out.write(bytes(4096)):
                pass
        except OSError:
            return
