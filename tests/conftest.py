"""Fixtures for all tests: a loop that leaves nothing behind, and the real services of tests/services.py."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.services import docker_registry, fresh_postgres, imported_busybox, require


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """pytest-tornado's loop, except that no task, generator or thread outlives the test."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield IOLoop(asyncio_loop=loop, make_current=False)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    with fresh_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobd.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture(scope="session")
def docker_socket() -> str:
    """`unix:///…` of the engine; others may use it too, so a test removes what it made and nothing else."""
    return require("docker")


@pytest.fixture(scope="session")
def busybox_image(docker_socket: str) -> Iterator[str]:
    with imported_busybox(docker_socket) as name:
        yield name


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what failed before pytest began, so that the end of the output tells all of it."""
    for part in os.environ.get("JOBD_TEST_FAILED", "").splitlines():
        terminalreporter.write_line(f"FAILED {part}", red=True)
