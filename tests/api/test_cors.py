"""Pages of other sites: they may call only where they are configured, and never with a browser's credentials."""

from collections.abc import Callable

import pytest

from jobd.config.settings import Api as ApiSettings
from jobd.config.settings import Auth, parse_origins
from tests.api.server import JOB, Api

SITE = "https://console.example.com"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def shared(api: Api, make_api: Callable[..., Api]) -> Api:
    return make_api(api.token, api=ApiSettings(cors_origins=(SITE,)))


def asking(origin: str, method: str = "PUT") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization, if-match, idempotency-key",
    }


@pytest.mark.gen_test(timeout=30)
async def test_by_default_no_page_is_told_that_it_may(api: Api) -> None:
    for answer in (
        await api.call("GET", "/v1/jobs", headers={"Origin": SITE}),
        await api.call("OPTIONS", "/v1/jobs", headers=asking(SITE)),
    ):
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
        assert "Origin" not in answer.headers.get("Vary", "")


@pytest.mark.gen_test(timeout=30)
async def test_a_browser_that_asks_first_is_told_without_a_token_what_a_page_may_send(shared: Api) -> None:
    answer = await shared.call("OPTIONS", "/v1/jobs/1", headers=asking(SITE), token=None)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == SITE
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, PUT, DELETE, OPTIONS"
    named = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "if-match", "idempotency-key", "last-event-id", "range"} <= set(named)
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.gen_test(timeout=30)
async def test_a_page_may_read_answers_and_errors_with_the_headers_that_matter(shared: Api) -> None:
    made = await shared.call("POST", "/v1/jobs", JOB, headers={"Origin": SITE})
    refused = await shared.call("GET", "/v1/jobs", headers={"Origin": SITE}, token=None)
    missing = await shared.call("GET", "/v1/jobs/99", headers={"Origin": SITE})
    assert [answer.status for answer in (made, refused, missing)] == [201, 401, 404]
    for answer in (made, refused, missing):
        assert answer.headers["Access-Control-Allow-Origin"] == SITE
        shown = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"ETag", "Location", "Retry-After", "X-Request-Id", "RateLimit-Remaining"} <= set(shown)


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://console.example.com", f"{SITE}.evil.example"]
)
async def test_any_other_origin_is_told_nothing(shared: Api, origin: str) -> None:
    asked = await shared.call("OPTIONS", "/v1/jobs", headers=asking(origin), token=None)
    called = await shared.call("GET", "/v1/jobs", headers={"Origin": origin})
    assert asked.status == 401
    for answer in (asked, called):
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"].startswith("Origin")


@pytest.mark.gen_test(timeout=30)
async def test_without_tokens_other_sites_stay_out_even_if_they_are_configured(make_api: Callable[..., Api]) -> None:
    open_api = make_api(auth=Auth(mode="none"), api=ApiSettings(cors_origins=(SITE,)))
    for answer in (
        await open_api.call("POST", "/v1/jobs", JOB, headers={"Origin": SITE}),
        await open_api.call("OPTIONS", "/v1/jobs", headers=asking(SITE)),
    ):
        assert (answer.status, answer.error["code"]) == (403, "permission_denied")
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "text", ["*", "https://a.example/", "a.example", "https://A.example", "https://*.example", "null"]
)
def test_what_is_no_origin_stops_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        parse_origins(text)


def test_origins_stand_apart_by_blanks_or_commas() -> None:
    assert parse_origins("https://a.example, http://[::1]:3000\n  http://localhost:3000") == (
        "https://a.example",
        "http://[::1]:3000",
        "http://localhost:3000",
    )
    assert parse_origins("") == ()
