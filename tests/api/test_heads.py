"""Heads of requests: how many lines and parameters, and lists in headers that are looked at in part."""

import asyncio
import json
import re

import pytest

from jobd.api import logs
from jobd.web import compression, proxies
from jobd.web.request_heads import MAX_LINES
from tests.api.server import Api

pytestmark = pytest.mark.gen_test(timeout=30)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def sent(api: Api, lines: int) -> bytes:
    """The answer to a request of so many header lines, on a connection that the server ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = ["GET /healthz HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *(f"X-{n}: 1" for n in range(lines - 2))]
    writer.write("\r\n".join([*head, "", ""]).encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_head_of_too_many_lines_is_refused_in_words(api: Api) -> None:
    assert (await sent(api, MAX_LINES)).startswith(b"HTTP/1.1 200 ")
    head, _, body = (await sent(api, MAX_LINES + 1)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert json.loads(body)["errors"][0]["message"] == "the request has more than 100 header lines"


@pytest.mark.parametrize("count", [101, 1000, 4000])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/execs", "/healthz", "/nowhere"])
async def test_a_query_of_too_many_parameters_is_refused_in_words(api: Api, path: str, count: int) -> None:
    query = "&".join(f"label=a%3D{number}" for number in range(count))
    refused = await api.call("GET", f"{path}?{query}")
    assert (refused.status, refused.error["code"]) == (400, "bad_request")
    assert refused.error["message"] == "the query has more than 100 parameters"


async def test_a_path_that_is_too_long_is_refused_in_words(api: Api) -> None:
    refused = await api.call("GET", "/v1/jobs/" + "x" * 2000)
    assert (refused.status, refused.error["message"]) == (400, "the path has more than 2000 characters")
    assert (await api.call("GET", "/v1/jobs/" + "x" * 1900)).status == 404


async def test_a_body_behind_a_query_of_too_many_parameters_does_not_harm_the_next_request(api: Api) -> None:
    query = "&".join(["a=1"] * 200)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(f"POST /v1/jobs?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nGET ".encode())
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert re.findall(rb"HTTP/1.1 (\d{3})", answer) == [b"400", b"200"]


async def test_as_many_labels_as_a_job_may_have_can_be_asked_for(api: Api) -> None:
    labels = {f"a{number}": "1" for number in range(64)}
    job = await api.job(labels=labels)
    query = "&".join(f"label={name}=1" for name in labels)
    assert [found["id"] for found in (await api.call("GET", f"/v1/jobs?{query}")).json["results"]] == [job["id"]]
    refused = await api.call("GET", f"/v1/jobs?{query}&label=b=1")
    assert refused.faults == {"label": ["must be given at most 64 times"]}


async def test_of_a_list_in_a_header_the_first_elements_count() -> None:
    assert compression.accepts_gzip("br, gzip")
    assert not compression.accepts_gzip("br," * 1000 + "gzip")
    assert logs.quality("text/plain, " + "a/b," * 10_000, "text/plain") == 1.0
    assert logs.quality("a/b," * 10_000 + "text/plain", "text/plain") == 0.0
    assert proxies.MAX_HOPS >= 20
