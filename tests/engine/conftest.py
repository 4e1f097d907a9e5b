"""An engine over in-memory executors and a real database."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pluggy
import pytest

from jobd import config, hookspecs
from jobd.config import RegionSettings, Settings
from jobd.engine import engine as engine_daemon
from jobd.engine.engine import Engine
from jobd.engine.leases import Lease
from jobd.executor import Executor, Options, Region
from jobd.store import daemons, execs, jobs
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from jobd.store.people import accounts
from jobd.store.people.accounts import Caller
from tests.engine.executors import MemoryExecutor, World
from tests.store.rows import JOB, ROOM

PATIENCE = 10.0


class Bench:
    """One or several engines on one database, and what a test does with them."""

    def __init__(self, database: Database, path: Path) -> None:
        self.database = database
        self.world = World()
        self.path = path
        self.caller = accounts.caller_of(database.write_sync(accounts.create_user, "chennanfei"))
        self.engines: list[Engine] = []
        self.executors: list[Any] = []
        self.plugins = pluggy.PluginManager("jobd")
        self.plugins.add_hookspecs(hookspecs)
        self.lost_place: list[str] = []

    def settings(self, max_running: int = 32) -> Settings:
        regions = {
            name: RegionSettings(name=name, executor="memory", max_running=max_running, options=Options())
            for name in ("BEIJING1", "OTHER")
        }
        return make_settings(self.path, regions)

    def executor(self, kind: type[Executor] = MemoryExecutor, name: str = "BEIJING1") -> Any:
        installation = self.database.read_sync(daemons.installation)
        made = kind(Region(name, installation, Options()), self.world)  # type: ignore[call-arg]
        self.executors.append(made)
        return made

    async def engine(self, *executors: Executor, daemon: str = "one", length: float = 15.0, **more: Any) -> Engine:
        """A started engine that serves the regions of these executors."""
        engine = Engine(
            self.database,
            self.settings(**more),
            self.plugins,
            {executor.region.name: executor for executor in executors},
            self.database.read_sync(daemons.installation),
            Lease(self.database, daemon, length),
            lambda: self.lost_place.append(daemon),
        )
        self.engines.append(engine)
        await engine.start()
        return engine

    def job(self, **values: Any) -> Any:
        given = {**JOB, "docker_image_repo": "repo", **values}
        return self.database.write_sync(jobs.create, self.caller, given)

    async def trigger(self, engine: Engine, job: Any = None, **overrides: Any) -> Exec:
        job = job or self.job()
        row = await self.database.write(execs.create, self.caller, job.id, overrides, ROOM)
        engine.exec_created([row])
        return row

    async def stop_exec(self, engine: Engine, row: Exec) -> None:
        await self.database.write(execs.stop, self.caller, row.job_id, row.id)
        engine.stop_requested()

    async def until(self, row: Exec, *statuses: str) -> Exec:
        """The exec once it has one of these statuses."""

        async def reached() -> Exec | None:
            found = await self.database.read(Exec.get_or_none, Exec.id == row.id)
            return found if found is not None and found.status in statuses else None

        return await self.eventually(reached, f"exec {row.id} to be {statuses}")

    async def eventually(self, condition: Callable[[], Any], what: str = "it", patience: float = PATIENCE) -> Any:
        """What `condition` gives once it is true."""
        loop = asyncio.get_running_loop()
        limit = loop.time() + patience
        while loop.time() < limit:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)
        states = [(c.spec.exec_id, c.state) for c in self.world.containers.values()]
        rows = [
            (r.id, r.status, r.owner, r.term, r.handle, r.reason, r.message)
            for r in await self.database.read(lambda: list(Exec.select()))
        ]
        raise AssertionError(f"waited {patience:.0f} s for {what}; containers {states}; records {rows}")


def make_settings(path: Path, regions: dict[str, RegionSettings]) -> Settings:
    ini = path / "engine.ini"
    ini.write_text(
        "[jobd]\ndefault_region = BEIJING1\n[region:BEIJING1]\nexecutor = memory\n[scheduler]\ntick = 0.05\n"
    )
    loaded = config.load(ini, {"memory": MemoryExecutor}, {})
    return loaded.model_copy(update={"regions": regions})


@pytest.fixture
def database_class() -> type[Database]:
    return Database


@pytest.fixture
def bench(
    database_url: str,
    database_class: type[Database],
    tmp_path: Path,
    io_loop: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    monkeypatch.setattr(engine_daemon, "ASK_WITH_PUSH", 0.5)
    database = database_class(database_url)
    bench = Bench(database, tmp_path)
    yield bench
    for engine in bench.engines:
        io_loop.run_sync(engine.stop)
    database.close()


@pytest.fixture
def caller(bench: Bench) -> Caller:
    return bench.caller
