"""Bytes that no client of good will sends, over a real socket: never a 500, never a lost record, always an answer."""

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from tests.api.server import JOB, Api

CALM = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PATIENCE = 10.0
"""Seconds for an answer."""
ODD = st.sampled_from(
    [
        "\x00",
        "\u202e\u2066evil\u2069",  # bidirectional controls
        "\ud800",
        "\udfff",
        "x" * 300,
        "x" * 70_000,
        "9" * 400,
        "-0",
        "1e999",
        "../../etc/passwd",
        "%",
        "%zz",
        "%00",
        "%ff%fe",
        "\r\nX-Injected: 1",
        "';--",
        "任务",
        "\U0001f600",
    ]
)
TEXT = ODD | st.text(st.characters(), max_size=12)
JSON_TEXT = st.sampled_from(
    [
        b'{"name": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"runtime_vars": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
        b'{"timeout": ' + b"9" * 100_000 + b"}",
        b'{"timeout": 1e400}',
        b'{"timeout": -1E-400}',
        b'{"name": "a", "name": "b"}',
        b'{"name": "\\ud800"}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "\xc0\x80"}',
        b"\xff\xfe{\x00}\x00",
        b'{"name": "\x00"}',
        b'{"name": "a"} {"name": "b"}',
        b'{"name": "a"',
        b"[" * 100_000,
        b"null",
        b"",
        b" ",
        b"{}",
    ]
) | st.binary(max_size=40)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture(autouse=True)
def nothing_went_wrong_inside(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Also of requests whose answers nobody waited for."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


class Answers:
    """What came back over one connection, up to its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.statuses = [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]

    def are_calm(self) -> bool:
        return all(status < 500 for status in self.statuses) and b"X-Injected" not in self.data


async def sent(api: Api, *parts: bytes, is_all: bool = False) -> Answers:
    """Send the parts and read to the end. `is_all`: say that nothing will follow; what is under way may be dropped."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if is_all:
            writer.write_eof()
        return Answers(await asyncio.wait_for(reader.read(), PATIENCE))
    except ConnectionError:
        return Answers(b"")
    finally:
        writer.close()


def request(api: Api, method: str = "POST", path: bytes = b"/v1/jobs", body: bytes = b"", **headers: bytes) -> bytes:
    lines = [
        method.encode() + b" " + path + b" HTTP/1.1",
        b"Host: 127.0.0.1",
        f"Authorization: Token {api.token}".encode(),
        b"Content-Type: application/json",
        b"Connection: close",
        *(name.replace("_", "-").encode() + b": " + value for name, value in headers.items()),
        b"Content-Length: %d" % len(body),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


async def is_well(api: Api, job: dict[str, Any]) -> None:
    """What was there is there as it was, and the next request is served."""
    got = await api.call("GET", f"/v1/jobs/{job['id']}")
    assert (got.status, got.json) == (200, job)
    assert (await api.call("GET", "/healthz")).status == 200


@CALM
@given(body=JSON_TEXT, method=st.sampled_from(["POST", "PUT"]))
def test_any_body(io_loop: IOLoop, api: Api, body: bytes, method: str) -> None:
    async def send() -> None:
        job = await api.job(name="keep me")
        path = b"/v1/jobs/%d" % job["id"] if method == "PUT" and body.strip() not in (b"", b"{}") else b"/v1/jobs"
        answers = await sent(api, request(api, method, path, body))
        assert answers.are_calm() and answers.statuses, answers.data[:200]
        assert not [status for status in answers.statuses if status < 400], body
        await is_well(api, job)

    io_loop.run_sync(send)


@CALM
@given(part=TEXT, name=TEXT, value=TEXT, escape=st.booleans())
def test_any_address(io_loop: IOLoop, api: Api, part: str, name: str, value: str, escape: bool) -> None:
    def spelt(text: str) -> bytes:
        data = as_bytes(text)
        return quote(data, safe="").encode() if escape else data

    async def send() -> None:
        job = await api.job()
        for path in (b"/v1/jobs/" + spelt(part), b"/v1/jobs?" + spelt(name) + b"=" + spelt(value), b"/" + spelt(part)):
            for method in ("GET", "DELETE", "OPTIONS"):
                answers = await sent(api, request(api, method, path))
                assert answers.are_calm(), answers.data[:300]
        await is_well(api, job)

    io_loop.run_sync(send)


HEADERS = [
    "Accept",
    "Accept_Encoding",
    "Authorization",
    "Content_Length",
    "Content_Type",
    "Expect",
    "Host",
    "Idempotency_Key",
    "If_Match",
    "Last_Event_ID",
    "Origin",
    "Range",
    "Transfer_Encoding",
    "X_Forwarded_For",
    "X_Request_Id",
]


@CALM
@given(name=st.sampled_from(HEADERS), value=TEXT, follow=st.booleans())
def test_any_header(io_loop: IOLoop, api: Api, name: str, value: str, follow: bool) -> None:
    async def send() -> None:
        job = await api.job()
        exec = await api.exec(job["id"])
        log = f"/v1/jobs/{job['id']}/execs/{exec['id']}/logs{'?follow=1' if follow else ''}".encode()
        for method, path in (("GET", log), ("PUT", b"/v1/jobs/%d" % job["id"]), ("GET", b"/v1/jobs")):
            sends = request(api, method, path, **{name: as_bytes(value)})
            answers = await sent(api, sends, is_all=name in ("Content_Length", "Transfer_Encoding", "Expect"))
            assert answers.are_calm(), answers.data[:300]
        got = await api.call("GET", f"/v1/jobs/{job['id']}")
        assert got.json["name"] == job["name"]

    io_loop.run_sync(send)


CHUNKS = st.lists(
    st.sampled_from(
        [b"2\r\n{}\r\n", b"0\r\n\r\n", b"zz\r\n", b"-1\r\n", b"ffffffffffffffff\r\n", b"2;ext=1\r\n{}\r\n", b"\r\n"]
    )
    | st.binary(max_size=8),
    max_size=4,
)


@CALM
@given(chunks=CHUNKS)
def test_any_chunks(io_loop: IOLoop, api: Api, chunks: list[bytes]) -> None:
    async def send() -> None:
        job = await api.job()
        head = request(api).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        answers = await sent(api, head, *chunks, is_all=True)
        assert answers.are_calm(), answers.data[:300]
        await is_well(api, job)

    io_loop.run_sync(send)


@CALM
@given(cut=st.integers(0, 1500), count=st.integers(1, 5))
def test_a_request_that_stops_anywhere_makes_nothing_or_one_job(
    io_loop: IOLoop, api: Api, cut: int, count: int
) -> None:
    async def send() -> None:
        name = str(uuid.uuid4())
        one = request(api, body=json.dumps({**JOB, "name": name}).encode()).replace(b"Connection: close\r\n", b"")
        answers = await sent(api, (one * count)[:cut], is_all=True)
        made = (await api.call("GET", f"/v1/jobs?name={name}")).json["count"]
        assert answers.are_calm()
        # What was said to be made is there, and what was not sent whole is not.
        assert answers.statuses.count(201) <= made <= cut // len(one)

    io_loop.run_sync(send)


@pytest.mark.gen_test(timeout=30)
async def test_requests_sent_all_at_once_are_answered_each_in_its_turn(api: Api) -> None:
    job = await api.job()
    bad, unknown, good = (
        made.replace(b"Connection: close\r\n", b"")
        for made in (
            request(api, body=b"{"),
            request(api, "GET", b"/v1/nothing"),
            request(api, "GET", b"/v1/jobs/%d" % job["id"]),
        )
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(good + bad + unknown + good)
    await writer.drain()
    found = b""
    while len(Answers(found).statuses) < 4 or not found.endswith(b"}\n"):
        found += await asyncio.wait_for(reader.read(65536), PATIENCE)
    writer.close()
    assert Answers(found).statuses == [200, 400, 404, 200]


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize(
    "text",
    [
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\n continued: x\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost : a\r\nX\r\n\r\n",
    ],
)
async def test_what_is_no_request_harms_nobody(api: Api, text: bytes) -> None:
    job = await api.job()
    answers = await sent(api, text, is_all=True)
    assert answers.are_calm(), answers.data[:300]
    await is_well(api, job)
