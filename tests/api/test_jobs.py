import asyncio
from datetime import datetime
from typing import Any

import pytest

from jobd.store.db import tables
from jobd.store.db.database import Database
from jobd.store.queue import claims, transitions
from jobd.store.queue.transitions import Result
from tests.api.server import JOB, Api

pytestmark = pytest.mark.gen_test(timeout=30)


async def names(api: Api, query: str) -> list[str]:
    answer = await api.call("GET", f"/v1/jobs?{query}")
    assert answer.status == 200, answer.body
    return [job["name"] for job in answer.json["results"]]


async def test_a_job_gets_the_default_of_every_field_it_does_not_name(api: Api) -> None:
    job = await api.job()
    assert job["namespace"] == job["created_by"] == "chennanfei"
    assert job["docker_image_tag"] == "latest"
    assert job["resource_size"] == "XXS"
    assert job["region_name"] == "BEIJING1"
    assert job["runtime_vars"] == job["labels"] == {}
    assert job["is_schedule_active"] is False
    assert [job[name] for name in ("command", "schedule_mode", "timeout", "next_fire_at", "last_exec")] == [None] * 5


async def test_null_is_the_default_when_a_job_is_made_and_when_it_is_changed(api: Api) -> None:
    given = {"docker_image_tag": "v1", "runtime_vars": {"A": "1"}, "max_retries": 3, "timeout": 5, "command": "x"}
    nulls = dict.fromkeys(given)
    default = await api.job()
    made = await api.job(**nulls, namespace=None)
    changed = (await api.call("PUT", f"/v1/jobs/{(await api.job(**given))['id']}", nulls)).json
    for field in given:
        assert made[field] == changed[field] == default[field]


async def test_put_changes_what_it_names_and_replaces_objects_whole(api: Api) -> None:
    job = await api.job(command="a", runtime_vars={"A": "1", "B": "2"})
    put = (await api.call("PUT", f"/v1/jobs/{job['id']}", {"runtime_vars": {"C": "3"}})).json
    assert put["runtime_vars"] == {"C": "3"}
    assert put["command"] == "a"
    assert put["created_at"] == job["created_at"] < put["updated_at"]


async def test_what_get_gave_can_be_put_back(api: Api) -> None:
    job = await api.job(command="sh -c 'echo 你好'", labels={"a.b": "c"}, schedule_mode="R/2030-01-01T00:00:00Z/P1D")
    await api.exec(job["id"])
    url = f"/v1/jobs/{job['id']}"
    got = (await api.call("GET", url)).json
    put = await api.call("PUT", url, got)
    assert put.status == 200, put.body
    assert {**put.json, "updated_at": None} == {**got, "updated_at": None}


async def test_a_job_can_be_put_back_though_its_size_is_configured_no_more(api: Api, database: Database) -> None:
    job = await api.job()
    database.write_sync(lambda: tables.Job.update(resource_size="OLD", region_name="GONE").execute())
    url = f"/v1/jobs/{job['id']}"
    assert (await api.call("PUT", url, (await api.call("GET", url)).json)).status == 200
    assert list((await api.call("PUT", url, {"resource_size": "OLDER"})).faults) == ["resource_size"]


async def test_a_namespace_never_changes(api: Api) -> None:
    job = await api.job()
    answer = await api.call("PUT", f"/v1/jobs/{job['id']}", {"namespace": "stranger"})
    assert answer.faults == {"namespace": ["cannot be changed"]}


async def test_an_active_schedule_says_when_it_is_due_next(api: Api) -> None:
    job = await api.job(is_schedule_active=True, schedule_mode="R/2099-12-31T16:00:00Z/PT1H")
    assert job["next_fire_at"] == "2099-12-31T16:00:00.000000+00:00"
    off = await api.call("PUT", f"/v1/jobs/{job['id']}", {"is_schedule_active": False})
    assert off.json["next_fire_at"] is None


