"""Many runs at once: whether threads grow with them, and how late the loop gets to what is ready."""

import asyncio
import threading
import time
from typing import Any

from jobd.store import execs, jobs
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from tests.bench.engine_rows import ROOM
from tests.bench.measure import Figure, alone, at_most, by_rounds, percentile
from tests.bench.rows import JOB
from tests.bench.world import DRY_RUN, World, new_caller, running_engine

FEW = 2
LOOK = 0.005
"""Seconds between two looks at the clock."""
WATCHED = 3.0
"""Seconds for which the loop is watched while all run."""


def many_running(world: World) -> list[Figure]:
    scale = world.scale
    dry = _measured(world, "DRYRUN", DRY_RUN, scale.running_dry, {})
    repo, _, tag = world.image.rpartition(":")
    image = {"docker_image_repo": repo, "docker_image_tag": tag}
    real = _measured(world, "BEIJING1", world.docker_region(1000), scale.running_docker, image)
    return [
        *_figures(f"{scale.running_dry:,} dry runs", *dry),
        *_figures(f"{scale.running_docker} containers", *real),
    ]


def _figures(what: str, few: int, many: int, starting: list[float], running: list[float]) -> list[Figure]:
    p99 = percentile(0.99)
    return [
        by_rounds("many-running", f"threads, {what} against {FEW}", "", [(many, few)], at_most(1)),
        alone("many-running", f"loop lag p99, {what} running", "ms", running, at_most(20), p99),
        alone("many-running", f"loop lag p99, {what} starting", "ms", starting, at_most(20), p99),
    ]


def _measured(
    world: World, region: str, text: str, count: int, image: dict[str, str]
) -> tuple[int, int, list[float], list[float]]:
    with world.database("SQLite") as (_, database):
        caller = new_caller(database)
        values = {**JOB, **image, "region_name": region, "command": "sleep 600", "timeout": 900}
        job = database.write_sync(jobs.create, caller, values)
        return asyncio.run(_run(world, database, caller, job.id, region, text, count))


async def _run(
    world: World, database: Database, caller: Any, job_id: int, region: str, text: str, count: int
) -> tuple[int, int, list[float], list[float]]:
    """Threads with few and with all running; milliseconds that the loop was late while they started, and after."""
    async with running_engine(world, database, {region: text}) as (engine, _):

        async def start(more: int, total: int) -> None:
            for _ in range(more):
                engine.exec_created([await database.write(execs.create, caller, job_id, {}, ROOM)])
            while await database.read(Exec.select().where(Exec.status == "R").count) < total:
                await asyncio.sleep(0.05)

        # Threads of the pools come with the first calls, and stay.
        await start(FEW, FEW)
        await asyncio.gather(*(database.read(time.sleep, 0.05) for _ in range(8)))
        served = engine.regions[region]
        await asyncio.gather(*(served.call(time.sleep, 0.05) for _ in range(8)))
        few = threading.active_count()
        starting = await _lag_during(start(count - FEW, count))
        many = threading.active_count()
        running = await _lag_during(asyncio.sleep(WATCHED))
        await _end_all(database, engine)
    return few, many, starting, running


async def _lag_during(work: Any) -> list[float]:
    task = asyncio.ensure_future(work)
    lags = []
    while not task.done():
        began = time.perf_counter()
        await asyncio.sleep(LOOK)
        lags.append(max(time.perf_counter() - began - LOOK, 0) * 1000)
    await task
    return lags


async def _end_all(database: Database, engine: Any) -> None:
    await database.write(execs.request_stop, Exec.status << ("W", "R"), "bench", "cancelled")
    engine.stop_requested()
    while await database.read(Exec.select().where(Exec.status << ("W", "R")).count):
        await asyncio.sleep(0.05)
