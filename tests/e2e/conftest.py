"""Daemons on the real Docker, one of each database, shared by the tests of a module."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.e2e.daemon import Daemon
from tests.services import fresh_postgres

MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def make_daemon(tmp_path: Path, docker_socket: str) -> Iterator[MakeDaemon]:
    """Makes daemons that are stopped, and whose containers are removed, after the test."""
    made: list[Daemon] = []

    def make(settings: dict[str, str] | None = None, folder: str = "jobd") -> Daemon:
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        daemon = Daemon(path, {"region:BEIJING1": f"executor = docker\nsocket = {docker_socket}", **(settings or {})})
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        if daemon.process is not None:
            daemon.stop()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def daemon(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, docker_socket: str
) -> Iterator[Daemon]:
    """A running daemon for a whole module; nothing of its containers may be left when it ends."""
    settings = {"region:BEIJING1": f"executor = docker\nsocket = {docker_socket}"}
    if request.param == "sqlite":
        yield from _running(Daemon(tmp_path_factory.mktemp("jobd"), settings))
        return
    with fresh_postgres() as url:
        yield from _running(Daemon(tmp_path_factory.mktemp("jobd"), {**settings, "database": f"url = {url}"}))


def _running(daemon: Daemon) -> Iterator[Daemon]:
    try:
        yield daemon.start()
    finally:
        assert daemon.stop() == 0, daemon.evidence()


@pytest.fixture(scope="session")
def engine(docker_socket: str) -> Iterator[Any]:
    client = docker.APIClient(base_url=docker_socket)
    yield client
    client.close()


@pytest.fixture
def containers_of(engine: Any) -> Callable[[str], list[dict[str, Any]]]:
    """The containers that the engine has for an exec, in any state, as its API lists them."""
    return lambda exec_id: engine.containers(all=True, filters={"label": f"jobd.exec={exec_id}"})