async def test_the_last_exec_is_told_with_a_job_and_in_lists(api: Api, database: Database) -> None:
    job = await api.job()
    await api.exec(job["id"])
    last = await api.exec(job["id"])
    shown = {"id": last["id"], "status": "W", "ended_at": None}
    assert (await api.call("GET", f"/v1/jobs/{job['id']}")).json["last_exec"] == shown
    assert (await api.call("GET", "/v1/jobs")).json["results"][0]["last_exec"] == shown
    rows = database.write_sync(claims.claim, "daemon", "BEIJING1", 2, 2)
    assert database.write_sync(transitions.end, rows[1], Result("S"), None)
    ended = (await api.call("GET", f"/v1/jobs/{job['id']}")).json["last_exec"]
    assert ended["status"] == "S"
    assert ended["ended_at"] is not None


async def test_lists_go_page_by_page_newest_first(api: Api) -> None:
    for number in range(5):
        await api.job(name=str(number))
    first = (await api.call("GET", "/v1/jobs/?namespace=chennanfei&page_size=2")).json
    assert [job["name"] for job in first["results"]] == ["4", "3"]
    assert (first["count"], first["previous"]) == (5, None)
    assert first["next"] == f"{api.url}/v1/jobs/?namespace=chennanfei&page_size=2&page=2"
    second = (await api.call("GET", first["next"])).json
    assert second["previous"] == f"{api.url}/v1/jobs/?namespace=chennanfei&page_size=2&page=1"
    third = (await api.call("GET", second["next"])).json
    assert ([job["name"] for job in third["results"]], third["next"]) == (["0"], None)


@pytest.mark.parametrize("page", [2, 10**9])
async def test_a_page_past_the_end_is_empty(api: Api, page: int) -> None:
    await api.job()
    answer = await api.call("GET", f"/v1/jobs?page={page}&page_size=100")
    assert (answer.status, answer.json["count"], answer.json["results"]) == (200, 1, [])


async def test_lists_are_filtered(api: Api) -> None:
    await api.job(name="一", labels={"team": "a", "tier": "web"})
    await api.job(name="2", region_name="GUARDED", labels={"team": "b"})
    await api.job(name="3", is_schedule_active=True, schedule_mode="@daily", labels={"team": "a"})
    assert await names(api, "name=%E4%B8%80") == ["一"]
    assert await names(api, "region=GUARDED") == ["2"]
    assert await names(api, "scheduled=true") == ["3"]
    assert await names(api, "scheduled=false") == ["2", "一"]
    assert await names(api, "label=team=a") == ["3", "一"]
    assert await names(api, "label=team=a&label=tier=web") == ["一"]
    assert await names(api, "namespace=stranger") == []


@pytest.mark.parametrize("key", ["a.b", 'a"b', "a'b", "a[0]", "0", "$", "a b", "%", "键", "a\\b", "*"])
async def test_a_label_may_have_any_name(api: Api, key: str) -> None:
    await api.job(name="right", labels={key: "v=1"})
    await api.job(name="wrong", labels={key: "v"})
    escaped = "".join(f"%{byte:02X}" for byte in key.encode())
    assert await names(api, f"label={escaped}=v%3D1") == ["right"]


async def test_another_tenants_job_does_not_exist(api: Api, stranger: str) -> None:
    job = await api.job()
    exec = await api.exec(job["id"])
    url = f"/v1/jobs/{job['id']}"
    of_exec = f"{url}/execs/{exec['id']}"
    for method, path, body in [
        ("GET", url, None),
        ("PUT", url, {"nonsense": 1}),
        ("DELETE", url, None),
        ("GET", f"{url}/execs", None),
        ("POST", f"{url}/execs", None),
        ("GET", f"{url}/schedule", None),
        ("GET", of_exec, None),
        ("DELETE", of_exec, None),
        ("GET", f"{of_exec}/logs", None),
        ("POST", f"{of_exec}/stop", None),
        ("POST", f"{of_exec}/rerun", None),
    ]:
        answer = await api.call(method, path, body, token=stranger)
        assert (answer.status, answer.error["code"]) == (404, "resource_not_exist"), (method, path)
    for path in ("/v1/jobs", "/v1/execs", "/v1/jobs?namespace=chennanfei", "/v1/execs?namespace=chennanfei"):
        assert (await api.call("GET", path, token=stranger)).json["count"] == 0
    assert (await api.call("GET", url)).json["last_exec"]["status"] == "W"


