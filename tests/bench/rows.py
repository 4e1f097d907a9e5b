"""Jobs and execs by the thousand, put into a database beside jobd: what a bench finds there."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from jobd.store import tallies
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, Job

NAMESPACES = 1000
"""Over which schedules are spread."""

JOB: dict[str, Any] = {
    "name": "bench",
    "command": "true",
    "docker_image_repo": "index.example.com/team/nightly",
    "docker_image_tag": "latest",
    "resource_size": "XXS",
    "region_name": "DRYRUN",
    "runtime_vars": {"DB_HOST": "localhost"},
    "pull_policy": "if_not_present",
    "labels": {"team": "bench"},
    "mounts": [],
    "timeout": 60,
    "max_retries": 0,
    "retry_delay": 10,
    "is_schedule_active": False,
    "missed_run_policy": "run_once",
    "concurrency_policy": "allow",
}


def add_jobs(database: Database, count: int, **changes: Any) -> None:
    """`count` jobs of the namespace `bench`."""
    at = datetime.now(UTC)
    row = {**JOB, "namespace": "bench", "created_by": "bench", "created_at": at, "updated_at": at, **changes}

    def add() -> None:
        for start in range(0, count, 500):
            Job.insert_many([row] * min(500, count - start)).execute()

    database.write_sync(add)


def add_ended_execs(database: Database, job_id: int, count: int) -> None:
    """`count` execs of one job that succeeded a while ago."""
    at = datetime.now(UTC) - timedelta(hours=1)
    snapshot = ("command", "docker_image_repo", "docker_image_tag", "resource_size", "region_name", "runtime_vars")
    more = ("pull_policy", "labels", "mounts", "timeout", "max_retries", "retry_delay")
    row = {name: JOB[name] for name in (*snapshot, *more)}
    row |= {"job_id": job_id, "namespace": "bench", "created_by": "bench", "status": "S", "trigger_mode": "M"}
    row |= {"created_at": at, "started_at": at, "ended_at": at, "exit_code": 0}

    def add() -> None:
        made = Exec.select().count()
        for start in range(0, count, 400):
            batch = range(made + start, made + min(start + 400, count))
            Exec.insert_many([{**row, "id": f"{number:036d}"} for number in batch]).execute()

    database.write_sync(add)


def add_up(database: Database) -> None:
    """Count what is there, as a daemon does every minute."""
    for source in tallies.SOURCES:
        while (found := database.read_sync(tallies.candidate, source)) is not None:
            database.write_sync(tallies.fold, found)
    for job in database.read_sync(tallies.check_jobs):
        database.write_sync(tallies.mend_job, job)


def add_schedules(url: str, count: int, due_at: datetime) -> None:
    """Active schedules in PostgreSQL, one run an hour, all of them next due at `due_at`."""
    columns = {name: value for name, value in JOB.items() if name != "is_schedule_active"}
    fixed = {name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in columns.items()}
    fixed |= {"created_by": "bench", "created_at": micros(due_at), "updated_at": micros(due_at)}
    fixed |= {"is_schedule_active": True, "schedule_mode": "R/PT1H", "schedule_anchor": micros(due_at)}
    fixed |= {"next_fire_at": micros(due_at)}
    names = ", ".join(fixed)
    marks = ", ".join(["%s"] * len(fixed))
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO jobs (namespace, {names}) "
            f"SELECT 'ns' || (n %% {NAMESPACES}), {marks} FROM generate_series(1, %s) n",
            (*fixed.values(), count),
        )
        execute_values(
            cursor,
            "INSERT INTO namespaces (name, created_at) VALUES %s",
            [(f"ns{n}", micros(due_at)) for n in range(NAMESPACES)],
        )
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE jobs")
            # Else a million new rows are written to disk beside what is measured.
            cursor.execute("CHECKPOINT")


def micros(at: datetime) -> int:
    """As jobd keeps instants: microseconds since the Unix epoch."""
    return round(at.timestamp() * 1_000_000)
