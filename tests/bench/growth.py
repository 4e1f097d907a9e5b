"""The same work at 1 x, 10 x and 100 x the records: it may grow as an index does, not as a table."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from jobd.store import execs, jobs
from jobd.store.db.database import Database
from jobd.store.db.pages import PageRequest
from jobd.store.db.tables import Exec, Job
from jobd.store.execs import ExecFilter
from jobd.store.jobs import JobFilter
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, due_slots, transitions
from tests.bench.engine_rows import ROOM
from tests.bench.firing import RULES, median_ms
from tests.bench.measure import Figure, at_most, by_rounds
from tests.bench.rows import add_ended_execs, add_jobs, add_up
from tests.bench.world import DATABASES, World, new_caller

STEPS = (1, 10, 100)


def growth(world: World) -> list[Figure]:
    figures = []
    scale = world.scale
    base = scale.growth
    # Of a tree: its height is the logarithm of its rows.
    bound = at_most(round(math.log(base * STEPS[-1]) / math.log(base), 2))
    for kind in DATABASES:
        with world.database(kind) as (_, database):
            caller = new_caller(database)
            took: dict[str, list[list[float]]] = {}
            have = 0
            for step in STEPS:
                _add(database, base * step - have)
                have = base * step
                for name, work in _works(database, caller).items():
                    took.setdefault(name, []).append([median_ms(scale.looks, work) for _ in range(scale.rounds)])
        for name, (least, _, most) in took.items():
            what = f"{name}, {base * STEPS[-1]:,} against {base:,}, {kind}"
            figures.append(by_rounds("growth", what, "ms", list(zip(most, least, strict=True)), bound))
    return figures


def _add(database: Database, rows: int) -> None:
    """Scheduled jobs that are not due, and ended execs of the first of them."""
    due = datetime.now(UTC) + timedelta(days=1)
    add_jobs(database, rows, is_schedule_active=True, schedule_mode="R/PT1H", schedule_anchor=due, next_fire_at=due)
    add_ended_execs(database, 1, rows)
    add_up(database)
    if not database.is_sqlite:
        # As PostgreSQL does by itself after a while; SQLite never does.
        database.write_sync(lambda: Job._meta.database.execute_sql("ANALYZE"))


def _works(database: Database, caller: Caller) -> dict[str, Callable[[], object]]:
    numbers = count()

    def life() -> None:
        row = database.write_sync(execs.create, caller, 2, {}, ROOM)
        (taken,) = database.write_sync(claims.claim, "bench", row.region_name, 10, 10)
        database.write_sync(transitions.end, taken, transitions.Result("S", exit_code=next(numbers) * 0), None)
        database.write_sync(Exec.delete().where(Exec.id == row.id).execute)

    behind = PageRequest(goes_on=True, after=(10**12,))
    uncounted, bounded = replace(behind, counting="none"), replace(behind, counting="bounded")
    return {
        "scan": lambda: database.write_sync(due_slots.fire_due, RULES),
        "one job": lambda: database.read_sync(jobs.get, caller, 1),
        "page of jobs": lambda: database.read_sync(jobs.listed, caller, JobFilter(), PageRequest()),
        "page of execs": lambda: database.read_sync(execs.listed, caller, ExecFilter(job=1), PageRequest()),
        "jobs by cursor": lambda: database.read_sync(jobs.listed, caller, JobFilter(), uncounted),
        "jobs by cursor, counted to 10,000": lambda: database.read_sync(jobs.listed, caller, JobFilter(), bounded),
        "jobs of a name by cursor": lambda: database.read_sync(jobs.listed, caller, JobFilter(name="none"), uncounted),
        "execs by cursor": lambda: database.read_sync(execs.listed, caller, ExecFilter(), uncounted),
        "execs by cursor, counted to 10,000": lambda: database.read_sync(execs.listed, caller, ExecFilter(), bounded),
        "failed execs by cursor": lambda: database.read_sync(execs.listed, caller, ExecFilter(status="F"), uncounted),
        "execs of a region by cursor": lambda: database.read_sync(
            execs.listed, caller, ExecFilter(region="X"), uncounted
        ),
        "execs of a time by cursor": lambda: database.read_sync(
            execs.listed, caller, ExecFilter(since=datetime.now(UTC)), uncounted
        ),
        "life of an exec": life,
    }