@pytest.mark.parametrize("namespace", ["chennanfei", "nobody"])
async def test_nobody_makes_a_job_in_a_foreign_namespace_whether_it_exists_or_not(
    api: Api, stranger: str, namespace: str
) -> None:
    answer = await api.call("POST", "/v1/jobs", {**JOB, "namespace": namespace}, token=stranger)
    assert (answer.status, answer.error["code"]) == (403, "permission_denied")


async def test_a_deleted_job_is_gone_with_its_execs_and_what_runs_is_stopped(api: Api, database: Database) -> None:
    job = await api.job()
    exec = await api.exec(job["id"])
    (row,) = database.write_sync(claims.claim, "daemon", "BEIJING1", 1, 1)
    assert database.write_sync(transitions.set_running, row, None)
    answer = await api.call("DELETE", f"/v1/jobs/{job['id']}")
    assert (answer.status, answer.body) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert api.engine.stops == 1
    (stopping,) = database.read_sync(claims.stops_requested, "daemon")
    assert stopping.id == exec["id"]
    for path in (f"/v1/jobs/{job['id']}", f"/v1/jobs/{job['id']}/execs/{exec['id']}"):
        assert (await api.call("GET", path)).status == 404
    assert (await api.call("GET", "/v1/execs")).json["count"] == 0


async def test_a_change_of_what_somebody_else_changed_meanwhile_is_412(api: Api) -> None:
    job = await api.job()
    url = f"/v1/jobs/{job['id']}"
    tag = (await api.call("GET", url)).headers["Etag"]
    await api.exec(job["id"])
    first = await api.call("PUT", url, {"command": "a"}, headers={"If-Match": f'"other", {tag}'})
    assert first.status == 200
    second = await api.call("PUT", url, {"command": "b"}, headers={"If-Match": tag})
    assert (second.status, second.error["code"]) == (412, "precondition_failed")
    weak = await api.call("PUT", url, {"command": "b"}, headers={"If-Match": f"W/{first.headers['Etag']}"})
    assert weak.status == 412
    got = await api.call("GET", url)
    assert (got.json["command"], got.headers["Etag"]) == ("a", first.headers["Etag"])
    assert (await api.call("PUT", url, {"command": "b"}, headers={"If-Match": "*"})).status == 200


async def test_two_changes_at_once_are_both_kept(api: Api) -> None:
    job = await api.job()
    url = f"/v1/jobs/{job['id']}"
    await asyncio.gather(
        api.call("PUT", url, {"command": "echo"}), api.call("PUT", url, {"name": "other"}), api.call("GET", url)
    )
    got = (await api.call("GET", url)).json
    assert (got["command"], got["name"]) == ("echo", "other")


async def test_a_jobs_schedule_shows_its_slots(api: Api) -> None:
    job = await api.job(schedule_mode="R3/2099-01-31T00:00:00+08:00/P1M", schedule_timezone="Asia/Shanghai")
    got = (await api.call("GET", f"/v1/jobs/{job['id']}/schedule?count=2")).json
    assert [slot["local"] for slot in got["slots"]] == [
        "2099-01-31T00:00:00.000000+08:00",
        "2099-02-28T00:00:00.000000+08:00",
    ]
    assert got["slots"][0]["utc"] == "2099-01-30T16:00:00.000000+00:00"
    assert got["slots"][0]["notes"] == []
    assert got["slots"][1]["notes"]
    assert got["remaining"] == 3
    assert set(got["words"]) == {"en", "zh"}


