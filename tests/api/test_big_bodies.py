"""Bodies that are large or full of faults: what they are refused with, and that the refusal stays small."""

import asyncio
import gzip
import json
import re
from typing import Any

import pytest

from jobd.web import json_body
from tests.api.server import JOB, Api

pytestmark = pytest.mark.gen_test(timeout=30)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_a_body_of_nobody_is_small(api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    sent = {"username": "x" * json_body.MAX_ANONYMOUS, "password": "x"}
    refused = await api.call("POST", "/v1/generate-api-token", sent, token=None)
    words = "the body of a request without a token must be at most 16384 bytes"
    assert (refused.status, refused.error["code"], refused.error["message"]) == (400, "bad_request", words)
    # The length is not told beforehand.
    chunked = await send_chunked(api, "/v1/generate-api-token", json.dumps(sent).encode())
    assert chunked.startswith(b"HTTP/1.1 400 ")
    unknown = await api.call("POST", "/v1/jobs", body=b"x" * 100_000, headers=headers, token="jobd_nobody")
    assert unknown.status == 401


async def test_a_body_of_somebody_may_be_larger(api: Api) -> None:
    job = await api.job(runtime_vars={"A": "x" * (json_body.MAX_ANONYMOUS + 1)})
    assert len(job["runtime_vars"]["A"]) == json_body.MAX_ANONYMOUS + 1


async def send_chunked(api: Api, path: str, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        ({f"unknown_{number}": 1 for number in range(30_000)}, 30_000),
        ({"labels": {"x" * 300 + str(number): "" for number in range(2000)}}, 1),
        ({"runtime_vars": {f"A{number}": 1 for number in range(30_000)}}, 1),
        ({"runtime_vars": {f"{number}": "x" for number in range(30_000)}}, 1),
        ({"runtime_vars": {f"A{number}": "" for number in range(30_000)}}, 1),
        ({"secret_vars": {f"A{number}": 1 for number in range(30_000)}}, 1),
        ({"mounts": [{}] * 20_000}, 1),
        ({"mounts": [{f"a{number}": 1 for number in range(30_000)}]}, 1),
        ({"email_recipients": [1] * 40_000}, 1),
        ({"name": "x" * 900_000}, 1),
        ({"docker_image_repo": "a-" * 400_000}, 1),
        ({"docker_image_tag": "x" * 900_000}, 1),
        ({"command": "x" * 900_000}, 1),
        ({"region_name": "x" * 900_000}, 1),
        ({"schedule_mode": "x" * 900_000}, 1),
        ({"schedule_timezone": "x" * 900_000}, 1),
        ({"x" * 900_000: 1}, 1),
    ],
)
async def test_a_refusal_is_small_and_says_how_many_faults_there_are(
    api: Api, sent: dict[str, Any], count: int
) -> None:
    refused = await api.call("POST", "/v1/jobs", {**JOB, **sent})
    assert len(refused.body) < 8_000
    assert 1 <= len(refused.faults) <= 20
    if count > 20:
        assert refused.error["message"].endswith(f": {count} faults, of which these are the first 20")


async def test_names_that_cannot_be_are_told_with_how_many_more_there_are(api: Api) -> None:
    refused = await api.call("POST", "/v1/jobs", {**JOB, "runtime_vars": {f"A{number}": 1 for number in range(100)}})
    (text,) = refused.faults["runtime_vars"]
    assert text.startswith("A0: must be a string; A1: must be a string;")
    assert text.endswith("A19: must be a string; and 80 more")


async def test_all_variables_together_have_a_bound(api: Api) -> None:
    half = "x" * (64 * 2**10)
    job = await api.job(runtime_vars={"A": half})
    too_much = {"runtime_vars": {"A": half, "B": half}}
    for answer in (
        await api.call("POST", "/v1/jobs", {**JOB, **too_much}),
        await api.call("PUT", f"/v1/jobs/{job['id']}", too_much),
    ):
        assert answer.faults == {"runtime_vars": ["must be at most 131072 bytes together, names and values"]}
    merged = await api.call("POST", f"/v1/jobs/{job['id']}/execs", {"runtime_vars": {"B": half}})
    words = "must be at most 131072 bytes together with the job's, names and values"
    assert merged.faults == {"runtime_vars": [words]}
    assert (await api.exec(job["id"], runtime_vars={"A": half}))["runtime_vars"] == {"A": half}


async def test_the_largest_variable_fits_alone(api: Api) -> None:
    largest = "x" * (128 * 2**10 - 1 - len("A="))
    assert (await api.job(runtime_vars={"A": largest}))["runtime_vars"]["A"] == largest
    refused = await api.call("POST", "/v1/jobs", {**JOB, "runtime_vars": {"A": largest + "x"}})
    assert refused.faults == {"runtime_vars": ["A: name and value must be at most 131070 bytes together"]}


async def test_all_labels_together_have_a_bound(api: Api) -> None:
    most = {f"{number:02}" + "k" * 253: "v" * 255 for number in range(64)}
    assert (await api.job(labels=most))["labels"] == most
    refused = await api.call("POST", "/v1/jobs", {**JOB, "labels": dict.fromkeys(most, "标" * 255)})
    assert refused.faults == {"labels": ["must be at most 32768 bytes together, names and values"]}


async def test_a_whole_job_has_a_bound(api: Api) -> None:
    # As JSON, a control character is six bytes.
    variables = {"A": "\x01" * 40_000}
    large = {**JOB, "runtime_vars": variables, "labels": {f"l{number}": "\x01" * 255 for number in range(60)}}
    refused = await api.call("POST", "/v1/jobs", large)
    (text,) = refused.faults["runtime_vars"]
    assert re.fullmatch(r"makes the job \d{6} bytes of JSON; at most 262144 are allowed", text)
    job = await api.job(runtime_vars=variables)
    changed = await api.call("PUT", f"/v1/jobs/{job['id']}", {"labels": large["labels"]})
    assert list(changed.faults) == ["labels"]


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip"])
async def test_a_compressed_body_is_refused_in_words(api: Api, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    refused = await api.call("POST", "/v1/jobs", body=gzip.compress(json.dumps(JOB).encode()), headers=headers)
    assert (refused.status, refused.error["code"]) == (415, "unsupported_media_type")
    assert refused.error["message"] == (
        f"the body must not be compressed, and its Content-Encoding is {coding}; send it uncompressed"
    )
    assert refused.headers["Accept-Encoding"] == "identity"


async def test_a_body_that_is_told_not_to_be_compressed_is_taken(api: Api) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "identity"}
    assert (await api.call("POST", "/v1/jobs", JOB, headers=headers)).status == 201
