"""Whatever a client sends, it is told what is wrong with it, or it is done: never 500."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from jobd.api.schemas.requests import READ_ONLY, JobFields
from tests.api.server import JOB, Api

TEXT = st.text(max_size=20) | st.sampled_from(["", " ", "\x00", "\ud800", "R/P1D", "@daily", "latest", "BEIJING1"])
NUMBER = st.integers() | st.floats(allow_nan=False) | st.sampled_from([2**31, 2**63, 10**400, -1])
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted({*JobFields.model_fields, *READ_ONLY})) | TEXT
CALM = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@CALM
@given(body=st.dictionaries(NAMES, ANYTHING, max_size=5))
def test_any_body_of_a_job_or_exec(io_loop: IOLoop, api: Api, body: dict[str, Any]) -> None:
    async def send() -> None:
        job = await api.job()
        for method, path, sent in [
            ("POST", "/v1/jobs", {**JOB, **body}),
            ("PUT", f"/v1/jobs/{job['id']}", body),
            ("POST", f"/v1/jobs/{job['id']}/execs", body),
            ("POST", "/v1/schedule/preview", {"schedule_mode": "@daily", **body}),
        ]:
            answer = await api.call(method, path, sent)
            assert answer.status in (200, 201, 400, 403), (path, json.dumps(sent), answer.body)

    io_loop.run_sync(send)


@CALM
@given(path=st.text(max_size=10), query=st.dictionaries(TEXT, TEXT, max_size=3), raw=st.binary(max_size=10))
def test_any_address(io_loop: IOLoop, api: Api, path: str, query: dict[str, str], raw: bytes) -> None:
    def escaped(data: bytes) -> str:
        return "".join(f"%{byte:02X}" for byte in data)

    text = "&".join(f"{escaped(k.encode(errors='surrogatepass'))}={escaped(raw)}" for k in query)

    async def send() -> None:
        part = escaped(path.encode(errors="surrogatepass"))
        for address in (f"/v1/jobs/{part}?{text}", f"/v1/jobs?{text}", f"/v1/execs?label={part}", f"/v1/{part}"):
            answer = await api.call("GET", address)
            assert answer.status in (200, 400, 404), (address, answer.body)

    io_loop.run_sync(send)
