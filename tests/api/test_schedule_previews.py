"""What the two calls that show a schedule's slots may be asked: how many, how far away, how many at once."""

import asyncio
import threading
from typing import Any

import pytest

from tests.api.conftest import USER
from tests.api.server import Answer, Api

pytestmark = pytest.mark.gen_test(timeout=30)

YEAR_1, YEAR_9999 = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def preview(api: Api, mode: str, **more: Any) -> Answer:
    return await api.call("POST", "/v1/schedule/preview", {"schedule_mode": mode, **more})


@pytest.mark.parametrize("after", [YEAR_1, YEAR_9999])
@pytest.mark.parametrize("zone", [None, "America/New_York", "Asia/Shanghai", "Pacific/Apia"])
@pytest.mark.parametrize(
    "mode", ["R/PT1S", "R/P1Y", "R3/P1D", "R/2026-01-31T08:00:00Z/P1M", "R3/2026-01-31T08:00:00Z/PT1H", "0 0 * * *"]
)
async def test_after_may_be_at_the_edge_of_the_years(api: Api, mode: str, zone: str | None, after: str) -> None:
    answer = await preview(api, mode, schedule_timezone=zone, after=after, count=3)
    if answer.status == 400:
        assert list(answer.faults) == ["after"]
    else:
        assert answer.status == 200, answer.body


async def test_a_form_without_a_start_begins_with_the_first_instant_there_is(api: Api) -> None:
    shown = (await preview(api, "R3/P1Y", after=YEAR_1, count=2)).json
    assert [slot["utc"][:10] for slot in shown["slots"]] == ["0001-01-01", "0002-01-01"]
    assert shown["remaining"] == 3


async def test_a_form_without_a_start_that_has_no_runs_has_no_slots(api: Api) -> None:
    shown = (await preview(api, "R0/P1D", after="2026-01-01T00:00:00Z")).json
    assert (shown["slots"], shown["remaining"]) == ([], 0)


async def test_slots_of_cron_that_are_too_far_away_are_refused_with_how_many_are_not(api: Api) -> None:
    refused = await preview(api, "0 0 29 2 *", after="2026-01-01T00:00:00Z", count=1000)
    assert refused.faults == {"count": ["must be at most 332, the slots of this schedule in 500000 days"]}
    shown = (await preview(api, "0 0 29 2 *", after="2026-01-01T00:00:00Z", count=332)).json
    assert shown["slots"][-1]["utc"].startswith("3392-02-29")


async def test_a_job_s_schedule_is_bounded_as_a_preview_is(api: Api) -> None:
    job = await api.job(is_schedule_active=True, schedule_mode="0 0 29 2 *")
    assert list((await api.call("GET", f"/v1/jobs/{job['id']}/schedule?count=1000")).faults) == ["count"]


async def test_when_too_many_wait_to_be_shown_one_more_is_told_to_try_again(api: Api) -> None:
    job = await api.job(is_schedule_active=True, schedule_mode="0 0 * * *")
    go_on = threading.Event()
    work = api.services.schedules
    # One is at work, and as many of the same caller wait as may.
    waiting = [asyncio.ensure_future(work.call(f"user {USER}", go_on.wait)) for _ in range(21)]
    await asyncio.sleep(0)
    try:
        for refused in (
            await preview(api, "0 0 * * *"),
            await api.call("GET", f"/v1/jobs/{job['id']}/schedule"),
        ):
            assert (refused.status, refused.error["code"]) == (429, "too_many_requests")
            assert int(refused.headers["Retry-After"]) >= 1
    finally:
        go_on.set()
    await asyncio.gather(*waiting)
    assert (await preview(api, "0 0 * * *")).status == 200
