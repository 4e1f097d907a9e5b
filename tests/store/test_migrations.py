"""A database with data in it is brought up to date, and keeps its data."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from jobd.store import jobs, webhooks
from jobd.store.callers import Caller
from jobd.store.db import database
from jobd.store.db.database import Database
from jobd.store.db.pages import PageRequest
from jobd.store.jobs import JobFilter
from jobd.store.people import accounts
from tests.store.rows import JOB, make_job

OLD_JOB: dict[str, Any] = {
    "namespace": "chennanfei",
    "name": "旧",
    "created_by": "chennanfei",
    "created_at": 1,
    "updated_at": 1,
    "docker_image_repo": "a/b",
    "docker_image_tag": "latest",
    "resource_size": "XXS",
    "region_name": "BEIJING1",
    "runtime_vars": "{}",
    "pull_policy": "never",
    "labels": "{}",
    "mounts": "[]",
    "max_retries": 0,
    "retry_delay": 10,
    "is_schedule_active": False,
    "missed_run_policy": "run_once",
    "concurrency_policy": "allow",
}


def before(number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Database:
    """A database as it was before the migration with this number."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for path in database.MIGRATIONS.glob("0*.py"):
        if path.name < number:
            shutil.copy(path, folder)
    opened = Database(url)
    with monkeypatch.context() as patched:
        patched.setattr(database, "MIGRATIONS", folder)
        opened.migrate()
    return opened


def add_old_job(opened: Database, values: dict[str, Any]) -> None:
    raw = opened._peewee
    text = f"INSERT INTO jobs ({', '.join(values)}) VALUES ({', '.join([raw.param] * len(values))})"
    opened.write_sync(raw.execute_sql, text, tuple(values.values()))


def test_jobs_from_before_there_was_mail_send_none(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = before("0003", tmp_path, monkeypatch, empty_database_url)
    add_old_job(opened, OLD_JOB)
    assert "0004_hooks" in opened.migrate()
    assert opened.migrate() == []
    caller = accounts.caller_of(opened.write_sync(accounts.create_user, "chennanfei"))
    job = opened.read_sync(jobs.get, caller, 1)
    assert (job.name, job.email_enabled, job.email_recipients) == ("旧", False, [])
    changed = opened.write_sync(jobs.update, caller, 1, {"email_enabled": True, "email_recipients": ["a@b.cn"]})
    assert opened.read_sync(jobs.get, caller, 1).email_recipients == changed.email_recipients == ["a@b.cn"]
    made = opened.write_sync(webhooks.create, caller, 1, {"url": "https://example.com", "events": ["job:fail"]})
    assert opened.read_sync(webhooks.listed, caller, 1) == [made]
    assert opened.write_sync(jobs.create, caller, JOB).email_enabled is False
    opened.close()


def test_jobs_from_before_their_labels_had_a_table_are_found_by_them(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = before("0016", tmp_path, monkeypatch, empty_database_url)
    new = {"secret_vars": "{}", "email_enabled": False, "email_recipients": "[]"}
    for labels, deleted_at in (('{"team": "a=b", "名": "值"}', None), ('{"team": "a=b"}', 1), ("{}", None)):
        add_old_job(opened, {**OLD_JOB, **new, "labels": labels, "deleted_at": deleted_at})
    opened.migrate()
    caller = Caller("admin", None)
    for label in (("team", "a=b"), ("名", "值")):
        page = opened.read_sync(jobs.listed, caller, JobFilter(labels=(label,)), PageRequest())
        assert (page.count, [row.id for row in page.rows]) == (1, [1])
    opened.close()


def test_the_id_of_a_job_that_is_gone_is_not_given_again(database: Database, caller: Caller) -> None:
    old = make_job(database, caller)
    database.write_sync(old.delete_instance)
    assert make_job(database, caller).id > old.id
