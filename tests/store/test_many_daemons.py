"""Several daemons' scans of one PostgreSQL, each in a process of its own: every slot fires exactly once."""

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, Job
from jobd.store.people.accounts import Caller
from tests.services import ROOT
from tests.store.rows import make_job

JOBS = 500
SLOTS = 20
SCAN = """
import sys
from jobd.store.db.database import Database
from jobd.store.queue import due_slots
from jobd.store.queue.due_slots import Rules

database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
rules = Rules(late_after=3600, waiting_per_namespace=1_000_000, batch=7)
fired, idle = 0, 0
while idle < 20:
    made = len(database.write_sync(due_slots.fire_due, rules).execs)
    fired, idle = fired + made, 0 if made else idle + 1
print(fired)
"""


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """SQLite has one daemon at most."""
    return postgres_url


@pytest.mark.parametrize("daemons", [2, 4])
def test_ten_thousand_slots_fire_once_each(database: Database, caller: Caller, database_url: str, daemons: int) -> None:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=SLOTS)
    job = make_job(database, caller, schedule_mode=f"R{SLOTS}/{start.isoformat()}/PT1S", is_schedule_active=True)
    row: dict[str, Any] = {**job.__data__, "next_fire_at": start}
    del row["id"]
    database.write_sync(Job.insert_many([row] * (JOBS - 1)).execute)
    database.write_sync(Job.update(next_fire_at=start).where(Job.id == job.id).execute)
    command = [sys.executable, "-c", SCAN, database_url]
    scans = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(daemons)
    ]
    for scan in scans:
        assert scan.stdout is not None
        assert scan.stdout.readline() == "ready\n"
    for scan in scans:
        assert scan.stdin is not None
        scan.stdin.write("go\n")
        scan.stdin.flush()
    told = [int(scan.communicate(timeout=240)[0]) for scan in scans]
    fired = database.read_sync(lambda: list(Exec.select(Exec.job_id, Exec.scheduled_for).tuples()))
    assert sum(told) == JOBS * SLOTS
    assert Counter(fired).most_common(1)[0][1] == 1
    assert len(fired) == JOBS * SLOTS
    assert all(made > 0 for made in told), f"only some took part: {told}"
