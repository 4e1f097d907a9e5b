"""The engine without containers: dry-run execs from `W` to `S`, against the same rows written by hand."""

import asyncio
import queue
import sqlite3
import threading
import time
import uuid
from contextlib import closing
from typing import Any

import psycopg2

from jobd.output import run_log
from jobd.store import execs, jobs
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from tests.bench.measure import Figure, at_least, by_rounds, interleaved
from tests.bench.rows import JOB
from tests.bench.world import DATABASES, DRY_RUN, World, new_caller, running_engine

CONNECTIONS = 8
"""As many as jobd has by default; SQLite lets one write at a time."""
ROOM = 1_000_000


def engine_rate(world: World) -> list[Figure]:
    return [_rate(world, kind) for kind in DATABASES]


def _rate(world: World, kind: str) -> Figure:
    count = world.scale.engine_execs
    with world.database(kind) as (url, database):
        caller = new_caller(database)
        job = database.write_sync(jobs.create, caller, JOB)
        pairs = interleaved(
            world.scale.rounds,
            lambda: asyncio.run(_through_jobd(world, database, caller, job.id, count)),
            lambda: _by_hand(url, job.id, count),
        )
    return by_rounds("engine-rate", kind, "/s", pairs, at_least(0.5))


async def _through_jobd(world: World, database: Database, caller: Any, job_id: int, count: int) -> float:
    """Execs a second, made one by one by as many at a time as there are connections."""
    async with running_engine(world, database, {"DRYRUN": DRY_RUN}) as (engine, _):
        left = iter(range(count))

        async def create() -> None:
            for _ in left:
                engine.exec_created([await database.write(execs.create, caller, job_id, {}, ROOM)])

        began = time.perf_counter()
        await asyncio.gather(*(create() for _ in range(CONNECTIONS)))
        while await database.read(Exec.select().where(Exec.status << ("W", "R")).count):
            await asyncio.sleep(0.02)
        return count / (time.perf_counter() - began)


INSERT = (
    "INSERT INTO execs (id, job_id, namespace, region_name, status, trigger_mode, created_by, created_at, command, "
    "docker_image_repo, docker_image_tag, resource_size, runtime_vars, pull_policy, labels, mounts, timeout, "
    "max_retries, retry_delay, attempt, log_bytes, term, holds_slot, replaces, pulled) VALUES "
    "(%s, %s, 'bench', 'DRYRUN', 'W', 'M', 'bench', %s, 'true', 'index.example.com/team/nightly', 'latest', 'XXS', "
    "'{\"DB_HOST\": \"localhost\"}', 'if_not_present', '{\"team\": \"bench\"}', '[]', 60, 0, 10, 1, 0, 0, false, "
    "false, false) RETURNING seq"
)
CLAIM = "UPDATE execs SET owner = %s, term = term + 1, holds_slot = true, handle = %s WHERE seq = %s AND status = 'W'"
RUN = "UPDATE execs SET status = 'R', started_at = %s WHERE seq = %s AND status = 'W' AND owner = %s AND term = 1"
END = (
    "UPDATE execs SET status = 'S', ended_at = %s, exit_code = 0, log_bytes = %s, owner = NULL, holds_slot = false "
    "WHERE seq = %s AND status = 'R' AND owner = %s AND term = 1"
)
LOG = "INSERT INTO exec_logs (exec_seq, frames) VALUES (%s, %s)"


def _by_hand(url: str, job_id: int, count: int) -> float:
    """Execs a second: of each exec its insert, its claim with the handle, its start, and its end with the log, each
    committed before the next, over as many connections as jobd has.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(count):
        todo.put(number)
    is_sqlite = url.startswith("sqlite:")
    threads = [
        threading.Thread(target=_work, args=(url, is_sqlite, job_id, todo))
        for _ in range(1 if is_sqlite else CONNECTIONS)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - began)


def _work(url: str, is_sqlite: bool, job_id: int, todo: "queue.SimpleQueue[int]") -> None:
    with closing(_sqlite(url) if is_sqlite else psycopg2.connect(url)) as connection:
        cursor = connection.cursor()

        def step(statement: str, *parameters: Any) -> None:
            cursor.execute(statement.replace("%s", "?") if is_sqlite else statement, parameters)

        while True:
            try:
                todo.get_nowait()
            except queue.Empty:
                return
            _one(step, cursor, connection, job_id)


def _one(step: Any, cursor: Any, connection: Any, job_id: int) -> None:
    step(INSERT, str(uuid.uuid4()), job_id, _now())
    seq = cursor.fetchone()[0]
    connection.commit()
    step(CLAIM, "bench", uuid.uuid4().hex, seq)
    connection.commit()
    step(RUN, _now(), seq, "bench")
    connection.commit()
    kept = run_log.keep([], 1000)
    step(END, _now(), kept.size, seq, "bench")
    step(LOG, seq, kept.frames)
    connection.commit()


def _sqlite(url: str) -> sqlite3.Connection:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _now() -> int:
    return time.time_ns() // 1000
