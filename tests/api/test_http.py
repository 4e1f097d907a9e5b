"""HTTP as such: what is refused, in which shape, and that a client gets to read it."""

import asyncio
import json
from collections.abc import Callable

import pytest

from jobd.config.settings import Auth, Limits
from jobd.errors import ServiceUnavailable
from jobd.store import jobs
from jobd.store.db.database import Database
from jobd.store.db.tables import User
from tests.api.conftest import USER
from tests.api.server import JOB, Api

pytestmark = pytest.mark.gen_test(timeout=30)

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough here: nothing of this depends on it."""
    return sqlite_url


async def raw(api: Api, *parts: bytes, patience: float = 10) -> tuple[int, dict[str, str], bytes]:
    """Send these bytes, then read one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), patience)).decode()
    lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    answer = await asyncio.wait_for(reader.readexactly(int(headers.get("content-length", 0))), patience)
    writer.close()
    return int(lines[0].split()[1]), headers, answer


def head(api: Api, method: str = "POST", path: str = "/v1/jobs", token: str | None = "", **headers: object) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{api.port}", "Content-Type: application/json"]
    if token is not None:
        lines.append(f"Authorization: Token {token or api.token}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/1", "/v1/execs", "/v1/regions", "/v1/sizes"])
async def test_every_address_works_with_and_without_a_slash_at_its_end(api: Api, path: str) -> None:
    await api.job()
    plain = await api.call("GET", path)
    slashed = await api.call("GET", f"{path}/")
    assert plain.status == slashed.status
    assert plain.body == slashed.body


async def test_an_unknown_address_is_404_in_the_shape_of_every_error(api: Api) -> None:
    for method in ("GET", "POST", "DELETE", "PATCH"):
        answer = await api.call(method, "/v1/nothing")
        assert (answer.status, answer.error["code"]) == (404, "resource_not_exist")
        assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/v1/jobs", "GET, HEAD, POST, OPTIONS"),
        ("BREW", "/v1/jobs", "GET, HEAD, POST, OPTIONS"),
        ("POST", "/v1/jobs/1", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("HEAD", "/v1/jobs/1/execs/1/stop", "POST, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_told_which_are_right(api: Api, method: str, path: str, allowed: str) -> None:
    answer = await api.call(method, path)
    assert answer.status == 405
    assert answer.headers["Allow"] == allowed
    if method != "HEAD":
        assert answer.error["code"] == "method_not_allowed"


async def test_head_is_get_without_a_body(api: Api) -> None:
    job = await api.job()
    get = await api.call("GET", f"/v1/jobs/{job['id']}")
    got = await api.call("HEAD", f"/v1/jobs/{job['id']}")
    assert (got.status, got.body) == (200, b"")
    assert got.headers["Content-Length"] == str(len(get.body))


async def test_options_tells_the_methods(api: Api) -> None:
    answer = await api.call("OPTIONS", "/v1/jobs")
    assert (answer.status, answer.headers["Allow"]) == (204, "GET, HEAD, POST, OPTIONS")


async def test_a_request_keeps_the_id_it_came_with_and_gets_one_otherwise(api: Api) -> None:
    given = await api.call("GET", "/v1/jobs", headers={"X-Request-Id": "deploy-42.a_b"})
    assert given.headers["X-Request-Id"] == "deploy-42.a_b"
    for bad in ("with blank", "x" * 65, ""):
        made = await api.call("GET", "/v1/jobs", headers={"X-Request-Id": bad})
        assert made.headers["X-Request-Id"] not in ("", bad)


async def test_answers_are_not_to_be_sniffed_or_stored(api: Api) -> None:
    for path in ("/v1/jobs", "/v1/nothing", "/healthz"):
        headers = (await api.call("GET", path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Etag" not in headers


async def test_text_is_not_escaped_to_ascii(api: Api) -> None:
    job = await api.job(name="任务")
    answer = await api.call("GET", f"/v1/jobs/{job['id']}")
    assert '"name":"任务"'.encode() in answer.body


async def test_without_a_token_the_answer_says_how_to_send_one(api: Api) -> None:
    for headers in ({}, {"Authorization": "Basic abc"}, {"Authorization": f"Token {api.token}x"}):
        answer = await api.call("GET", "/v1/jobs", headers=headers, token=None)
        assert (answer.status, answer.error["code"]) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == 'Token realm="jobd", Bearer realm="jobd"'


async def test_a_token_may_be_called_bearer_too(api: Api) -> None:
    answer = await api.call("GET", "/v1/jobs", headers={"Authorization": f"Bearer {api.token}"}, token=None)
    assert answer.status == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=gbk"]
)
async def test_a_body_that_is_not_told_to_be_json_is_415(api: Api, content_type: str) -> None:
    answer = await api.call("POST", "/v1/jobs", JOB, headers={"Content-Type": content_type})
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"']
)
async def test_a_charset_may_be_told(api: Api, content_type: str) -> None:
    assert (await api.call("POST", "/v1/jobs", JOB, headers={"Content-Type": content_type})).status == 201


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b'{"name": "a", "name": "b"}',
        b'{"runtime_vars": {"A": "1", "A": "2"}}',
        b'{"timeout": NaN}',
        b'{"timeout": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000,
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"name": "\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"\\ud800": 1}',
        b'{"a\\u0000": 1}',
    ],
)
async def test_what_is_not_a_json_object_is_a_bad_request(api: Api, body: bytes) -> None:
    answer = await api.call("POST", "/v1/jobs", body=body, headers=JSON)
    assert (answer.status, answer.error["code"]) == (400, "bad_request")


