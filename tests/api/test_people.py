"""Users, organizations, members and tokens over HTTP."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobd.errors import ServiceUnavailable
from jobd.store.callers import JOBD
from jobd.store.db.database import Database
from jobd.store.db.tables import Token
from jobd.store.people import accounts, organizations
from tests.api.conftest import USER
from tests.api.server import JOB, Api

PASSWORD = "a long password"
SOON = "2099-01-01T00:00:00Z"


@pytest.fixture
def root(api: Api, database: Database) -> Api:
    """The server, asked by an administrator of it."""
    database.write_sync(accounts.create_user, "root", None, True)
    api.token = database.write_sync(accounts.create_token, "root", "test")
    return api


@pytest.fixture
def team(root: Api, database: Database) -> Callable[[str, str], str]:
    """A user's token, who is a member of the organization `team`."""
    database.write_sync(organizations.create, JOBD, "team", "root")

    def join(username: str, role: Any) -> str:
        if username != USER:
            database.write_sync(accounts.create_user, username)
        database.write_sync(organizations.add, JOBD, "team", username, role)
        return database.write_sync(accounts.create_token, username, "test")

    return join


async def status(api: Api, method: str, path: str, body: Any = None, token: str | None = "") -> int:
    return (await api.call(method, path, body, token=token)).status


@pytest.mark.gen_test(timeout=30)
async def test_a_user_is_made_changed_and_deleted(root: Api) -> None:
    made = await root.call("POST", "/v1/users", {"username": "lihua", "password": PASSWORD})
    assert (made.status, made.headers["Location"]) == (201, "/v1/users/lihua")
    assert (
        made.json.items() >= {"username": "lihua", "is_admin": False, "is_active": True, "has_password": True}.items()
    )
    listed = (await root.call("GET", "/v1/users")).json
    assert [user["username"] for user in listed["results"]] == ["lihua", "root", USER]
    changed = await root.call("PUT", "/v1/users/lihua", {"is_admin": True})
    assert (changed.json["is_admin"], changed.json["is_active"]) == (True, True)
    assert await status(root, "DELETE", "/v1/users/lihua") == 204
    for method in ("GET", "PUT", "DELETE"):
        assert await status(root, method, "/v1/users/lihua") == 404


