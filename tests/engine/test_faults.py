"""Each single call of an exec's life fails once; the exec ends all the same, was started once, and leaves nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any

import pytest

from jobd.engine.engine import Engine
from jobd.errors import RegionUnavailable, StartFailed
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from tests.engine.conftest import Bench
from tests.engine.faults import BreakingDatabase, BreakingExecutor, Fault

pytestmark = pytest.mark.gen_test(timeout=40)

Life = Callable[[Bench, Callable[[], None]], Awaitable[Exec]]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What the engine makes of a database that breaks does not depend on its kind."""
    return sqlite_url


@pytest.fixture
def database_class() -> type[Database]:
    return BreakingDatabase


async def a_run(bench: Bench, break_it: Callable[[], None]) -> Exec:
    """An image that is pulled first, a run, its end."""
    executor, engine = await _begin(bench)
    bench.world.pullable.add("repo:new")
    break_it()
    row = await bench.trigger(engine, bench.job(timeout=None), docker_image_tag="new")
    await _reaches(bench, engine, row, "R")
    executor.end(row.id, 0, b"whole")
    ended = await _reaches(bench, engine, row, "S")
    assert ended.log_bytes == 5
    return ended


async def a_stop(bench: Bench, break_it: Callable[[], None]) -> Exec:
    _, engine = await _begin(bench)
    row = await bench.until(await bench.trigger(engine), "R")
    break_it()
    await bench.stop_exec(engine, row)
    return await _reaches(bench, engine, row, "C")


async def a_timeout(bench: Bench, break_it: Callable[[], None]) -> Exec:
    _, engine = await _begin(bench)
    row = await bench.until(await bench.trigger(engine, bench.job(timeout=1)), "R")
    break_it()
    ended = await _reaches(bench, engine, row, "F")
    assert ended.reason == "timeout"
    return ended


async def an_adoption(bench: Bench, break_it: Callable[[], None]) -> Exec:
    """The daemon is killed, and its next start meets the fault."""
    executor, engine = await _begin(bench)
    row = await bench.until(await bench.trigger(engine), "R")
    engine.abandon()
    bench.engines.remove(engine)
    executor.listeners.clear()
    executor.end(row.id, 3, b"whole")
    again = bench.executor(BreakingExecutor)
    break_it()
    engine = await bench.engine(again)
    ended = await _reaches(bench, engine, row, "F")
    assert (ended.exit_code, ended.log_bytes) == (3, 5)
    return ended


async def a_lost_start(bench: Bench, break_it: Callable[[], None]) -> Exec:
    """The connection is lost inside `start`, before it took effect; finding that out meets the fault."""
    executor, engine = await _begin(bench)
    executor.faults.append(Fault("start", "before"))
    break_it()
    row = await bench.trigger(engine)
    await _reaches(bench, engine, row, "R")
    executor.end(row.id, 0)
    return await _reaches(bench, engine, row, "S")


WRITES: dict[Life, tuple[str, ...]] = {
    a_run: ("claim", "release_capacity", "requeue", "set_handle", "set_running", "end"),
    a_stop: ("end",),
    a_timeout: ("set_timed_out", "end"),
    an_adoption: ("bind_region", "take_over", "end"),
    a_lost_start: ("requeue", "set_message"),
}
READS: dict[Life, tuple[str, ...]] = {
    a_run: ("regions_waiting",),
    a_stop: ("stops_requested",),
    an_adoption: ("owned",),
}
CALLS: dict[Life, tuple[str, ...]] = {
    a_run: ("pull", "create", "start", "statuses", "logs", "remove", "list"),
    a_stop: ("stop", "statuses", "logs", "remove"),
    a_timeout: ("stop", "statuses", "logs"),
    an_adoption: ("check", "identity", "watch", "statuses", "logs", "list"),
    a_lost_start: ("statuses", "remove", "was_started"),
}


def _cases(table: dict[Life, tuple[str, ...]], *moments: Any) -> list[Any]:
    return [
        pytest.param(life, name, *moment, id="-".join([life.__name__, name, *map(str, moment)]))
        for (life, names) in table.items()
        for name, moment in product(names, moments)
    ]


@pytest.mark.parametrize(
    ("life", "name", "moment"), [*_cases(WRITES, ("before",), ("commit",), ("after",)), *_cases(READS, ("before",))]
)
async def test_a_database_that_breaks_once_costs_no_exec(bench: Bench, life: Life, name: str, moment: str) -> None:
    database: Any = bench.database
    fault = Fault(name, moment)

    def break_it() -> None:
        database.fault = fault

    await _live(bench, life, fault, break_it)


@pytest.mark.parametrize(("life", "name", "moment"), _cases(CALLS, ("before",), ("after",)))
async def test_a_region_that_breaks_once_costs_no_exec(bench: Bench, life: Life, name: str, moment: str) -> None:
    await _break_executor(bench, life, Fault(name, moment, RegionUnavailable))


@pytest.mark.parametrize(
    ("life", "name", "error"),
    [
        *_cases({a_run: ("statuses", "remove", "list")}, (StartFailed,), (KeyError,)),
        *_cases({a_stop: ("stop", "statuses")}, (StartFailed,), (KeyError,)),
        *_cases({an_adoption: ("check", "identity", "watch", "statuses", "list")}, (StartFailed,), (KeyError,)),
        *_cases({a_lost_start: ("statuses", "remove")}, (StartFailed,), (KeyError,)),
    ],
)
async def test_an_executor_that_raises_once_what_it_should_not_costs_no_exec(
    bench: Bench, life: Life, name: str, error: type[Exception]
) -> None:
    await _break_executor(bench, life, Fault(name, "before", error))


async def _break_executor(bench: Bench, life: Life, fault: Fault) -> None:
    def break_it() -> None:
        for executor in bench.executors:
            executor.faults.append(fault)

    await _live(bench, life, fault, break_it)


async def _live(bench: Bench, life: Life, fault: Fault, break_it: Callable[[], None]) -> None:
    ended = await life(bench, break_it)

    async def cleared() -> bool:
        await asyncio.gather(*(engine.clear() for engine in bench.engines))
        forgotten = not any(engine.owns(ended.id) for engine in bench.engines)
        return fault.hit and forgotten and not bench.world.containers

    await bench.eventually(cleared, f"{fault.name} to have failed, and nothing to be left")
    assert bench.world.starts_of(ended.id) == 1


async def _begin(bench: Bench) -> tuple[BreakingExecutor, Engine]:
    executor = bench.executor(BreakingExecutor)
    engine = await bench.engine(executor)
    await bench.eventually(lambda: engine.regions["BEIJING1"].outage is None, "the region to be open")
    return executor, engine


async def _reaches(bench: Bench, engine: Engine, row: Exec, status: str) -> Exec:
    """The exec once it has this status; what is done every minute is done at once, over and over."""

    async def reached() -> Exec | None:
        await engine.clear()
        found = await bench.database.read(Exec.get_or_none, Exec.id == row.id)
        return found if found is not None and found.status == status else None

    found: Exec = await bench.eventually(reached, f"exec {row.id} to be {status}")
    return found
