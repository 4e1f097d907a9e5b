"""Surplus records go with every look at the jobs that ran, and those of all jobs once in a while."""

from typing import Any

import pytest

from jobd.engine import retention
from jobd.engine.retention import Retention
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, Job
from jobd.store.queue import claims, transitions
from jobd.store.queue.transitions import Result
from tests.engine.conftest import Bench
from tests.store.rows import make_exec

pytestmark = pytest.mark.gen_test(timeout=30)


async def ended(bench: Bench, job: Job, count: int) -> None:
    for _ in range(count):
        make_exec(bench.database, bench.caller, job)
    for row in await bench.database.write(claims.claim, "a", "BEIJING1", 1000, 1000):
        await bench.database.write(transitions.end, row, Result("S"), None)


async def left(database: Database) -> int:
    return await database.read(Exec.select().count)


async def test_a_job_that_ran_again_keeps_no_more_than_it_may(bench: Bench) -> None:
    made = Retention(bench.database, bench.settings(), lambda: True)
    job = bench.job(execs_kept=2)
    for _ in range(3):
        await ended(bench, job, 3)
        await made.retire()
        assert await left(bench.database) == 2


async def test_a_changed_number_reaches_jobs_that_do_not_run(bench: Bench, monkeypatch: Any) -> None:
    made = Retention(bench.database, bench.settings(), lambda: True)
    monkeypatch.setattr(retention, "CLOCKS_APART", retention.CLOCKS_APART * 0)
    job = bench.job(execs_kept=5)
    await ended(bench, job, 5)
    await made.retire()
    await bench.database.write(Job.update(execs_kept=1).where(Job.id == job.id).execute)
    await made.retire()
    assert await left(bench.database) == 5, "only jobs that ran are looked at"
    made._all_jobs_at = 0
    await made.retire()
    assert await left(bench.database) == 1
    anew = Retention(bench.database, bench.settings(), lambda: True)
    await bench.database.write(Job.update(execs_kept=0).where(Job.id == job.id).execute)
    await anew.retire()
    assert await left(bench.database) == 0, "a start looks at all"
