"""The numbers that lists tell are those of the rows, whoever makes, deletes and adds up rows meanwhile."""

import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobd.store import audit, deletion, execs, jobs, retention, spans, tallies
from jobd.store.audit import AuditFilter
from jobd.store.callers import Caller
from jobd.store.db import sql
from jobd.store.db.database import Database
from jobd.store.db.pages import PageRequest, snapshot
from jobd.store.db.tables import Audit, Exec, Job, Namespace
from jobd.store.execs import ExecFilter
from jobd.store.jobs import JobFilter
from jobd.store.queue import left_ahead
from tests.services import fresh_postgres
from tests.store.rows import ROOM, make_caller, make_exec, make_job

SOURCES = [tallies.JOBS, tallies.EXECS, tallies.AUDIT]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few rows are many."""
    monkeypatch.setattr(tallies, "MIN_TAIL", 0)
    monkeypatch.setattr(tallies, "MAX_BATCH", 7)
    monkeypatch.setattr(tallies, "MIN_OF_LARGE_JOB", 4)
    monkeypatch.setattr(tallies, "BLOCK", 3)
    monkeypatch.setattr(spans, "BLOCK", 3)


def fold(database: Database) -> None:
    for source in SOURCES:
        found = database.read_sync(tallies.candidate, source)
        if found is not None and database.read_sync(tallies.may_fold, found):
            while database.write_sync(tallies.fold, found):
                pass


def mend_jobs(database: Database) -> None:
    for job in database.read_sync(tallies.check_jobs):
        database.write_sync(tallies.mend_job, job)


def told(database: Database, caller: Caller, job: int) -> list[int | None]:
    """What the lists say, of all jobs, of all execs, of a job's, and of the audit."""
    page = PageRequest()
    return [
        database.read_sync(jobs.listed, caller, JobFilter(), page).count,
        database.read_sync(execs.listed, caller, ExecFilter(), page).count,
        database.read_sync(execs.listed, caller, ExecFilter(job=job), page).count,
        database.read_sync(audit.listed, caller, AuditFilter(), page).count,
    ]


def there(database: Database, caller: Caller, job: int) -> list[int]:
    theirs = caller.namespaces or set()
    live = Exec.select().where(Exec.deleted_at.is_null(), Exec.namespace.in_(theirs))
    return [
        database.read_sync(Job.select().where(Job.deleted_at.is_null(), Job.namespace.in_(theirs)).count),
        database.read_sync(live.count),
        database.read_sync(live.where(Exec.job_id == job).count),
        database.read_sync(Audit.select().where(Audit.namespace.in_(theirs)).count),
    ]


def test_whatever_is_made_and_deleted_a_list_tells_its_number(database: Database, caller: Caller) -> None:
    other = make_caller(database, "other")
    job, second = make_job(database, caller), make_job(database, caller)
    for round in range(3):
        rows = [make_exec(database, caller, job) for _ in range(6)] + [make_exec(database, caller, second)]
        foreign = make_job(database, other)
        make_exec(database, other, foreign)
        assert told(database, caller, job.id) == there(database, caller, job.id)
        fold(database)
        mend_jobs(database)
        assert told(database, caller, job.id) == there(database, caller, job.id)
        make_exec(database, caller, job)
        database.write_sync(deletion.delete_exec, caller, job.id, rows[1].id)
        database.write_sync(
            Exec.update(status="S", ended_at=datetime.now(UTC)).where(Exec.seq.in_([rows[2].seq, rows[3].seq])).execute
        )
        database.write_sync(retention.drop_surplus, 1, 0)
        database.write_sync(deletion.delete_job, other, foreign.id)
        assert told(database, caller, job.id) == there(database, caller, job.id), round
    database.write_sync(deletion.delete_job, caller, second.id)
    assert told(database, caller, job.id) == there(database, caller, job.id)
    assert all(database.read_sync(tallies.check, source) for source in SOURCES)
    assert database.read_sync(tallies.check_jobs) == set()


