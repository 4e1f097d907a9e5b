"""/metrics: who may read it, and that it says what happened."""

import asyncio
import re
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobd.config.settings import Auth
from jobd.store import census
from jobd.store.db.error_causes import DatabaseAway
from tests.api.conftest import USER
from tests.api.server import Api

pytestmark = pytest.mark.gen_test(timeout=30)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def samples(api: Api) -> dict[str, float]:
    """What /metrics says, as `name{label="value"}` -> value."""
    text = (await api.call("GET", "/metrics")).body.decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def test_a_program_on_this_machine_reads_it_without_a_token(api: Api) -> None:
    answer = await api.call("GET", "/metrics", token=None)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert {family.name for family in text_string_to_metric_families(answer.body.decode())} >= {"jobd_build_info"}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Host": "jobd.example.com"},
        {"Host": "[::1"},
    ],
)
async def test_what_comes_by_a_proxy_or_under_another_name_needs_a_token(api: Api, headers: dict[str, str]) -> None:
    answer = await api.call("GET", "/metrics", token=None, headers=headers)
    assert (answer.status, answer.error["code"]) == (401, "unauthorized")
    assert (await api.call("GET", "/metrics", headers=headers)).status == 200


async def test_a_wrong_token_does_not_count_as_one(api: Api) -> None:
    wrong = await api.call("GET", "/metrics", token="jobd_wrong", headers={"X-Forwarded-For": "192.0.2.1"})
    assert wrong.status == 401


async def test_openmetrics_is_served_to_who_asks_for_it(api: Api) -> None:
    answer = await api.call("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


@pytest.mark.parametrize("media_type", ["application/openmetrics-text", "text/plain"])
async def test_a_version_that_is_none_is_answered_as_if_none_were_said(api: Api, media_type: str) -> None:
    answer = await api.call("GET", "/metrics", headers={"Accept": f"{media_type};version=x"})
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")


async def test_requests_are_counted_by_pattern_and_never_by_path(api: Api) -> None:
    job = await api.job()
    for path in (f"/v1/jobs/{job['id']}", "/v1/jobs/999999", "/no/such/path", "/nor/this/one"):
        await api.call("GET", path)
    await api.call("BREW", "/v1/jobs")
    seen = await samples(api)
    assert seen['jobd_http_requests_total{code="200",method="GET",route="/v1/jobs/{id}"}'] == 1
    assert seen['jobd_http_requests_total{code="404",method="GET",route="/v1/jobs/{id}"}'] == 1
    assert seen['jobd_http_requests_total{code="404",method="GET",route="unmatched"}'] == 2
    assert seen['jobd_http_requests_total{code="405",method="other",route="/v1/jobs"}'] == 1
    assert seen['jobd_http_request_duration_seconds_count{route="/v1/jobs/{id}"}'] == 2
    assert not [name for name in seen if re.search(r"999999|such|BREW", name)]
    assert seen["jobd_http_requests_in_progress"] == 1


async def test_execs_are_counted_as_they_are_made_and_as_they_end(api: Api) -> None:
    job = await api.job()
    first, _ = await api.exec(job["id"]), await api.exec(job["id"])
    await api.call("POST", f"/v1/jobs/{job['id']}/execs/{first['id']}/stop")
    seen = await samples(api)
    assert seen['jobd_execs_created_total{region="BEIJING1",trigger="manual"}'] == 2
    assert seen['jobd_execs_ended_total{reason="cancelled",region="BEIJING1",status="cancelled"}'] == 1
    assert seen['jobd_execs{region="BEIJING1",status="waiting"}'] == 1
    assert seen['jobd_exec_oldest_ready_timestamp_seconds{region="BEIJING1"}'] > 1.7e9


async def test_many_who_scrape_ask_the_database_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    take = census.take
    monkeypatch.setattr(census, "take", lambda lease: asked.append(lease) or take(lease))
    answers = await asyncio.gather(*(api.call("GET", "/metrics") for _ in range(8)))
    assert {answer.status for answer in answers} == {200}
    assert len(asked) == 1


async def test_a_database_that_is_away_is_told_and_costs_only_what_it_knows(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object) -> None:
        raise DatabaseAway("the database cannot be reached")

    monkeypatch.setattr(census, "take", away)
    seen = await samples(api)
    assert seen["jobd_database_up"] == 0
    assert seen['jobd_database_errors_total{kind="read"}'] == 1
    assert "jobd_daemons" not in seen


async def test_no_label_holds_what_users_name(api: Api) -> None:
    job = await api.job(name="付款-secret-name", labels={"team": "付款"})
    exec = await api.exec(job["id"])
    text = (await api.call("GET", "/metrics")).body.decode()
    for private in (USER, "付款", exec["id"]):
        assert private not in text


async def test_without_tokens_another_sites_page_cannot_read_it(make_api: Callable[..., Api]) -> None:
    api = make_api(auth=Auth(mode="none"))
    assert (await api.call("GET", "/metrics")).status == 200
    assert (await api.call("GET", "/metrics", headers={"Host": "evil.example"})).status == 403
