"""Lists that are walked by cursor: each entry once, whatever comes and goes meanwhile."""

import random
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from jobd.store.callers import JOBD
from jobd.store.db import pages
from jobd.store.db.database import Database
from jobd.store.db.tables import Job
from jobd.store.people import accounts, organizations, users
from tests.api.conftest import USER
from tests.api.server import Api

pytestmark = pytest.mark.gen_test(timeout=60)

Change = Callable[[int], None]


async def walk(api: Api, url: str, change: Change = lambda page: None) -> list[dict[str, Any]]:
    """All pages of a list, by `next` alone."""
    entries: list[dict[str, Any]] = []
    number = 0
    while url:
        page = (await api.call("GET", url)).json
        assert page["previous"] is None
        entries += page["results"]
        change(number)
        number += 1
        url = "" if page["next"] is None else page["next"].partition(f":{api.port}")[2]
    return entries


async def some_jobs(api: Api, count: int, **values: Any) -> list[int]:
    return [(await api.job(**values))["id"] for _ in range(count)]


async def test_a_walk_gives_each_entry_once_newest_first(api: Api) -> None:
    ids = await some_jobs(api, 7)
    for start in (
        "/v1/jobs?after=&page_size=3",
        "/v1/jobs?count=none&page_size=3",
        "/v1/jobs?count=bounded&page_size=7",
    ):
        assert [entry["id"] for entry in await walk(api, start)] == ids[::-1]


async def test_what_comes_and_goes_meanwhile_neither_doubles_nor_hides_what_stays(api: Api, database: Database) -> None:
    chance = random.Random(5)
    ids = await some_jobs(api, 30)
    leave = chance.sample(ids[1:], 10)

    def change(page: int) -> None:
        job = database.read_sync(Job.get_by_id, ids[0])
        values = {name: getattr(job, name) for name in Job._meta.fields if name != "id"}
        database.write_sync(Job.create, **values)
        if leave:
            database.write_sync(Job.delete().where(Job.id == leave.pop()).execute)

    stays = set(ids) - set(leave)
    seen = [entry["id"] for entry in await walk(api, "/v1/jobs?after=&page_size=4", change)]
    assert len(seen) == len(set(seen))
    assert stays <= set(seen) <= set(ids)


async def test_counting_goes_as_far_as_one_asks(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_COUNTED", 3)
    await some_jobs(api, 4)
    heads = {}
    for count in ("exact", "bounded", "none"):
        page = (await api.call("GET", f"/v1/jobs?count={count}")).json
        heads[count] = (page["count"], page["count_is_exact"])
    assert heads == {"exact": (4, True), "bounded": (3, False), "none": (None, False)}
    page = (await api.call("GET", "/v1/jobs?count=bounded&name=none")).json
    assert (page["count"], page["count_is_exact"]) == (0, True)


async def test_without_the_new_parameters_a_list_is_as_it_was(api: Api) -> None:
    await some_jobs(api, 3)
    page = (await api.call("GET", "/v1/jobs?page_size=2")).json
    assert list(page) == ["count", "next", "previous", "results"]
    assert (page["count"], page["next"]) == (3, f"{api.url}/v1/jobs?page_size=2&page=2")
    page = (await api.call("GET", "/v1/jobs?page_size=2&page=2&count=none")).json
    assert (page["count"], page["next"]) == (None, None)
    assert page["previous"] == f"{api.url}/v1/jobs?page_size=2&count=none&page=1"


async def test_filters_hold_behind_a_cursor(api: Api) -> None:
    ids = await some_jobs(api, 3, name="a")
    await some_jobs(api, 3, name="b")
    assert [entry["id"] for entry in await walk(api, "/v1/jobs?name=a&after=&page_size=1")] == ids[::-1]


@pytest.mark.parametrize("after", ["x", "W10", "WzEsICJ4Iiwgd10", "é", "A" * 512, "WzEsIngiLDFd"])
async def test_what_is_no_cursor_is_refused(api: Api, after: str) -> None:
    answer = await api.call("GET", f"/v1/jobs?after={after}")
    assert list(answer.faults) == ["after"]


async def test_a_cursor_of_another_list_or_of_other_filters_is_refused(api: Api) -> None:
    job = await api.job()
    await api.job()
    for _ in range(2):
        await api.exec(job["id"])
    following = (await api.call("GET", "/v1/jobs?count=none&page_size=1")).json["next"]
    after = parse_qs(urlsplit(following).query)["after"][0]
    assert (await api.call("GET", f"/v1/jobs?after={after}")).status == 200
    for other in (f"/v1/jobs?name=x&after={after}", f"/v1/execs?after={after}", f"/v1/jobs?after={after}&page=2"):
        assert list((await api.call("GET", other)).faults) == ["after"], other


async def test_every_list_can_be_walked(api: Api, database: Database) -> None:
    database.write_sync(users.update, JOBD, USER, {"is_admin": True})
    job = await api.job()
    for number in range(3):
        database.write_sync(accounts.create_user, f"u{number}")
        database.write_sync(organizations.create, JOBD, f"org{number}", USER)
        database.write_sync(organizations.add, JOBD, "org0", f"u{number}", "reader")
        database.write_sync(accounts.issue_token, USER, f"t{number}")
        await api.exec(job["id"])
    for path, count in (
        ("/v1/users", 4),
        ("/v1/orgs", 3),
        ("/v1/orgs/org0/members", 4),
        ("/v1/tokens", 4),
        ("/v1/audit", None),
        ("/v1/execs", 3),
        (f"/v1/jobs/{job['id']}/execs", 3),
    ):
        entries = await walk(api, f"{path}?after=&page_size=1")
        whole = (await api.call("GET", f"{path}?page_size=100")).json
        assert entries == whole["results"], path
        assert len(entries) == (whole["count"] if count is None else count), path


async def test_a_page_and_its_count_are_of_one_moment(api: Api, database: Database) -> None:
    await some_jobs(api, 1)

    def counts_around_an_insert() -> tuple[int, int]:
        with pages.snapshot(Job, True):
            before = Job.select().count()
            job = Job.get()
            values = {name: getattr(job, name) for name in Job._meta.fields if name != "id"}
            adding = threading.Thread(target=database.write_sync, args=(Job.create,), kwargs=values)
            adding.start()
            adding.join()
            return before, Job.select().count()

    assert database.read_sync(counts_around_an_insert) == (1, 1)
    assert database.read_sync(Job.select().count) == 2