def test_nothing_is_counted_that_was_added_up(database: Database, caller: Caller) -> None:
    for _ in range(3):
        make_exec(database, caller)
    fold(database)
    changed = {"number": 1000}
    database.write_sync(sql.execute, Exec, "UPDATE tallies SET number = 1000 WHERE subject = 'execs'")
    assert changed["number"] == told(database, caller, 1)[1]
    bounded = database.read_sync(execs.listed, caller, ExecFilter(), PageRequest(counting="bounded", goes_on=True))
    assert (bounded.count, bounded.is_exact) == (1000, True)


def test_old_records_of_the_audit_go_from_its_number(database: Database, caller: Caller) -> None:
    for _ in range(4):
        make_job(database, caller)
    fold(database)
    database.write_sync(Audit.update(at=datetime.now(UTC) - timedelta(days=2)).where(Audit.id <= 3).execute)
    assert database.write_sync(audit.drop_old, 86400) == 3
    assert database.read_sync(tallies.check, tallies.AUDIT)


def test_a_wrong_number_is_mended(database: Database, caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    job = make_job(database, caller)
    for _ in range(6):
        make_exec(database, caller, job)
    fold(database)
    mend_jobs(database)
    database.write_sync(sql.execute, Exec, "UPDATE tallies SET number = number + 1")
    for source in SOURCES:
        assert not database.read_sync(tallies.check, source)
        database.write_sync(tallies.mend, source)
        assert database.read_sync(tallies.check, source)
    assert database.read_sync(tallies.check_jobs) == {job.id}
    mend_jobs(database)
    assert told(database, caller, job.id) == there(database, caller, job.id)
    assert "the tally of the execs of namespace 'chennanfei' was 7, and there are 6" in caplog.text


def test_a_job_has_a_tally_of_its_own_while_it_has_many_execs(database: Database, caller: Caller) -> None:
    def kept() -> list[Any]:
        text = "SELECT name, number FROM tallies WHERE subject = ?"
        return database.read_sync(sql.rows, Exec, text, tallies.OF_JOB)

    large, usual = make_job(database, caller), make_job(database, caller)
    rows = [make_exec(database, caller, large) for _ in range(6)]
    make_exec(database, caller, usual)
    fold(database)
    mend_jobs(database)
    assert kept() == [(str(large.id), 6)]
    make_exec(database, caller, large)
    fold(database)
    assert kept() == [(str(large.id), 7)]
    for row in rows:
        database.write_sync(deletion.delete_exec, caller, large.id, row.id)
    assert kept() == [(str(large.id), 1)]
    mend_jobs(database)
    assert kept() == []


def test_the_number_is_right_when_an_id_is_given_again(database: Database, caller: Caller) -> None:
    """SQLite gives the highest again once its row is gone."""
    job = make_job(database, caller)
    rows = [make_exec(database, caller, job) for _ in range(3)]
    fold(database)
    database.write_sync(deletion.delete_exec, caller, job.id, rows[2].id)
    make_exec(database, caller, job)
    assert told(database, caller, job.id) == there(database, caller, job.id)


def test_a_row_under_way_is_not_passed_over(postgres: Database, owner: Caller) -> None:
    """Its id is lower than one that is there already, and it is committed later."""
    job = make_job(postgres, owner)
    inserted, may_commit = threading.Event(), threading.Event()

    def make_slowly() -> None:
        execs.create(owner, job.id, {}, ROOM)
        inserted.set()
        may_commit.wait(30)

    slow = threading.Thread(target=postgres.write_sync, args=(make_slowly,))
    slow.start()
    assert inserted.wait(30)
    make_exec(postgres, owner, job)
    found = postgres.read_sync(tallies.candidate, tallies.EXECS)
    assert found is not None and not postgres.read_sync(tallies.may_fold, found)
    may_commit.set()
    slow.join()
    assert postgres.read_sync(tallies.may_fold, found)
    fold(postgres)
    assert told(postgres, owner, job.id) == there(postgres, owner, job.id)


def test_a_deletion_that_waits_for_who_adds_up_lowers_what_was_added(postgres: Database, owner: Caller) -> None:
    row = make_exec(postgres, owner)

    def delete() -> None:
        Exec.update(deleted_at=datetime.now(UTC)).where(Exec.seq == row.seq).execute()
        in_between = threading.Thread(target=fold_all)
        in_between.start()
        in_between.join()
        tallies.gone(tallies.EXECS, [(row.seq, row.namespace, row.job_id)])

    def fold_all() -> None:
        found = postgres.read_sync(tallies.candidate, tallies.EXECS)
        assert found is not None
        postgres.write_sync(tallies.fold, found)

    postgres.write_sync(delete)
    assert told(postgres, owner, row.job_id) == there(postgres, owner, row.job_id)
    assert postgres.read_sync(tallies.check, tallies.EXECS)


def test_adding_up_waits_for_a_deletion_that_was_told(postgres: Database, owner: Caller) -> None:
    row = make_exec(postgres, owner)
    found = postgres.read_sync(tallies.candidate, tallies.EXECS)
    assert found is not None
    later = threading.Thread(target=postgres.write_sync, args=(tallies.fold, found))

    def delete() -> None:
        Exec.update(deleted_at=datetime.now(UTC)).where(Exec.seq == row.seq).execute()
        tallies.gone(tallies.EXECS, [(row.seq, row.namespace, row.job_id)])
        later.start()
        while not sql.rows(Exec, "SELECT 1 FROM pg_locks WHERE NOT granted"):
            pass

    postgres.write_sync(delete)
    later.join()
    assert told(postgres, owner, row.job_id) == there(postgres, owner, row.job_id)
    assert postgres.read_sync(tallies.check, tallies.EXECS)


def test_at_every_moment_the_numbers_are_those_of_the_rows(postgres: Database, owner: Caller) -> None:
    """With all of those at work at once who may change either."""
    kept = [make_job(postgres, owner) for _ in range(3)]
    for job in kept:
        for _ in range(5):
            make_exec(postgres, owner, job)
    fold(postgres)
    mend_jobs(postgres)
    is_over = threading.Event()
    faults: list[str] = []

    def again(work: Callable[[random.Random], object], seed: int) -> None:
        chance = random.Random(seed)
        while not is_over.is_set():
            try:
                work(chance)
            except Exception as error:  # told below
                faults.append(repr(error))
                return

    def create(chance: random.Random) -> None:
        make_exec(postgres, owner, chance.choice(kept))

    def delete(chance: random.Random) -> None:
        live = postgres.read_sync(lambda: list(Exec.select().where(Exec.deleted_at.is_null()).order_by(Exec.seq)))
        if len(live) > 20:
            row = chance.choice(live[:-5] if chance.random() < 0.5 else live[-5:])
            postgres.write_sync(_delete_if_there, row)

    def _delete_if_there(row: Exec) -> None:
        if chance_of[row.seq % 2]:
            Exec.update(status="S", ended_at=datetime.now(UTC)).where(Exec.seq == row.seq).execute()
            retention._drop(Exec.seq == row.seq)
        else:
            deletion._delete(Exec.seq == row.seq, owner)

    def come_and_go(chance: random.Random) -> None:
        job = make_job(postgres, owner)
        make_exec(postgres, owner, job)
        postgres.write_sync(deletion.delete_job, owner, job.id)

    def look(chance: random.Random) -> None:
        for job in kept:
            compare = partial(_compare, owner, job.id)
            seen = postgres.read_sync(compare)
            if seen[0] != seen[1]:
                faults.append(f"told {seen[0]}, there are {seen[1]}")

    chance_of = (True, False)
    works = [create, create, delete, delete, come_and_go, look, lambda _: (fold(postgres), mend_jobs(postgres))]
    threads = [threading.Thread(target=again, args=(work, seed)) for seed, work in enumerate(works)]
    for thread in threads:
        thread.start()
    is_over.wait(4)
    is_over.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert all(postgres.read_sync(tallies.check, source) for source in SOURCES)
    assert told(postgres, owner, kept[0].id) == there(postgres, owner, kept[0].id)


def _compare(owner: Caller, job: int) -> tuple[list[int], list[int]]:
    live = Exec.select().where(Exec.deleted_at.is_null())
    with snapshot(Exec, True):
        return (
            [
                tallies.number(tallies.JOBS, owner.namespaces),
                tallies.number(tallies.EXECS, None),
                tallies.number_of_job(job),
                tallies.number(tallies.AUDIT, owner.namespaces),
            ],
            [
                Job.select().where(Job.deleted_at.is_null()).count(),
                live.count(),
                live.where(Exec.job_id == job).count(),
                Audit.select().where(Audit.namespace == owner.username).count(),
            ],
        )


@pytest.mark.parametrize("seed", range(3))
def test_a_time_has_the_rows_that_were_made_in_it_though_clocks_went_wrong(
    database: Database, caller: Caller, seed: int
) -> None:
    chance = random.Random(seed)
    job = make_job(database, caller)
    at = datetime.now(UTC)
    made: dict[str, datetime] = {}
    for number in range(25):
        row = make_exec(database, caller, job)
        wrong = chance.choice([0, 0, 0, 0, -300, 300])
        made[row.id] = at + timedelta(seconds=10 * number + wrong)
        database.write_sync(Exec.update(created_at=made[row.id]).where(Exec.id == row.id).execute)
        if number in (11, 17):
            fold(database)
    instants = [None, *(at + timedelta(seconds=s) for s in range(-400, 700, 45))]
    for since in instants:
        for until in instants:
            wanted = ExecFilter(since=since, until=until)
            page = database.read_sync(execs.listed, caller, wanted, PageRequest(size=100))
            right = {id for id, at in made.items() if (not since or at >= since) and (not until or at < until)}
            assert {row.id for row in page.rows} == right, (since, until)
            assert page.count == len(right)


def test_a_row_whose_time_was_set_right_is_found_by_it(database: Database, caller: Caller) -> None:
    rows = [make_exec(database, caller) for _ in range(6)]
    ahead = datetime.now(UTC) + timedelta(days=3)
    database.write_sync(Exec.update(created_at=ahead).execute)
    fold(database)
    database.write_sync(left_ahead.bring_back, None, [1.0], 1.0)
    until = datetime.now(UTC) + timedelta(hours=1)
    page = database.read_sync(execs.listed, caller, ExecFilter(until=until), PageRequest())
    assert len(page.rows) == len(rows)


def test_the_audit_of_a_name_that_was_anothers_has_no_record_of_theirs(database: Database) -> None:
    """Nor does its number tell of them."""
    former = make_caller(database, "lihua")
    for _ in range(4):
        make_job(database, former)
    fold(database)
    began = datetime.now(UTC) + timedelta(seconds=1)
    database.write_sync(Namespace.update(created_at=began).where(Namespace.name == "lihua").execute)
    other = make_caller(database, "other")
    both = replace(former, roles={"lihua": "admin", "other": "admin"})
    make_job(database, other)
    database.write_sync(Audit.update(at=began).where(Audit.namespace == "other").execute)
    later = make_job(database, former)
    database.write_sync(Audit.update(at=began).where(Audit.subject == str(later.id)).execute)
    for _ in range(2):
        for caller, right in ((former, 1), (both, 3)):
            page = database.read_sync(audit.listed, caller, AuditFilter(), PageRequest())
            assert (page.count, len(page.rows)) == (right, right)
        fold(database)


def test_rows_of_execs_go_where_their_tallies_are_lowered() -> None:
    """Whoever deletes one beside it leaves a number that is wrong until the next look."""
    store = Path(tallies.__file__).parent
    beside = {
        path.name for path in store.rglob("*.py") if re.search(r"Exec\.delete\(|DELETE FROM execs", path.read_text())
    }
    assert beside == {"tallies.py"}


@pytest.fixture
def postgres() -> Iterator[Database]:
    with fresh_postgres() as url:
        opened = Database(url)
        opened.migrate()
        yield opened
        opened.close()


@pytest.fixture
def owner(postgres: Database) -> Caller:
    return make_caller(postgres, "chennanfei")
