"""gzip: for large answers in JSON, where the client likes it; never where it would be wrong."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tornado.httpclient import AsyncHTTPClient

from jobd.output import run_log
from jobd.output.run_log import Entry
from jobd.web.compression import MIN_LENGTH, accepts_gzip
from tests.api.server import Answer, Api


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture(autouse=True)
def raw_client() -> Iterator[None]:
    """Answers as they come over the wire."""
    AsyncHTTPClient.configure(None, defaults={"decompress_response": False})
    yield
    AsyncHTTPClient.configure(None)


async def asked(api: Api, path: str, encoding: str, **headers: str) -> Answer:
    return await api.call("GET", path, headers={"Accept-Encoding": encoding, **headers})


@pytest.mark.gen_test(timeout=30)
async def test_a_large_list_is_compressed_if_that_is_liked(api: Api) -> None:
    await api.job(command=f"echo {'x' * 2 * MIN_LENGTH}")
    plain = await asked(api, "/v1/jobs", "identity")
    zipped = await asked(api, "/v1/jobs", "br, gzip;q=0.8")
    assert (plain.headers.get("Content-Encoding"), zipped.headers["Content-Encoding"]) == (None, "gzip")
    assert gzip.decompress(zipped.body) == plain.body
    assert len(zipped.body) == int(zipped.headers["Content-Length"]) < len(plain.body) / 4
    assert plain.headers["Vary"] == zipped.headers["Vary"] == "Accept-Encoding"
    head = await api.call("HEAD", "/v1/jobs", headers={"Accept-Encoding": "gzip"})
    assert (head.headers["Content-Length"], head.body) == (zipped.headers["Content-Length"], b"")


@pytest.mark.gen_test(timeout=30)
async def test_a_small_answer_and_a_tagged_one_stay_as_they_are(api: Api) -> None:
    job = await api.job(command=f"echo {'x' * 2 * MIN_LENGTH}")
    for path in ("/healthz", "/v1/nothing", f"/v1/jobs/{job['id']}"):
        answer = await asked(api, path, "gzip")
        assert "Content-Encoding" not in answer.headers
        assert json.loads(answer.body)


@pytest.mark.gen_test(timeout=30)
async def test_of_logs_only_the_list_of_lines_is_compressed(api: Api) -> None:
    exec = await api.exec((await api.job())["id"])
    api.engine.log = run_log.encode([Entry(datetime.now(UTC), "stdout", b"a line of text\n" * 1000)])
    path = f"/v1/jobs/{exec['job']}/execs/{exec['id']}/logs"
    lines = await asked(api, path, "gzip", Accept="application/json")
    assert lines.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(lines.body))) == 1000
    assert lines.headers.get_list("Vary") == ["Accept", "Accept-Encoding"]
    for more in ({}, {"Range": "bytes=0-9000"}, {"Accept": "text/event-stream"}):
        follow = "?follow=1" if "Accept" in more else ""
        answer = await asked(api, path + follow, "gzip", **more)
        assert answer.status in (200, 206)
        assert "Content-Encoding" not in answer.headers


@pytest.mark.gen_test(timeout=30)
async def test_the_document_has_a_tag_for_each_encoding(api: Api) -> None:
    plain, zipped = await asked(api, "/openapi.json", ""), await asked(api, "/openapi.json", "gzip")
    assert gzip.decompress(zipped.body) == plain.body
    assert plain.headers["Etag"] != zipped.headers["Etag"]
    again = await asked(api, "/openapi.json", "gzip", **{"If-None-Match": zipped.headers["Etag"]})
    assert again.status == 304


@pytest.mark.parametrize(
    ("accept", "liked"),
    [
        ("", False),
        ("gzip", True),
        ("GZip;Q=1.0, deflate", True),
        ("x-gzip", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.5, identity;q=0.9", False),
        ("gzip;q=0.9, identity;q=0.5", True),
        ("br, zstd", False),
        ("gzip;q=much, identity", False),
        (",;,gzip", True),
    ],
)
def test_what_a_client_likes(accept: str, liked: bool) -> None:
    assert accepts_gzip(accept) is liked
