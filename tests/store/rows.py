"""Jobs and execs for tests of the store."""

from typing import Any

from jobd.keyring import Keyring
from jobd.store import daemons, execs, jobs, webhooks
from jobd.store.db.database import Database
from jobd.store.db.tables import Delivery, Exec, Hook, Job
from jobd.store.outbox import EVENTS
from jobd.store.people import accounts
from jobd.store.people.accounts import Caller

REGION = "BEIJING1"
ROOM = 10_000

JOB: dict[str, Any] = {
    "name": "test",
    "command": "bash",
    "docker_image_repo": "index.alauda.cn/chennanfei/job_image",
    "docker_image_tag": "latest",
    "resource_size": "XXS",
    "region_name": REGION,
    "runtime_vars": {"DB_HOST": "localhost"},
    "pull_policy": "if_not_present",
    "labels": {},
    "timeout": 60,
    "max_retries": 0,
    "retry_delay": 10,
    "retry_on": None,
    "is_schedule_active": False,
    "missed_run_policy": "run_once",
    "concurrency_policy": "allow",
}


def make_job(database: Database, caller: Caller, **values: Any) -> Job:
    database.write_sync(daemons.bind_region, values.get("region_name", REGION), "engine")
    return database.write_sync(jobs.create, caller, {**JOB, **values})


def make_exec(database: Database, caller: Caller, job: Job | None = None, **overrides: Any) -> Exec:
    job = job or make_job(database, caller)
    return database.write_sync(execs.create, caller, job.id, overrides, ROOM)


def make_caller(database: Database, name: str) -> Caller:
    return accounts.caller_of(database.write_sync(accounts.create_user, name))


def read(database: Database, row: Exec) -> Exec | None:
    return database.read_sync(Exec.get_or_none, Exec.id == row.id)


def make_hook(
    database: Database,
    caller: Caller,
    subject: int | str,
    *events: str,
    keyring: Keyring | None = None,
    **values: Any,
) -> Hook:
    """A hook for a job (a number) or a namespace, for these events or for all; a `secret` needs the `keyring`."""
    fields = {"url": "https://example.com/hook", "events": list(events or EVENTS.values()), **values}
    return database.write_sync(webhooks.create, caller, subject, fields, keyring)


def outbox_rows(database: Database) -> list[Delivery]:
    return database.read_sync(lambda: list(Delivery.select().order_by(Delivery.id)))
