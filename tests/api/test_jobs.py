import pytest

from tests.api.server import Api

pytestmark = pytest.mark.gen_test


async def test_a_job_gets_the_default_of_every_field_it_does_not_name(api: Api) -> None:
    job = await api.job()
    assert job["namespace"] == job["created_by"] == "chennanfei"
    assert job["docker_image_tag"] == "latest"
    assert job["resource_size"] == "XXS"
    assert job["region_name"] == "BEIJING1"
    assert job["runtime_vars"] == job["labels"] == {}
    assert job["is_schedule_active"] is False
    assert [job[name] for name in ("command", "schedule_mode", "timeout", "next_fire_at", "last_exec")] == [None] * 5


async def test_what_get_gave_can_be_put_back(api: Api) -> None:
    job = await api.job(command="sh -c 'echo 你好'", labels={"a.b": "c"}, schedule_mode="R/2030-01-01T00:00:00Z/P1D")
    url = f"/v1/jobs/{job['id']}"
    got = (await api.call("GET", url)).json
    put = await api.call("PUT", url, got)
    assert put.status == 200
    assert {**put.json, "updated_at": None} == {**got, "updated_at": None}
