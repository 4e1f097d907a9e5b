"""Whatever waits says why: in lists, by itself, and at once where nobody will ever run it."""

import pytest

from tests.api.server import Api

pytestmark = pytest.mark.gen_test(timeout=30)


async def test_an_exec_that_waits_says_why_in_lists_and_by_itself(api: Api) -> None:
    api.engine.regions["BEIJING1"].outage = "no answer"
    job = await api.job()
    exec = await api.exec(job["id"])
    path = f"/v1/jobs/{job['id']}/execs"
    expected = "region BEIJING1 is down: no answer"
    assert (await api.call("GET", f"{path}/{exec['id']}")).json["message"] == expected
    for url in (path, f"/v1/execs?job={job['id']}"):
        assert [row["message"] for row in (await api.call("GET", url)).json["results"]] == [expected]


async def test_a_region_that_nobody_serves_is_told_at_once(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    job = await api.job(region_name="GUARDED", docker_image_repo="index.example.com/team/app")
    answer = await api.call("POST", f"/v1/jobs/{job['id']}/execs")
    assert (answer.status, answer.json["status"]) == (201, "W")
    assert answer.json["message"] == "no daemon serves the region GUARDED"
    assert "no daemon serves the region GUARDED" in caplog.text