class TestALargeBody:
    LIMIT = 2**20

    async def test_as_large_as_allowed_is_read(self, api: Api) -> None:
        body = json.dumps({**JOB, "oops": ""}).encode()
        body = body[:-2] + b"x" * (self.LIMIT - len(body)) + body[-2:]
        assert len(body) == self.LIMIT
        assert "oops" in (await api.call("POST", "/v1/jobs", body=body, headers=JSON)).faults

    async def test_one_byte_more_is_413_though_the_client_reads_after_it_has_sent(self, api: Api) -> None:
        answer = await api.call("POST", "/v1/jobs", body=b"x" * (self.LIMIT + 1), headers=JSON)
        assert (answer.status, answer.error["code"]) == (413, "payload_too_large")

    async def test_a_client_in_the_middle_of_sending_gets_to_read_the_answer(self, api: Api) -> None:
        size = 32 * self.LIMIT
        status, _, answer = await raw(api, head(api, Content_Length=size), *[b"x" * self.LIMIT] * 32)
        assert (status, json.loads(answer)["errors"][0]["code"]) == (413, "payload_too_large")

    async def test_in_chunks_it_is_413_too(self, api: Api) -> None:
        chunk = b"%x\r\n" % self.LIMIT + b"x" * self.LIMIT + b"\r\n"
        status, _, _ = await raw(api, head(api, Transfer_Encoding="chunked"), chunk, chunk, b"0\r\n\r\n")
        assert status == 413

    async def test_a_client_that_asks_first_is_refused_before_it_sends(self, api: Api) -> None:
        status, _, _ = await raw(api, head(api, Content_Length=self.LIMIT + 1, Expect="100-continue"))
        assert status == 413

    async def test_that_never_ends_is_cut_off(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("jobd.web.handler.MAX_DROPPED", 2 * self.LIMIT)
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(head(api, Transfer_Encoding="chunked"))
        chunk = b"%x\r\n" % self.LIMIT + b"x" * self.LIMIT + b"\r\n"
        with pytest.raises(ConnectionError):
            while True:
                writer.write(chunk)
                await asyncio.wait_for(writer.drain(), 10)

    async def test_of_a_stranger_is_not_kept(self, api: Api) -> None:
        status, _, _ = await raw(api, head(api, token=None, Content_Length=self.LIMIT), b"x" * self.LIMIT)
        assert status == 401
        status, _, _ = await raw(api, head(api, token=None, Content_Length=self.LIMIT, Expect="100-continue"))
        assert status == 401

    async def test_limit_is_the_settings(self, make_api: Callable[..., Api], database: Database, api: Api) -> None:
        small = make_api(api.token, limits=Limits(max_body=1024))
        assert (await small.call("POST", "/v1/jobs", {**JOB, "command": "x" * 1024})).status == 413


async def test_a_refused_request_leaves_the_connection_open_for_the_next(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    for _ in range(2):
        writer.write(head(api, token=None, Content_Length=2) + b"{}")
        answer = await asyncio.wait_for(reader.readuntil(b"}]}"), 10)
        assert b"401" in answer
    writer.close()


async def test_a_client_that_goes_away_in_its_body_leaves_nothing_under_way(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(head(api, Content_Length=100, Expect="100-continue"))
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert not await api.services.requests.finished(0)
    writer.close()
    assert await api.services.requests.finished(10)


async def test_a_database_that_is_away_is_503(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object) -> None:
        raise ServiceUnavailable("the database cannot be reached")

    monkeypatch.setattr(jobs, "listed", away)
    answer = await api.call("GET", "/v1/jobs")
    assert (answer.status, answer.error["code"]) == (503, "service_unavailable")


async def test_a_fault_of_ours_is_500_that_gives_nothing_away_but_where_to_look(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(jobs, "listed", broken)
    answer = await api.call("GET", "/v1/jobs", headers={"X-Request-Id": "look-here"})
    assert (answer.status, answer.error["code"]) == (500, "unknown_issue")
    assert b"secret" not in answer.body
    assert "look-here" in answer.error["message"]
    logged = next(record for record in caplog.records if record.exc_info)
    assert "look-here" in logged.getMessage()


@pytest.mark.parametrize("number", ["x", "0x1", "-1", "1.0", "９", str(2**63), "9" * 30, "%00", "%FF"])
async def test_an_id_that_no_job_can_have_is_404(api: Api, number: str) -> None:
    for path in (f"/v1/jobs/{number}", f"/v1/jobs/{number}/execs"):
        answer = await api.call("GET", path if number.isascii() else path.replace("９", "%EF%BC%99"))
        assert answer.status == (400 if number == "%FF" else 404)


@pytest.mark.parametrize("exec_id", ["1", "%00", "64b2d045-2881-4293-9bcd-bdc04b953115"])
async def test_an_id_that_no_exec_has_is_404(api: Api, exec_id: str) -> None:
    job = await api.job()
    assert (await api.call("GET", f"/v1/jobs/{job['id']}/execs/{exec_id}")).status == 404


class TestWithoutTokens:
    @pytest.fixture
    def open_api(self, make_api: Callable[..., Api]) -> Api:
        return make_api(auth=Auth(mode="none"))

    async def test_everybody_is_admin_and_a_namespace_comes_into_being(self, open_api: Api) -> None:
        job = await open_api.job(namespace="team")
        assert (job["created_by"], job["namespace"]) == ("admin", "team")

    @pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1", "127.1.2.3:1", "[::1]:8080"])
    async def test_the_host_may_be_this_machine(self, open_api: Api, host: str) -> None:
        assert (await open_api.call("GET", "/v1/jobs", headers={"Host": host})).status == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "2130706433",
            "[::1].evil.example",
            "[::1",
            "[::ffff:10.0.0.1]",
            "-",
        ],
    )
    async def test_any_other_host_is_403(self, open_api: Api, host: str) -> None:
        for path in ("/v1/jobs", "/healthz"):
            answer = await open_api.call("GET", path, headers={"Host": host})
            assert (answer.status, answer.error["code"]) == (403, "permission_denied")

    @pytest.mark.parametrize(
        "host",
        ["localhost@evil.example", "localhost:80@evil.example:80", "localhost,evil.example"],
    )
    async def test_what_is_no_host_is_refused_before_that(self, open_api: Api, host: str) -> None:
        assert (await open_api.call("GET", "/v1/jobs", headers={"Host": host})).status == 400

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://["},
            {"Sec-Fetch-Site": "cross-site"},
        ],
    )
    async def test_a_page_of_another_site_is_403(self, open_api: Api, headers: dict[str, str]) -> None:
        assert (await open_api.call("POST", "/v1/jobs", JOB, headers=headers)).status == 403

    async def test_a_page_of_ours_may_call(self, open_api: Api) -> None:
        assert (await open_api.call("POST", "/v1/jobs", JOB, headers={"Origin": open_api.url})).status == 201


async def test_a_disabled_users_token_is_401(api: Api, database: Database) -> None:
    database.write_sync(lambda: User.update(is_active=False).where(User.username == USER).execute())
    assert (await api.call("GET", "/v1/jobs")).status == 401


@pytest.mark.gen_test
async def test_a_browser_that_asks_for_nothing_in_particular_is_sent_to_the_page_of_the_api(api: Api) -> None:
    answer = await api.call("GET", "/", headers={"Accept": "text/html,application/xhtml+xml;q=0.9"}, token=None)
    assert (answer.status, answer.headers["Location"]) == (302, "docs")
    for accept in ("application/json", "*/*"):
        answer = await api.call("GET", "/", headers={"Accept": accept}, token=None)
        assert (answer.status, answer.json["errors"][0]["code"]) == (404, "resource_not_exist")


@pytest.mark.gen_test
async def test_an_answer_in_json_ends_with_a_newline(api: Api) -> None:
    for path in ("/healthz", "/v1/jobs", "/v1/nowhere"):
        body = (await api.call("GET", path)).body
        assert body.endswith(b"}\n")
        assert body.count(b"\n") == 1
