"""Fixtures for all tests: a loop that leaves nothing behind, and the real services of tests/services.py."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from jobd.store.db.database import Database
from tests.registries import Registry, registry_in
from tests.services import ReusedPostgres, fresh_postgres, imported_busybox, require


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


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the newest schema, to be copied: much quicker than to migrate one for each test."""
    path = tmp_path_factory.mktemp("template") / "jobd.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[str]:
    """The name of a database of the newest schema, to be copied."""
    with fresh_postgres() as url:
        _migrate(url)
        yield url.rpartition("/")[2]


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'jobd.db')}"


@pytest.fixture(scope="session")
def reused_postgres(postgres_template: str) -> Iterator[ReusedPostgres]:
    with fresh_postgres(postgres_template) as url:
        yield ReusedPostgres(url)


@pytest.fixture
def postgres_url(reused_postgres: ReusedPostgres) -> Iterator[str]:
    yield reused_postgres.url
    reused_postgres.empty()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database of each kind in turn, of the newest schema and without rows."""
    return request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param])


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind in turn, without a schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with fresh_postgres() as url:
        yield url


def _migrate(url: str) -> None:
    opened = Database(url)
    opened.migrate()
    opened.close()


@pytest.fixture(scope="session")
def docker_socket() -> str:
    """`unix:///…` of the engine; others may use it too, so a test removes what it made and nothing else."""
    return require("docker")


@pytest.fixture(scope="session")
def busybox_image(docker_socket: str) -> Iterator[str]:
    with imported_busybox(docker_socket) as name:
        yield name


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry_in(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what failed before pytest began, so that the end of the output tells all of it."""
    for part in os.environ.get("JOBD_TEST_FAILED", "").splitlines():
        terminalreporter.write_line(f"FAILED {part}", red=True)
