import asyncio
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pluggy
import pytest

from jobd import __version__, hookspecs
from jobd.errors import ServiceUnavailable, TooManyRequests
from jobd.hookspecs import AuthRequest, hookimpl
from jobd.schedule import zone_rules
from jobd.store.db import database as database_module
from jobd.store.db.database import Database
from jobd.store.db.deadlines import Departure, departure
from jobd.store.people import accounts
from jobd.web.sign_ins import MAX_FAILURES, MAX_FOR_USERNAME, MAX_FROM_ADDRESS, WINDOW, Failures, SignIns
from tests.api.conftest import USER
from tests.api.server import Answer, Api

PASSWORD = "a long 密码 & more"
URL = "/v1/generate-api-token"


@pytest.fixture
def user(api: Api, database: Database) -> None:
    database.write_sync(accounts.set_password, USER, PASSWORD)


async def sign_in(api: Api, password: str = PASSWORD, username: str = USER) -> Answer:
    return await api.call("POST", URL, {"username": username, "password": password}, token=None)


@pytest.mark.gen_test(timeout=30)
async def test_a_password_makes_a_token(api: Api, user: None) -> None:
    answer = await sign_in(api)
    assert (answer.status, set(answer.json)) == (200, {"username", "token"})
    profile = await api.call("GET", "/v1/auth/profile", token=answer.json["token"])
    assert profile.json == {
        "username": USER,
        "is_admin": False,
        "namespaces": {USER: "admin"},
        "access": "write",
    }


@pytest.mark.gen_test(timeout=30)
async def test_a_form_does_as_well(api: Api, user: None) -> None:
    form = b"username=chennanfei&password=a+long+%E5%AF%86%E7%A0%81+%26+more"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await api.call("POST", URL, body=form, headers=headers, token=None)).status == 200
    twice = await api.call("POST", URL, body=form + b"&username=x&nul=%00", headers=headers, token=None)
    assert set(twice.faults) == {"username", "nul"}


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("body", [{}, {"username": USER}, {"username": 1, "password": None}])
async def test_what_is_missing_is_400(api: Api, body: dict[str, object]) -> None:
    assert "password" in (await api.call("POST", URL, body, token=None)).faults


@pytest.mark.gen_test(timeout=30)
async def test_a_wrong_password_and_an_unknown_user_are_told_alike(api: Api, user: None) -> None:
    wrong, unknown = await sign_in(api, "wrong"), await sign_in(api, username="nobody")
    assert wrong.status == unknown.status == 401
    assert wrong.body == unknown.body


