"""Who changed what: a record of every change, in its transaction, and never a secret in it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from peewee import IntegrityError

from jobd.store import audit, jobs
from jobd.store.callers import JOBD
from jobd.store.db.database import Database
from jobd.store.db.tables import Audit, Job
from jobd.store.people import accounts, organizations
from tests.api.conftest import USER
from tests.api.server import JOB, Api
from tests.store.rows import JOB as COLUMNS

PASSWORD = "correct horse battery"


async def records(api: Api, query: str = "", token: str | None = "") -> list[dict[str, Any]]:
    """Oldest first."""
    return (await api.call("GET", f"/v1/audit?page_size=100{query}", token=token)).json["results"][::-1]


async def brief(api: Api) -> list[tuple[str, str]]:
    return [(record["action"], record["subject"]) for record in await records(api)]


@pytest.mark.gen_test(timeout=30)
async def test_a_change_tells_who_made_it_from_where_and_only_what_differs(api: Api) -> None:
    job = await api.job(runtime_vars={"A": "1"})
    answer = await api.call(
        "PUT", f"/v1/jobs/{job['id']}", {"timeout": 60, "name": "test"}, headers={"X-Request-Id": "abc-1"}
    )
    assert answer.status == 200
    own = (await api.call("GET", "/v1/tokens")).json["results"][0]["id"]
    made, changed = (await records(api))[-2:]
    at = datetime.fromisoformat(changed.pop("at"))
    assert datetime.now(UTC) - at < timedelta(minutes=1)
    assert changed == {
        "id": made["id"] + 1,
        "namespace": USER,
        "actor": USER,
        "token": own,
        "address": "127.0.0.1",
        "request_id": "abc-1",
        "action": "job.update",
        "subject": str(job["id"]),
        "before": {"timeout": None},
        "after": {"timeout": 60},
    }
    assert made["action"] == "job.create"
    assert made["after"]["runtime_vars"] == {"A": "1"}


@pytest.mark.gen_test(timeout=30)
async def test_every_change_of_jobs_and_execs_is_recorded(api: Api) -> None:
    before = len(await records(api))
    job = await api.job(timeout=5)
    exec = await api.exec(job["id"], command="date", runtime_vars={"A": "1"})
    place = f"/v1/jobs/{job['id']}/execs/{exec['id']}"
    await api.call("POST", f"{place}/stop")
    again = (await api.call("POST", f"{place}/rerun")).json["id"]
    await api.call("DELETE", place)
    await api.call("PUT", f"/v1/jobs/{job['id']}", {"timeout": None})
    await api.call("DELETE", f"/v1/jobs/{job['id']}")
    found = (await records(api))[before:]
    number, first = str(job["id"]), f"{job['id']}/{exec['id']}"
    assert [(r["action"], r["subject"], r["before"], r["after"]) for r in found[1:-1]] == [
        ("exec.create", first, None, {"command": "date", "runtime_vars": {"A": "1"}}),
        ("exec.stop", first, None, None),
        ("exec.create", f"{job['id']}/{again}", None, {"rerun_of": exec["id"]}),
        ("exec.delete", first, {"status": "C"}, None),
        ("job.update", number, {"timeout": 5}, {"timeout": None}),
    ]
    assert (found[-1]["action"], found[-1]["after"]) == ("job.delete", None)
    assert found[-1]["before"]["docker_image_repo"] == JOB["docker_image_repo"]


@pytest.mark.gen_test(timeout=30)
async def test_every_change_of_accounts_is_recorded(api: Api, database: Database) -> None:
    database.write_sync(accounts.create_user, "root", None, True)
    api.token = database.write_sync(accounts.create_token, "root", "test")
    before = len(await records(api))
    for method, path, body in [
        ("POST", "/v1/users", {"username": "lihua", "password": PASSWORD}),
        ("PUT", "/v1/users/lihua", {"is_active": False, "password": PASSWORD}),
        ("PUT", "/v1/users/lihua", {"is_active": True}),
        ("POST", "/v1/orgs", {"name": "team"}),
        ("POST", "/v1/orgs/team/members", {"username": "lihua", "role": "reader"}),
        ("PUT", "/v1/orgs/team/members/lihua", {"role": "writer"}),
        ("DELETE", "/v1/orgs/team/members/lihua", None),
        ("DELETE", "/v1/orgs/team", None),
        ("POST", "/v1/generate-api-token", {"username": "lihua", "password": PASSWORD}),
        ("POST", "/v1/tokens", {"name": "ci"}),
        ("DELETE", "/v1/users/lihua", None),
    ]:
        assert (await api.call(method, path, body)).status < 300, path
    last = (await api.call("GET", "/v1/tokens")).json["results"][0]["id"]
    await api.call("DELETE", f"/v1/tokens/{last}")
    found = [(r["action"], r["namespace"], r["actor"]) for r in (await records(api))[before:]]
    assert found == [
        ("user.create", "lihua", "root"),
        ("user.update", "lihua", "root"),
        ("user.password", "lihua", "root"),
        ("user.update", "lihua", "root"),
        ("org.create", "team", "root"),
        ("member.create", "team", "root"),
        ("member.create", "team", "root"),
        ("member.update", "team", "root"),
        ("member.delete", "team", "root"),
        ("org.delete", "team", "root"),
        ("token.create", "lihua", "lihua"),
        ("token.create", "root", "root"),
        ("user.delete", "lihua", "root"),
        ("token.delete", "root", "root"),
    ]


@pytest.mark.gen_test(timeout=30)
async def test_what_changes_nothing_is_not_recorded(api: Api) -> None:
    job = await api.job()
    key = {"Idempotency-Key": "once"}
    made = [await api.call("POST", f"/v1/jobs/{job['id']}/execs", headers=key) for _ in range(2)]
    place = f"/v1/jobs/{job['id']}/execs"
    running = await api.exec(job["id"])
    before = await brief(api)
    assert [action for action, _ in before].count("exec.create") == 2
    assert made[0].json["id"] == made[1].json["id"] != running["id"]
    await api.call("PUT", f"/v1/jobs/{job['id']}", {"name": job["name"]})
    await api.call("PUT", f"/v1/jobs/{job['id']}", {"name": ""})
    await api.call("POST", f"{place}/00000000-0000-0000-0000-000000000000/stop")
    assert await brief(api) == before


def test_a_change_that_is_rolled_back_leaves_no_record_and_the_reverse(database: Database) -> None:
    user = accounts.caller_of(database.write_sync(accounts.create_user, USER))
    before = database.read_sync(Audit.select().count)

    def half() -> None:
        jobs.create(user, COLUMNS)
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError):
        database.write_sync(half)
    assert database.read_sync(Audit.select().count) == before
    with pytest.raises(IntegrityError):
        database.write_sync(jobs.create, replace(user, request_id=None), COLUMNS)  # type: ignore[arg-type]
    assert database.read_sync(Job.select().count) == 0


@pytest.mark.gen_test(timeout=30)
async def test_no_secret_is_in_the_table(api: Api, database: Database) -> None:
    database.write_sync(accounts.set_password, USER, PASSWORD)
    signed_in = await api.call("POST", "/v1/generate-api-token", {"username": USER, "password": PASSWORD})
    new = "another password of length"
    await api.call("PUT", "/v1/auth/profile", {"current_password": PASSWORD, "password": new})
    made = await api.call("POST", "/v1/tokens", {"name": "ci"})
    hidden = {"secret_vars": {"KEY": "s3cret-value"}, "secret": "whsec_abc", "secrets": "gAAAA-cipher"}
    database.write_sync(audit.record, JOBD, "hook.update", USER, 1, {"secret": "old-whsec"}, hidden)
    stored = str(database.read_sync(lambda: list(Audit.select().tuples())))
    hashes = str(database.read_sync(accounts.password_hash, USER))
    for secret in (PASSWORD, new, signed_in.json["token"], made.json["token"], hashes, "s3cret-value", "whsec_abc"):
        assert secret not in stored
        assert secret[5:20] not in stored
    assert "old-whsec" not in stored
    assert "gAAAA" not in stored
    last = (await records(api))[-1]
    assert last["before"] == {"secret": "******"}
    assert last["after"] == {"secret_vars": {"KEY": "******"}, "secret": "******", "secrets": "******"}


@pytest.mark.gen_test(timeout=30)
async def test_records_are_filtered(api: Api, database: Database) -> None:
    await api.job()
    middle = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    await api.job()
    assert len(await records(api, f"&actor={USER}")) == 2
    assert len(await records(api, "&actor=nobody")) == 0
    assert [len(await records(api, f"&actor={USER}&{side}={middle}")) for side in ("since", "until")] == [1, 1]
    assert list((await api.call("GET", "/v1/audit?since=yesterday")).faults) == ["since"]


@pytest.mark.gen_test(timeout=30)
async def test_who_takes_over_a_name_does_not_see_what_was_recorded_before(api: Api, database: Database) -> None:
    def take_over() -> Callable[[], str]:
        organizations.create(JOBD, "team", USER)
        return lambda: accounts.create_token(USER, "again")

    database.write_sync(take_over)
    await api.call("DELETE", "/v1/orgs/team")
    assert await records(api, "&namespace=team") == []
    database.write_sync(take_over)
    seen = await records(api, "&namespace=team")
    assert [record["action"] for record in seen] == ["org.create", "member.create"]
    database.write_sync(accounts.create_user, "root", None, True)
    root = database.write_sync(accounts.create_token, "root", "test")
    assert len(await records(api, "&namespace=team", root)) == 5


def test_old_records_go_in_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "DROPPED_AT_ONCE", 2)
    old = datetime.now(UTC) - timedelta(days=400)
    for age in (2, 1, 1, 0):
        at = old if age else datetime.now(UTC)
        database.write_sync(audit.record, JOBD, "job.update", USER, age, None, {"timeout": age}, at)
    year = 365 * 86400
    assert [database.write_sync(audit.drop_old, year) for _ in range(3)] == [2, 1, 0]
    assert database.read_sync(Audit.select().count) == 1