@pytest.mark.gen_test(timeout=30)
async def test_what_cannot_be_is_told_by_its_field(root: Api) -> None:
    wrong: list[tuple[str, str, Any, str]] = [
        ("POST", "/v1/users", {"username": "a/b"}, "username"),
        ("POST", "/v1/users", {"username": "中文"}, "username"),
        ("POST", "/v1/users", {"username": "lihua", "password": "short"}, "password"),
        ("POST", "/v1/users", {"username": "lihua", "password": "x" * 1025}, "password"),
        ("POST", "/v1/users", {"username": "lihua", "is_admin": "yes"}, "is_admin"),
        ("PUT", f"/v1/users/{USER}", {"username": "other"}, "username"),
        ("POST", "/v1/orgs", {"name": "-team"}, "name"),
        ("POST", "/v1/orgs", {"name": "team", "admin": "nobody"}, "admin"),
        ("POST", "/v1/tokens", {"name": ""}, "name"),
        ("POST", "/v1/tokens", {"name": "x", "access": "all"}, "access"),
        ("POST", "/v1/tokens", {"name": "x", "namespace": "nowhere"}, "namespace"),
        ("POST", "/v1/tokens", {"name": "x", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ("POST", "/v1/tokens", {"name": "x", "expires_at": "tomorrow"}, "expires_at"),
    ]
    for method, path, body, field in wrong:
        assert list((await root.call(method, path, body)).faults) == [field]


@pytest.mark.gen_test(timeout=30)
async def test_a_name_in_an_address_that_nobody_can_have_is_not_found(root: Api) -> None:
    for name in ("%00", "%E4%B8%AD", "a" * 500, "..", "%2E%2E", "a%0Ab", "%F0%9F%92%A9"):
        paths = (f"/v1/users/{name}", f"/v1/orgs/{name}", f"/v1/orgs/{name}/members", f"/v1/orgs/team/members/{name}")
        assert [await status(root, "GET", path) for path in paths] == [404] * 4


@pytest.mark.gen_test(timeout=30)
async def test_users_and_organizations_share_the_names(root: Api) -> None:
    assert await status(root, "POST", "/v1/orgs", {"name": "team"}) == 201
    for path, body in [
        ("/v1/orgs", {"name": USER}),
        ("/v1/orgs", {"name": "team"}),
        ("/v1/users", {"username": "team"}),
        ("/v1/users", {"username": USER}),
    ]:
        assert await status(root, "POST", path, body) == 409


@pytest.mark.gen_test(timeout=30)
async def test_a_disabled_users_tokens_and_password_stop_at_once_and_come_back(api: Api, root: Api) -> None:
    made = await root.call("POST", "/v1/users", {"username": "lihua", "password": PASSWORD})
    sign_in = {"username": "lihua", "password": PASSWORD}
    token = (await root.call("POST", "/v1/generate-api-token", sign_in, token=None)).json["token"]
    for is_active, expected in [(False, 401), (True, 200)]:
        assert await status(root, "PUT", "/v1/users/lihua", {"is_active": is_active}) == 200
        assert await status(root, "GET", "/v1/auth/profile", token=token) == expected
        assert await status(root, "POST", "/v1/generate-api-token", sign_in, token=None) == expected
    assert made.json["is_active"]


@pytest.mark.gen_test(timeout=30)
async def test_the_last_administrator_stays_one(root: Api) -> None:
    for method, body in [("PUT", {"is_admin": False}), ("PUT", {"is_active": False}), ("DELETE", None)]:
        answer = await root.call(method, "/v1/users/root", body)
        assert (answer.status, "last administrator" in answer.error["message"]) == (409, True)
    await root.call("POST", "/v1/users", {"username": "second", "is_admin": True})
    assert await status(root, "PUT", "/v1/users/second", {"is_active": False}) == 200
    # one who cannot sign in does not count
    assert await status(root, "DELETE", "/v1/users/root") == 409
    assert await status(root, "PUT", "/v1/users/second", {"is_active": True}) == 200
    assert await status(root, "DELETE", "/v1/users/root") == 204


@pytest.mark.gen_test(timeout=30)
async def test_the_last_admin_of_an_organization_stays_one(root: Api, team: Callable[[str, str], str]) -> None:
    team(USER, "admin")
    assert await status(root, "DELETE", "/v1/orgs/team/members/root") == 204
    for method, path, body in [
        ("PUT", f"/v1/orgs/team/members/{USER}", {"role": "writer"}),
        ("DELETE", f"/v1/orgs/team/members/{USER}", None),
        ("PUT", f"/v1/users/{USER}", {"is_active": False}),
        ("DELETE", f"/v1/users/{USER}", None),
    ]:
        answer = await root.call(method, path, body)
        assert (answer.status, "last admin of 'team'" in answer.error["message"]) == (409, True)
    team("lihua", "admin")
    assert await status(root, "PUT", f"/v1/orgs/team/members/{USER}", {"role": "reader"}) == 200


@pytest.mark.gen_test(timeout=30)
async def test_who_owns_jobs_cannot_be_deleted(root: Api, team: Callable[[str, str], str]) -> None:
    for namespace, path in [("team", "/v1/orgs/team"), (USER, f"/v1/users/{USER}")]:
        job = await root.job(namespace=namespace)
        answer = await root.call("DELETE", path)
        assert (answer.status, "has jobs" in answer.error["message"]) == (409, True)
        assert await status(root, "DELETE", f"/v1/jobs/{job['id']}") == 204
        assert await status(root, "DELETE", path) == 204
        assert await status(root, "POST", "/v1/jobs", {**JOB, "namespace": namespace}) == 400


@pytest.mark.gen_test(timeout=30)
async def test_a_new_organization_has_its_members_and_forgets_the_old_ones(root: Api, team: Any) -> None:
    token = team("lihua", "writer")
    assert [member["username"] for member in (await root.call("GET", "/v1/orgs/team/members")).json["results"]] == [
        "lihua",
        "root",
    ]
    assert (await root.call("GET", "/v1/orgs/team", token=token)).json["role"] == "writer"
    assert await status(root, "DELETE", "/v1/orgs/team") == 204
    made = await root.call("POST", "/v1/orgs", {"name": "team"})
    assert made.json["created_by"] == "root"
    assert await status(root, "GET", "/v1/orgs/team", token=token) == 404
    assert await status(root, "POST", "/v1/orgs/team/members", {"username": "root", "role": "reader"}) == 409
    assert await status(root, "POST", "/v1/orgs/team/members", {"username": "nobody", "role": "reader"}) == 400


@pytest.mark.gen_test(timeout=30)
async def test_a_changed_role_holds_from_the_next_request_on(root: Api, team: Callable[[str, str], str]) -> None:
    token, job = team(USER, "reader"), await root.job(namespace="team")
    path = f"/v1/jobs/{job['id']}"
    assert await status(root, "PUT", path, {"timeout": 5}, token) == 403
    await root.call("PUT", f"/v1/orgs/team/members/{USER}", {"role": "writer"})
    assert await status(root, "PUT", path, {"timeout": 5}, token) == 200
    await root.call("DELETE", f"/v1/orgs/team/members/{USER}")
    assert await status(root, "GET", path, token=token) == 404


@pytest.mark.gen_test(timeout=30)
async def test_a_token_for_one_namespace_makes_jobs_there_and_sees_no_other(
    root: Api, team: Callable[[str, str], str]
) -> None:
    token = team(USER, "writer")
    await root.job(namespace=USER)
    made = await root.call("POST", "/v1/tokens", {"name": "ci", "namespace": "team"}, token=token)
    scoped = made.json["token"]
    job = await root.call("POST", "/v1/jobs", JOB, token=scoped)
    assert (job.status, job.json["namespace"], job.json["created_by"]) == (201, "team", USER)
    assert [row["namespace"] for row in (await root.call("GET", "/v1/jobs", token=scoped)).json["results"]] == ["team"]
    profile = (await root.call("GET", "/v1/auth/profile", token=scoped)).json
    assert profile == {"username": USER, "is_admin": False, "namespaces": {"team": "writer"}, "access": "write"}
    await root.call("DELETE", f"/v1/orgs/team/members/{USER}")
    assert (await root.call("GET", "/v1/jobs", token=scoped)).json["count"] == 0


@pytest.mark.gen_test(timeout=30)
async def test_a_token_is_shown_once_and_works_until_it_is_revoked(api: Api) -> None:
    made = await api.call("POST", "/v1/tokens", {"name": "每日", "access": "read", "expires_at": SOON})
    said = {"name": "每日", "username": USER, "namespace": None, "access": "read", "last_used_at": None}
    assert (made.status, made.json.items() >= said.items()) == (201, True)
    assert made.json["expires_at"] == "2099-01-01T00:00:00.000000+00:00"
    shown = await api.call("GET", made.headers["Location"])
    assert {**shown.json, "token": made.json["token"]} == made.json
    assert made.json["token"] not in (await api.call("GET", "/v1/tokens")).body.decode()
    assert await status(api, "GET", "/v1/jobs", token=made.json["token"]) == 200
    assert await status(api, "DELETE", made.headers["Location"]) == 204
    assert await status(api, "GET", "/v1/jobs", token=made.json["token"]) == 401


@pytest.mark.gen_test(timeout=30)
async def test_an_expired_token_says_so(api: Api, database: Database) -> None:
    until = datetime.now(UTC) + timedelta(seconds=60)
    made, text = database.write_sync(accounts.issue_token, USER, "brief", None, "write", until)
    assert await status(api, "GET", "/v1/jobs", token=text) == 200
    past = Token.update(expires_at=until - timedelta(seconds=61)).where(Token.id == made.id)
    database.write_sync(past.execute)
    answer = await api.call("GET", "/v1/jobs", token=text)
    assert (answer.status, answer.error["message"]) == (401, "this token has expired")


@pytest.mark.gen_test(timeout=30)
async def test_a_tokens_use_is_written_down_once_a_minute(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write = database.write

    async def counted(fn: Any, *args: Any, **kwargs: Any) -> Any:
        written.append(fn.__name__)
        return await write(fn, *args, **kwargs)

    monkeypatch.setattr(database, "write", counted)
    for _ in range(5):
        await api.call("GET", "/v1/jobs")
        await api.services.uses.written()
    assert written == ["note_use"]
    used = (await api.call("GET", "/v1/tokens")).json["results"][0]["last_used_at"]
    assert datetime.now(UTC) - datetime.fromisoformat(used) < timedelta(minutes=1)
    database.write_sync(Token.update(last_used_at=datetime.now(UTC) - timedelta(minutes=2)).execute)
    await api.call("GET", "/v1/jobs")
    await api.services.uses.written()
    assert written == ["note_use", "note_use"]


@pytest.mark.gen_test(timeout=30)
async def test_a_use_that_cannot_be_written_down_refuses_nobody(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: Any) -> None:
        raise ServiceUnavailable("read-only")

    monkeypatch.setattr(database, "write", away)
    assert await status(api, "GET", "/v1/jobs") == 200
    await api.services.uses.written()


@pytest.mark.gen_test(timeout=30)
async def test_ones_own_password_is_changed_by_who_knows_it(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = {"current_password": PASSWORD, "password": "another password"}
    assert await status(api, "PUT", "/v1/auth/profile", new) == 409
    database.write_sync(accounts.set_password, USER, PASSWORD)
    assert list((await api.call("PUT", "/v1/auth/profile", {**new, "password": "short"})).faults) == ["password"]
    assert await status(api, "PUT", "/v1/auth/profile", new) == 200
    assert list((await api.call("PUT", "/v1/auth/profile", new)).faults) == ["current_password"]
    for password, expected in [(PASSWORD, 401), ("another password", 200)]:
        sign_in = {"username": USER, "password": password}
        assert await status(api, "POST", "/v1/generate-api-token", sign_in, None) == expected
    monkeypatch.setattr("jobd.web.sign_ins.MAX_FAILURES", 1)
    assert [await status(api, "PUT", "/v1/auth/profile", new) for _ in range(2)] == [400, 429]


@pytest.mark.gen_test(timeout=30)
async def test_without_tokens_every_caller_is_administrator(make_api: Callable[..., Api], database: Database) -> None:
    database.write_sync(accounts.create_user, "admin", None, True)
    api = make_api(auth={"mode": "none"})
    assert (await api.call("GET", "/v1/auth/profile")).json["is_admin"]
    assert (await api.job(namespace="somebody"))["namespace"] == "somebody"
    # what came into being by its first use becomes an organization, with its jobs
    assert await status(api, "POST", "/v1/orgs", {"name": "somebody"}) == 201
    assert (await api.call("GET", "/v1/audit?namespace=somebody")).json["count"] == 3
