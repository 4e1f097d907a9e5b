"""What benches work on: the services of tests/services.py, real daemons, and engines in this process."""

import asyncio
import contextlib
import gc
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import docker

from jobd import config, plugins
from jobd.config import Settings
from jobd.engine.engine import Engine
from jobd.engine.leases import Lease
from jobd.store import daemons
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from jobd.store.people import accounts
from jobd.store.people.accounts import Caller
from tests.bench.scale import Scale
from tests.e2e.daemon import Daemon
from tests.services import fresh_postgres, imported_busybox, require

DATABASES = ("SQLite", "PostgreSQL")
DRY_RUN = "executor = dry-run\nmax_running = 2000"
OWNER = "jobd.bench"
"""Label of a bench's network: the process whose it is."""


@dataclass
class World:
    """One run's services, each had when it is first asked for and gone with `close`."""

    scale: Scale
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="jobd-bench.", dir="/var/tmp")))
    _open: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Whatever a bench that was stopped half-way has left goes, too: its containers with its network."""
        try:
            self._open.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    @cached_property
    def docker_socket(self) -> str:
        return require("docker")

    @cached_property
    def engine(self) -> docker.APIClient:
        """docker-py as the floors use it."""
        return self._open.enter_context(
            contextlib.closing(docker.APIClient(self.docker_socket, version="auto", max_pool_size=32))
        )

    @cached_property
    def image(self) -> str:
        return self._open.enter_context(imported_busybox(self.docker_socket))

    @cached_property
    def network(self) -> str:
        """A network as jobd makes its own, under a name that nobody else uses."""
        name = f"jobd-bench-{uuid.uuid4().hex[:12]}"
        quiet = {"com.docker.network.bridge.enable_icc": "false"}
        _clear_networks(self.engine)
        self.engine.create_network(name, driver="bridge", options=quiet, labels={OWNER: str(os.getpid())})
        self._open.callback(_clear_network, self.engine, name)
        return name

    @contextmanager
    def database_url(self, kind: str) -> Iterator[str]:
        """An empty database of a kind."""
        if kind == "PostgreSQL":
            with fresh_postgres() as url:
                yield url
        else:
            yield f"sqlite:///{self.new_folder() / 'jobd.db'}"

    @contextmanager
    def database(self, kind: str) -> Iterator[tuple[str, Database]]:
        """An empty database with jobd's schema, and its URL."""
        with self.database_url(kind) as url:
            database = Database(url)
            database.migrate()
            try:
                yield url, database
            finally:
                database.close()

    @contextmanager
    def daemon(self, sections: dict[str, str] | None = None, url: str | None = None) -> Iterator[Daemon]:
        """A started `jobd serve` with a dry-run region, on SQLite unless a URL is named."""
        given = {"region:BEIJING1": DRY_RUN, **(sections or {})}
        if url is not None:
            given["database"] = f"url = {url}"
        made = Daemon(self.new_folder(), given)
        made.start()
        try:
            yield made
        finally:
            made.stop()

    def docker_region(self, max_running: int) -> str:
        return (
            f"executor = docker\nsocket = {self.docker_socket}\nnetwork = {self.network}\nmax_running = {max_running}"
        )

    def new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


class WatchedEngine(Engine):
    """An engine that says when it is told of execs."""

    on_created: Callable[[list[Exec]], None] = staticmethod(lambda rows: None)

    def exec_created(self, rows: Iterable[Exec]) -> None:
        told = list(rows)
        self.on_created(told)
        super().exec_created(told)


@asynccontextmanager
async def running_engine(
    world: World, database: Database, regions: dict[str, str]
) -> AsyncIterator[tuple[WatchedEngine, Settings]]:
    """An engine in this process, serving these regions, all of them open."""
    folder = world.new_folder()
    ini = folder / "jobd.ini"
    sections = {"jobd": f"data_dir = {folder}\ndefault_region = {next(iter(regions))}"}
    sections |= {f"region:{name}": text for name, text in regions.items()}
    ini.write_text("".join(f"[{name}]\n{text}\n" for name, text in sections.items()))
    manager = plugins.build()
    kinds = plugins.executor_kinds(manager)
    settings = config.load(ini, kinds, {})
    installation = database.read_sync(daemons.installation)
    executors = plugins.build_executors(kinds, settings, installation)
    lease = Lease(database, uuid.uuid4().hex, settings.scheduler.lease)
    # As in `jobd serve`: what imports have made is not looked through for garbage.
    gc.freeze()
    engine = WatchedEngine(database, settings, manager, executors, installation, lease, lambda: None)
    await engine.start()
    try:
        while any(region.outage is not None for region in engine.regions.values()):
            await asyncio.sleep(0.01)
        yield engine, settings
    finally:
        await engine.stop()


def _clear_networks(engine: docker.APIClient) -> None:
    """Remove what killed benches have left."""
    for network in engine.networks(filters={"label": OWNER}):
        if not Path("/proc", network["Labels"][OWNER]).exists():
            _clear_network(engine, network["Name"], patience=2.0)


def _clear_network(engine: docker.APIClient, network: str, patience: float = 30.0) -> None:
    """Remove a network and the containers in it, also those that are still being started; by its name, since what was
    never started does not know its id. One whose endpoints the engine has lost count of stays, in nobody's way.
    """
    until = time.monotonic() + patience
    while True:
        for container in engine.containers(all=True, filters={"network": network}):
            with contextlib.suppress(docker.errors.APIError):  # its own daemon may be about to remove it
                engine.remove_container(container["Id"], force=True, v=True)
        try:
            engine.remove_network(network)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            if time.monotonic() > until:
                print(f"the network {network} stays: {error.explanation}", file=sys.stderr)
                return
            time.sleep(0.5)
        else:
            return


def new_caller(database: Database, name: str = "bench") -> Caller:
    return accounts.caller_of(database.write_sync(accounts.create_user, name))
