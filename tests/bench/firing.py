"""Schedules by the million on PostgreSQL: firing what is due, being on time, and being idle."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from uuid import uuid4

import psycopg2
from psycopg2.extras import execute_values

from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, Job
from jobd.store.queue import due_slots
from jobd.store.queue.due_slots import Rules
from tests.bench.measure import Figure, alone, at_least, at_most, by_rounds, interleaved, percentile
from tests.bench.rows import add_schedules, micros
from tests.bench.world import DRY_RUN, World, running_engine
from tests.e2e.daemon import Daemon

RULES = Rules(late_after=60, waiting_per_namespace=10_000)
PER_TRANSACTION = 1000
"""Jobs that the floor claims at once."""
HOUR = timedelta(hours=1)
LEAD = timedelta(seconds=2)
"""Time to write all schedules before the first of them is due."""
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def schedules(world: World, count: int) -> Iterator[tuple[str, Database]]:
    """A database with that many active schedules, none of which comes due soon."""
    with world.database("PostgreSQL") as (url, database):
        add_schedules(url, count, datetime.now(UTC).replace(microsecond=0) + timedelta(days=1))
        yield url, database


def fire_rate(world: World) -> list[Figure]:
    count = world.scale.due
    with schedules(world, world.scale.schedules) as (url, database):

        def measured(fire: Callable[[], int]) -> float:
            _make_due(url, count)
            began = time.perf_counter()
            fired = fire()
            took = time.perf_counter() - began
            assert fired == count, f"{fired} of {count} slots fired"
            _forget(url)
            return count / took

        pairs = interleaved(
            world.scale.rounds,
            lambda: measured(lambda: _fire_through_jobd(database)),
            lambda: measured(lambda: _fire_by_hand(url)),
        )
    what = f"{count:,} due among {world.scale.schedules:,}"
    return [by_rounds("fire-rate", what, "/s", pairs, at_least(0.6))]


def _make_due(url: str, count: int) -> None:
    """Slots spread over the last ten seconds, as they would be found after a pause."""
    at = micros(datetime.now(UTC))
    _execute(
        url,
        "UPDATE jobs SET next_fire_at = %s - id %% 10000000, schedule_anchor = %s - id %% 10000000 WHERE id <= %s",
        (at - 1000, at - 1000, count),
    )
    _execute(url, "VACUUM jobs")


def _forget(url: str) -> None:
    _execute(url, "TRUNCATE execs")


def _execute(url: str, statement: str, parameters: tuple[Any, ...] = ()) -> None:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)


def _fire_through_jobd(database: Database) -> int:
    fired, more = 0, True
    quota = None
    while more:
        scan = database.write_sync(due_slots.fire_due, RULES, quota)
        fired, more, quota = fired + len(scan.execs), scan.more, scan.quota
    return fired


CLAIM = (
    "SELECT id, namespace, region_name, created_by, command, docker_image_repo, docker_image_tag, resource_size, "
    "runtime_vars, pull_policy, labels, mounts, timeout, max_retries, retry_delay, next_fire_at FROM jobs "
    "WHERE next_fire_at <= %s AND deleted_at IS NULL ORDER BY next_fire_at LIMIT %s FOR UPDATE SKIP LOCKED"
)
INSERT = (
    "INSERT INTO execs (id, job_id, namespace, region_name, created_by, command, docker_image_repo, docker_image_tag, "
    "resource_size, runtime_vars, pull_policy, labels, mounts, timeout, max_retries, retry_delay, scheduled_for, "
    "created_at, status, trigger_mode, attempt, log_bytes, term, holds_slot, replaces, pulled) VALUES %s "
    "ON CONFLICT DO NOTHING"
)
ROW = (
    "(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s::jsonb, %s::jsonb, %s, %s, %s, %s, %s, "
    "'W', 'S', 1, 0, 0, false, false, false)"
)
NEXT = "UPDATE jobs SET next_fire_at = v.at FROM (VALUES %s) AS v (id, at) WHERE jobs.id = v.id"


def _fire_by_hand(url: str) -> int:
    """Claim, insert, and move on to next times that cost nothing to know."""
    fired, hour = 0, HOUR // timedelta(microseconds=1)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        psycopg2.extras.register_default_jsonb(cursor, loads=lambda text: text)
        while True:
            at = micros(datetime.now(UTC))
            cursor.execute(CLAIM, (at, PER_TRANSACTION))
            due = cursor.fetchall()
            if due:
                execute_values(
                    cursor,
                    INSERT,
                    [(str(uuid4()), job, name, region, *rest, at) for job, name, region, *rest in due],
                    template=ROW,
                    page_size=PER_TRANSACTION,
                )
                execute_values(cursor, NEXT, [(row[0], row[-1] + hour) for row in due], page_size=PER_TRANSACTION)
            connection.commit()
            fired += len(due)
            if len(due) < PER_TRANSACTION:
                return fired


def fire_lateness(world: World) -> list[Figure]:
    """Jobs every second, their instants spread over it, each told of once its exec is committed."""
    scale = world.scale
    with schedules(world, scale.schedules) as (_, database):
        told, ran = asyncio.run(_lateness(world, database, scale.late_jobs, scale.late_seconds))
    jobs = f"{scale.late_jobs:,} jobs a second among {scale.schedules:,}"
    p99 = percentile(0.99)
    return [
        alone("fire-lateness", f"{jobs}, p50", "ms", told, at_most(10)),
        alone("fire-lateness", f"{jobs}, p99", "ms", told, at_most(50), p99),
        alone("fire-lateness", f"{jobs}, started, p50", "ms", ran),
        alone("fire-lateness", f"{jobs}, started, p99", "ms", ran, statistic=p99),
    ]


async def _lateness(world: World, database: Database, jobs: int, seconds: int) -> tuple[list[float], list[float]]:
    """Milliseconds from each due instant until its exec was committed, and until it was started."""
    told: list[float] = []

    def note(rows: list[Exec]) -> None:
        at = datetime.now(UTC)
        told.extend(_ms(at - row.scheduled_for) for row in rows)

    async with running_engine(world, database, {"DRYRUN": DRY_RUN}) as (engine, _):
        engine.on_created = note
        await database.write(_every_second, jobs)
        await asyncio.sleep(LEAD.total_seconds() + seconds)
        await database.write(Job.update(next_fire_at=None).where(Job.id <= jobs).execute)
        started = await database.read(
            lambda: list(
                Exec.select(Exec.scheduled_for, Exec.started_at).where(Exec.started_at.is_null(False)).tuples()
            )
        )
    return told, [_ms(at - due) for due, at in started]


def _every_second(jobs: int) -> None:
    first = datetime.now(UTC) + LEAD
    for number in range(jobs):
        at = first + timedelta(seconds=1) * number / jobs
        Job.update(schedule_mode="R/PT1S", schedule_anchor=at, next_fire_at=at).where(Job.id == number + 1).execute()


def _ms(time: timedelta) -> float:
    return time.total_seconds() * 1000


def idle(world: World) -> list[Figure]:
    few, many = 1000 if world.scale.schedules > 1000 else 10, world.scale.schedules
    with schedules(world, few) as (url, database):
        small = _scans(world, url, database)
        _, few_memory = _rest(world, url, world.scale.idle_seconds)
    with schedules(world, many) as (url, database):
        large = _scans(world, url, database)
        cpu, memory = _rest(world, url, world.scale.idle_seconds)
    growth = [(of_many, of_few) for (of_many, _), (of_few, _) in zip(large, small, strict=True)]
    return [
        by_rounds("idle", f"one scan of {many:,}", "ms", large, at_most(3)),
        by_rounds("idle", f"one scan of {many:,}, against {few:,}", "ms", growth, at_most(1.5)),
        alone("idle", f"memory with {many:,}", "MB", [memory], at_most(120)),
        alone("idle", f"memory with {few:,}", "MB", [few_memory], at_most(120)),
        alone("idle", f"processor with {many:,}", "%", [cpu]),
    ]


def _scans(world: World, url: str, database: Database) -> list[tuple[float, float]]:
    """Milliseconds of one scan that finds nothing, and of the one look-up that tells so, in medians."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:

        def look_up() -> None:
            cursor.execute("SELECT next_fire_at FROM jobs WHERE next_fire_at IS NOT NULL ORDER BY next_fire_at LIMIT 1")
            cursor.fetchone()
            connection.commit()

        return interleaved(
            world.scale.rounds,
            lambda: median_ms(world.scale.looks, lambda: database.write_sync(due_slots.fire_due, RULES)),
            lambda: median_ms(world.scale.looks, look_up),
        )


def median_ms(looks: int, work: Callable[[], object]) -> float:
    """Milliseconds that some short work takes."""
    took = []
    for _ in range(looks):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return median(took)


def _rest(world: World, url: str, seconds: float) -> tuple[float, float]:
    """Percent of one processor and megabytes that a daemon takes that has nothing to do."""
    with world.daemon(url=url) as daemon:
        time.sleep(1)
        began, used = time.monotonic(), _processor_seconds(daemon)
        time.sleep(seconds)
        return (_processor_seconds(daemon) - used) / (time.monotonic() - began) * 100, _resident(daemon)


def _processor_seconds(daemon: Daemon) -> float:
    fields = _proc(daemon, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _resident(daemon: Daemon) -> float:
    return int(_proc(daemon, "statm").split()[1]) * PAGE / 2**20


def _proc(daemon: Daemon, name: str) -> str:
    assert daemon.process is not None
    with open(f"/proc/{daemon.process.pid}/{name}", encoding="ascii") as file:
        return file.read()
