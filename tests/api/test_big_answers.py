"""Answers that are large: pages of large rows, one large row, and what is compressed."""

import gzip
import json
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from jobd.api import lists
from jobd.store.db.database import Database
from jobd.store.db.tables import Job
from tests.api.server import Answer, Api

pytestmark = pytest.mark.gen_test(timeout=30)

LARGE = "x" * 100_000


async def large_jobs(api: Api, count: int) -> None:
    for _ in range(count):
        await api.job(runtime_vars={"A": LARGE})


async def test_a_page_within_the_bound_of_bytes_is_whole(api: Api) -> None:
    await large_jobs(api, 20)
    page = await api.call("GET", "/v1/jobs")
    assert [job["runtime_vars"] for job in page.json["results"]] == [{"A": LARGE}] * 20


async def test_a_page_beyond_the_bound_of_bytes_says_how_many_entries_are_within(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_PAGE", 550_000)
    await large_jobs(api, 7)
    refused = await api.call("GET", "/v1/jobs")
    words = "the page would have more than 550000 bytes; the first 5 of it have less"
    assert refused.faults == {"page_size": [words]}
    found: list[Any] = []
    following = f"{api.url}/v1/jobs?page_size=5"
    while following:
        page = (await api.call("GET", following)).json
        found += page["results"]
        following = page["next"]
    assert len({job["id"] for job in found}) == 7


async def test_one_row_is_a_page_however_large_it_is(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await large_jobs(api, 1)
    monkeypatch.setattr(lists, "MAX_PAGE", 1000)
    assert (await api.call("GET", "/v1/jobs")).json["results"][0]["runtime_vars"] == {"A": LARGE}


async def test_every_list_has_the_bound_of_bytes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await api.job()
    for _ in range(2):
        await api.exec(job["id"])
        await api.job()
    monkeypatch.setattr(lists, "MAX_PAGE", 10)
    for path in ("/v1/jobs", "/v1/execs", f"/v1/jobs/{job['id']}/execs", "/v1/audit"):
        assert list((await api.call("GET", path)).faults) == ["page_size"], path


async def test_an_old_row_that_is_larger_than_a_job_may_be_now_is_shown(api: Api, database: Database) -> None:
    job = await api.job()
    variables = {"A": "x" * 400_000}
    database.write_sync(Job.update(runtime_vars=variables).where(Job.id == job["id"]).execute)
    assert (await api.call("GET", f"/v1/jobs/{job['id']}")).json["runtime_vars"] == variables
    smaller = await api.call("PUT", f"/v1/jobs/{job['id']}", {"runtime_vars": {}})
    assert smaller.status == 200


async def test_a_large_job_is_answered_as_a_small_one_is(api: Api) -> None:
    made = await api.job(runtime_vars={"A": LARGE})
    got = await api.call("GET", f"/v1/jobs/{made['id']}")
    assert got.json == made
    changed = await api.call("PUT", f"/v1/jobs/{made['id']}", {"name": "b"}, headers={"If-Match": got.headers["Etag"]})
    assert (changed.status, changed.json["runtime_vars"]) == (200, {"A": LARGE})
    assert changed.headers["Etag"] != got.headers["Etag"]
    exec = await api.exec(made["id"])
    path = f"/v1/jobs/{made['id']}/execs/{exec['id']}"
    detail = (await api.call("GET", path)).json
    assert json.loads(detail["job"]["runtime_vars"]) == detail["runtime_vars"] == {"A": LARGE}
    assert (await api.call("POST", f"{path}/rerun")).json["runtime_vars"] == {"A": LARGE}
    assert (await api.call("POST", f"{path}/stop")).json["runtime_vars"] == {"A": LARGE}


async def test_a_large_page_is_compressed_for_who_likes_it(api: Api) -> None:
    await large_jobs(api, 2)
    plain = await api.call("GET", "/v1/jobs", headers={"Accept-Encoding": "identity"})
    packed = await raw_get(api, "/v1/jobs")
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed.body) == plain.body
    assert plain.headers.get_list("Vary") == ["Accept-Encoding"]


async def raw_get(api: Api, path: str) -> Answer:
    """The answer as it was sent, to a client that likes gzip."""
    headers = {"Authorization": f"Token {api.token}", "Accept-Encoding": "gzip"}
    got = await AsyncHTTPClient().fetch(HTTPRequest(api.url + path, headers=headers, decompress_response=False))
    return Answer(got.code, got.headers, got.body)


async def test_a_page_by_cursor_that_is_too_large_ends_sooner_and_the_next_goes_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await api.job(runtime_vars={"A": "x" * 3000}))["id"] for _ in range(5)]
    monkeypatch.setattr(lists, "MAX_PAGE", 9000)
    url, seen = "/v1/jobs?after=&page_size=100", []
    while url:
        page = (await api.call("GET", url)).json
        assert page["results"]
        seen += [job["id"] for job in page["results"]]
        url = "" if page["next"] is None else page["next"].partition(f":{api.port}")[2]
    assert seen == ids[::-1]