async def test_a_job_without_a_schedule_has_no_slots(api: Api) -> None:
    job = await api.job()
    got = (await api.call("GET", f"/v1/jobs/{job['id']}/schedule")).json
    assert (got["slots"], got["remaining"]) == ([], 0)


async def test_a_stored_schedule_that_is_refused_now_is_shown_without_slots_and_says_why(
    api: Api, database: Database
) -> None:
    job = await api.job(schedule_mode="R/2099-12-24T00:00:00Z/P1D", is_schedule_active=True)
    mode = "R/P1D/2099-12-24T00:00:00Z"
    database.write_sync(tables.Job.update(schedule_mode=mode).where(tables.Job.id == job["id"]).execute)
    answer = await api.call("GET", f"/v1/jobs/{job['id']}/schedule")
    assert (answer.status, answer.json["slots"], answer.json["remaining"]) == (200, [], 0)
    assert all("number of runs 'R'" in words for words in answer.json["words"].values())
    assert (await api.call("GET", f"/v1/jobs/{job['id']}")).json["schedule_mode"] == mode
    assert (await api.call("PUT", f"/v1/jobs/{job['id']}", {"name": "other"})).status == 200
    off = await api.call("PUT", f"/v1/jobs/{job['id']}", {"is_schedule_active": False})
    assert (off.status, off.json["next_fire_at"]) == (200, None)


async def test_a_preview_begins_strictly_after_the_time_it_is_given(api: Api) -> None:
    said = {"schedule_mode": "R/2030-01-01T00:00:00Z/PT1H", "after": "2030-01-01T01:00:00Z", "count": 1}
    got = (await api.call("POST", "/v1/schedule/preview", said)).json
    assert [slot["utc"] for slot in got["slots"]] == ["2030-01-01T02:00:00.000000+00:00"]
    assert got["remaining"] is None


async def test_a_preview_of_times_before_zones_tells_them_at_an_offset_in_whole_minutes(api: Api) -> None:
    said = {"schedule_mode": "30 2 * * *", "schedule_timezone": "Asia/Shanghai", "after": "0866-01-27T06:19:20Z"}
    (slot,) = (await api.call("POST", "/v1/schedule/preview", {**said, "count": 1})).json["slots"]
    assert slot["local"] == "0866-01-28T02:30:17.000000+08:06"
    assert datetime.fromisoformat(slot["local"]) == datetime.fromisoformat(slot["utc"])


async def test_a_preview_of_a_form_without_a_start_begins_with_the_time_it_is_given(api: Api) -> None:
    said = {"schedule_mode": "R2/PT1H", "after": "2030-01-01T01:00:00Z"}
    got = (await api.call("POST", "/v1/schedule/preview", said)).json
    assert [slot["utc"][:13] for slot in got["slots"]] == ["2030-01-01T01", "2030-01-01T02"]
    assert got["remaining"] == 2


async def test_mounts_are_asked_for_by_name(api: Api) -> None:
    mounts = [{"name": "data", "path": "/data"}]
    job = await api.job(mounts=mounts)
    assert job["mounts"] == mounts
    put = await api.call("PUT", f"/v1/jobs/{job['id']}", {"mounts": None})
    assert put.json["mounts"] == []


@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        ([{"name": "secret", "path": "/data"}], "expected one of: data"),
        ([{"name": "data", "path": "data"}], "absolute path"),
        ([{"name": "data", "path": "/a/../etc"}], "absolute path"),
        ([{"name": "data", "path": "/"}], "must not be at /"),
        ([{"name": "data"}], "nothing else"),
        ([{"name": "data", "path": "/a"}, {"name": "data", "path": "/a"}], "the same path"),
        ([{"name": "data", "path": f"/{n}"} for n in range(33)], "at most 32"),
        ("data", "list"),
    ],
)
async def test_a_mount_that_cannot_be_is_told(api: Api, mounts: Any, said: str) -> None:
    answer = await api.call("POST", "/v1/jobs", {**JOB, "mounts": mounts})
    assert answer.status == 400
    assert said in answer.faults["mounts"][0]