@pytest.mark.gen_test(timeout=30)
async def test_after_too_many_wrong_passwords_not_even_the_right_one_is_tried(
    api: Api, user: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobd.web.sign_ins.MAX_FAILURES", 2)
    for _ in range(2):
        assert (await sign_in(api, "wrong")).status == 401
    answer = await sign_in(api)
    assert (answer.status, answer.error["code"]) == (429, "too_many_requests")
    assert 0 < int(answer.headers["Retry-After"]) <= WINDOW
    assert (await sign_in(api, username="other")).status == 401


def test_failures_are_forgotten_after_their_time() -> None:
    failures = Failures()
    for second in range(MAX_FAILURES):
        failures.add("::1", USER, second)
    with pytest.raises(TooManyRequests):
        failures.check("::1", USER, WINDOW - 1)
    failures.check("192.0.2.1", USER, WINDOW - 1)
    failures.check("::1", USER, WINDOW)


@pytest.mark.parametrize(
    ("most", "address", "username"),
    [
        (MAX_FAILURES, "2001:db8::{}", USER),
        (MAX_FROM_ADDRESS, "192.0.2.1", "u{}"),
        (MAX_FOR_USERNAME, "10.0.0.{}", USER),
    ],
)
def test_guesses_are_counted_by_network_by_address_and_by_username(most: int, address: str, username: str) -> None:
    failures = Failures()
    for number in range(most):
        failures.check(address.format(number), username.format(number), 0)
        failures.add(address.format(number), username.format(number), 0)
    with pytest.raises(TooManyRequests) as caught:
        failures.check(address.format(most), username.format(most), 1)
    assert caught.value.retry_after == WINDOW - 1


def test_a_right_password_counts_against_nobody() -> None:
    failures = Failures()
    for _ in range(2 * MAX_FOR_USERNAME):
        failures.check("::1", USER, 0)
        failures.add("::1", USER, 0)
        failures.forget("::1", USER)


@pytest.fixture
def guessed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were worked on, for 20 ms each."""
    seen = list[str]()

    def work(hashed: object, password: str) -> None:
        time.sleep(0.02)
        seen.append(password)

    monkeypatch.setattr(accounts, "check_password", work)
    return seen


@pytest.mark.gen_test(timeout=30)
async def test_guesses_from_one_address_do_not_keep_others_waiting(database: Database, guessed: list[str]) -> None:
    sign_ins = SignIns()
    many = [asyncio.ensure_future(sign_ins.check("::1", f"u{number}", "guess", database)) for number in range(30)]
    while not guessed:
        await asyncio.sleep(0)
    await sign_ins.check("192.0.2.1", USER, "right", database)
    assert len(guessed) < 20
    await asyncio.gather(*many)
    sign_ins.close()


@pytest.mark.gen_test(timeout=30)
async def test_passwords_of_clients_that_are_gone_are_not_worked_on(database: Database, guessed: list[str]) -> None:
    sign_ins, leaving = SignIns(), Departure()
    departure.set(leaving)
    many = [asyncio.ensure_future(sign_ins.check("::1", f"u{number}", "guess", database)) for number in range(30)]
    departure.set(None)
    while not guessed:
        await asyncio.sleep(0)
    leaving.leave()
    answers = await asyncio.gather(*many, return_exceptions=True)
    assert sum(isinstance(answer, ServiceUnavailable) for answer in answers) > 10
    assert len(guessed) < 20
    sign_ins.close()


def test_what_is_remembered_of_guesses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobd.web.sign_ins.MAX_REMEMBERED", 5)
    failures = Failures()
    for number in range(20):
        failures.add("::1", f"u{number}" * 1000, number)
    assert len(failures._times) == 5
    assert max(len(username or "") for _, username in failures._times) <= 64


def plugins(*answers: object) -> pluggy.PluginManager:
    """A manager with one plugin an answer; an exception is raised. The last one is asked first."""
    manager = pluggy.PluginManager("jobd")
    manager.add_hookspecs(hookspecs)
    for answer in answers:

        @hookimpl
        def jobd_authenticate(request: AuthRequest, answer: object = answer) -> str | None:
            if isinstance(answer, Exception):
                raise answer
            return request.headers.get("X-User") if answer == "header" else None

        manager.register(SimpleNamespace(jobd_authenticate=jobd_authenticate))
    return manager


@pytest.mark.gen_test(timeout=30)
async def test_a_plugin_may_say_who_asks(api: Api, make_api) -> None:
    open_api = make_api(plugins=plugins("header", RuntimeError("broken"), None))
    for headers, status in [({"X-User": USER}, 200), ({"X-User": "nobody"}, 401), ({}, 401)]:
        assert (await open_api.call("GET", "/v1/jobs", headers=headers)).status == status
    assert (await open_api.call("GET", "/v1/jobs", token=api.token)).status == 200


@pytest.mark.gen_test(timeout=30)
async def test_health_and_readiness_need_no_token(api: Api) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await api.call("GET", path, token=None)).status == 200


@pytest.mark.gen_test(timeout=30)
async def test_a_database_behind_its_schema_makes_it_unready_but_not_unhealthy(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = shutil.copytree(database_module.MIGRATIONS, tmp_path / "newer")
    (newer / "9999_more.py").write_text("def up(migrator, db): ...\n")
    monkeypatch.setattr(database_module, "MIGRATIONS", newer)
    answer = await api.call("GET", "/readyz", token=None)
    assert (answer.status, answer.error["code"]) == (503, "service_unavailable")
    assert answer.error["message"] == "the database waits for 1 migrations"
    assert (await api.call("GET", "/healthz", token=None)).status == 200


@pytest.mark.gen_test(timeout=30)
async def test_the_system_tells_its_version_and_its_time_zone_rules(api: Api) -> None:
    rules = zone_rules.in_use()
    told = {"version": rules.version, "source": rules.source, "reason": rules.reason}
    assert (await api.call("GET", "/v1/system")).json == {"version": __version__, "time_zone_rules": told}


@pytest.mark.gen_test(timeout=30)
async def test_regions_and_sizes_tell_what_may_be_chosen(api: Api) -> None:
    regions = (await api.call("GET", "/v1/regions")).json
    assert regions["count"] == 2
    served, unserved = regions["results"]
    assert (served["name"], served["ok"], served["engine"], served["is_default"]) == ("BEIJING1", True, "dry-run", True)
    assert (unserved["name"], unserved["ok"]) == ("GUARDED", False)
    assert unserved["message"]
    api.engine.regions["BEIJING1"].outage = "no route to host"
    first = (await api.call("GET", "/v1/regions")).json["results"][0]
    assert (first["ok"], first["message"]) == (False, "no route to host")
    sizes = (await api.call("GET", "/v1/sizes")).json["results"]
    assert sizes[0] == {"name": "XXS", "cpus": 0.15, "memory": 67108864, "is_default": True}
