"""A list by label has the jobs that have it now, and no others."""

from jobd.store import deletion, jobs
from jobd.store.callers import Caller
from jobd.store.db.database import Database
from jobd.store.db.pages import PageRequest
from jobd.store.db.tables import JobLabel
from jobd.store.jobs import JobFilter
from tests.store.rows import make_caller, make_job


def found(database: Database, caller: Caller, *labels: tuple[str, str], **more: object) -> list[int]:
    wanted = JobFilter(labels=labels, **more)  # type: ignore[arg-type]
    page = database.read_sync(jobs.listed, caller, wanted, PageRequest())
    assert page.count == len(page.rows)
    return [row.id for row in page.rows]


def test_a_job_is_found_by_the_labels_that_it_has_now(database: Database, caller: Caller) -> None:
    job = make_job(database, caller, labels={"team": "a", "tier": "web"})
    database.write_sync(jobs.update, caller, job.id, {"labels": {"team": "b", "tier": "web"}})
    assert found(database, caller, ("team", "a")) == []
    assert found(database, caller, ("team", "b"), ("tier", "web")) == [job.id]
    database.write_sync(jobs.update, caller, job.id, {"name": "other"})
    assert found(database, caller, ("team", "b")) == [job.id]
    database.write_sync(deletion.delete_job, caller, job.id)
    assert found(database, caller, ("team", "b")) == []
    assert database.read_sync(JobLabel.select().count) == 0


def test_labels_go_together_with_other_filters(database: Database, caller: Caller) -> None:
    label = {"team": "a"}
    one = make_job(database, caller, labels=label, name="one")
    make_job(database, caller, labels=label, name="two")
    make_job(database, caller, name="one")
    make_job(database, make_caller(database, "other"), labels=label, name="one")
    assert found(database, caller, ("team", "a"), name="one") == [one.id]
    assert found(database, caller, ("team", "a"), name="one", scheduled=True) == []


def test_a_walk_by_label_comes_by_all_jobs_once(database: Database, caller: Caller) -> None:
    made = [make_job(database, caller, labels={"team": "a"}).id for _ in range(5)]
    seen: list[int] = []
    after = None
    while True:
        asked = PageRequest(size=2, counting="none", goes_on=True, after=after)
        page = database.read_sync(jobs.listed, caller, JobFilter(labels=(("team", "a"),)), asked)
        seen += [row.id for row in page.rows]
        if not page.has_more:
            break
        after = page.keys[-1]
    assert seen == made[::-1]
