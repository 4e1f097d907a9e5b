"""Times at the edges of what there is, years 1 and 9999, wherever a request may name one: never a 500."""

from typing import Any
from urllib.parse import urlencode

import pytest

from jobd.store.db.database import Database
from jobd.store.people import accounts
from tests.api.server import Api

pytestmark = pytest.mark.gen_test(timeout=30)

EDGES = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00.000001Z",
    "0001-01-01T00:00:00-23:59",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59+23:59",
]
BEYOND = ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z"]


@pytest.fixture
def admin(api: Api, database: Database) -> Api:
    database.write_sync(accounts.create_user, "root", is_admin=True)
    api.token = database.write_sync(accounts.create_token, "root", "test")
    return api


@pytest.mark.parametrize("path", ["/v1/execs", "/v1/audit"])
@pytest.mark.parametrize("at", EDGES)
async def test_a_list_may_begin_and_end_at_the_edges(admin: Api, path: str, at: str) -> None:
    await admin.exec((await admin.job())["id"])
    whole = (await admin.call("GET", path)).json["count"]
    is_early = at.startswith("0001")
    since = await admin.call("GET", f"{path}?{urlencode({'since': at})}")
    until = await admin.call("GET", f"{path}?{urlencode({'until': at})}")
    assert (since.status, since.json["count"]) == (200, whole if is_early else 0)
    assert (until.status, until.json["count"]) == (200, 0 if is_early else whole)


@pytest.mark.parametrize("at", BEYOND)
async def test_what_is_beyond_the_edges_is_refused_in_words(admin: Api, at: str) -> None:
    words = ["must be a time with an offset, as in 2015-12-28T14:31:07Z"]
    for path in ("/v1/execs", "/v1/audit"):
        for name in ("since", "until"):
            refused = await admin.call("GET", f"{path}?{urlencode({name: at})}")
            assert refused.faults == {name: words}
    token = await admin.call("POST", "/v1/tokens", {"name": "a", "expires_at": at})
    assert token.faults == {"expires_at": words}
    preview = await admin.call("POST", "/v1/schedule/preview", {"schedule_mode": "R/P1D", "after": at})
    assert preview.faults == {"after": words}


@pytest.mark.parametrize("at", EDGES)
async def test_a_token_may_end_at_the_edges(admin: Api, at: str) -> None:
    made = await admin.call("POST", "/v1/tokens", {"name": "a", "expires_at": at})
    assert made.status in (201, 400), made.body
    if made.status == 400:
        assert list(made.faults) == ["expires_at"]
    else:
        works = (await admin.call("GET", "/v1/auth/profile", token=made.json["token"])).status
        assert works == (401 if at.startswith("0001") else 200)


MODES = [
    "R/0001-01-01T00:00:00Z/P1D",
    "R3/0001-01-01T00:00:00/PT1S",
    "R/9999-12-31T23:59:59Z/P1Y",
    "R3/9999-12-31T23:59:59/PT1S",
    "R3/P1Y/0001-01-01T00:00:00Z",
    "R3/P1Y/0002-01-01T00:00:00",
    "R3/P9998Y/9999-12-31T00:00:00Z",
    "R3/0001-01-01T00:00:00Z/9999-12-31T00:00:00Z",
    "R/PT1S",
    "0 0 * * *",
    "0 0 29 2 *",
]


@pytest.mark.parametrize("zone", [None, "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_schedule_may_be_at_the_edges(admin: Api, mode: str, zone: str | None) -> None:
    asked: dict[str, Any] = {"schedule_mode": mode, "schedule_timezone": zone}
    for after in (None, *EDGES):
        shown = await admin.call("POST", "/v1/schedule/preview", {**asked, "after": after, "count": 3})
        assert shown.status in (200, 400), (after, shown.body)
    fields = {"name": "a", "docker_image_repo": "a", "is_schedule_active": True, **asked}
    made = await admin.call("POST", "/v1/jobs", fields)
    assert made.status in (201, 400), made.body
    if made.status == 201:
        slots = await admin.call("GET", f"/v1/jobs/{made.json['id']}/schedule?count=3")
        assert slots.status == 200, slots.body
