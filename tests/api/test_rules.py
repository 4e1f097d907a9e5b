"""Every address, method and kind of caller, at an own, a foreign and an absent namespace, against one table.

Each answer is its status; of a list also whether there is something in it, `+`, or nothing, `-`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobd.api import routes, rules
from jobd.api.rules import RULES
from jobd.store import execs, jobs, webhooks
from jobd.store.callers import JOBD, Caller
from jobd.store.db.clock import now
from jobd.store.db.database import Database
from jobd.store.db.tables import Delivery, Token
from jobd.store.people import accounts, organizations, users
from jobd.web.permissions import Who
from tests.api.server import JOB, Answer, Api
from tests.store.rows import JOB as COLUMNS

CALLERS = ("nobody", "expired", "disabled", "reader", "writer", "admin", "reading", "scoped", "stranger", "root")
"""Without a token; with one that has expired; a writer who was disabled; members of the namespace `team` in each role;
its admin's token that may only read; one for `team` alone, of a user who is admin of `rival`, too; a user with no part
in either; an administrator of jobd.
"""
EXPECTED = """
GET    /v1/jobs                                          own     | 401  401  401  200+ 200+ 200+ 200+ 200+ 200- 200+
GET    /v1/jobs                                          foreign | 401  401  401  200- 200- 200- 200- 200- 200- 200+
GET    /v1/jobs                                          absent  | 401  401  401  200- 200- 200- 200- 200- 200- 200-
POST   /v1/jobs                                          own     | 401  401  401  403  201  201  403  201  403  201
POST   /v1/jobs                                          foreign | 401  401  401  403  403  403  403  403  403  201
POST   /v1/jobs                                          absent  | 401  401  401  403  403  403  403  403  403  400
GET    /v1/jobs/{id}                                     own     | 401  401  401  200  200  200  200  200  404  200
GET    /v1/jobs/{id}                                     foreign | 401  401  401  404  404  404  404  404  404  200
GET    /v1/jobs/{id}                                     absent  | 401  401  401  404  404  404  404  404  404  404
PUT    /v1/jobs/{id}                                     own     | 401  401  401  403  200  200  403  200  404  200
PUT    /v1/jobs/{id}                                     foreign | 401  401  401  404  404  404  403  404  404  200
PUT    /v1/jobs/{id}                                     absent  | 401  401  401  404  404  404  403  404  404  404
DELETE /v1/jobs/{id}                                     own     | 401  401  401  403  204  204  403  204  404  204
DELETE /v1/jobs/{id}                                     foreign | 401  401  401  404  404  404  403  404  404  204
DELETE /v1/jobs/{id}                                     absent  | 401  401  401  404  404  404  403  404  404  404
GET    /v1/jobs/{id}/schedule                            own     | 401  401  401  200  200  200  200  200  404  200
GET    /v1/jobs/{id}/schedule                            foreign | 401  401  401  404  404  404  404  404  404  200
GET    /v1/jobs/{id}/schedule                            absent  | 401  401  401  404  404  404  404  404  404  404
GET    /v1/jobs/{id}/execs                               own     | 401  401  401  200+ 200+ 200+ 200+ 200+ 404  200+
GET    /v1/jobs/{id}/execs                               foreign | 401  401  401  404  404  404  404  404  404  200+
GET    /v1/jobs/{id}/execs                               absent  | 401  401  401  404  404  404  404  404  404  404
POST   /v1/jobs/{id}/execs                               own     | 401  401  401  403  201  201  403  201  404  201
POST   /v1/jobs/{id}/execs                               foreign | 401  401  401  404  404  404  403  404  404  201
POST   /v1/jobs/{id}/execs                               absent  | 401  401  401  404  404  404  403  404  404  404
GET    /v1/jobs/{id}/execs/{exec_id}                     own     | 401  401  401  200  200  200  200  200  404  200
GET    /v1/jobs/{id}/execs/{exec_id}                     foreign | 401  401  401  404  404  404  404  404  404  200
GET    /v1/jobs/{id}/execs/{exec_id}                     absent  | 401  401  401  404  404  404  404  404  404  404
DELETE /v1/jobs/{id}/execs/{exec_id}                     own     | 401  401  401  403  204  204  403  204  404  204
DELETE /v1/jobs/{id}/execs/{exec_id}                     foreign | 401  401  401  404  404  404  403  404  404  204
DELETE /v1/jobs/{id}/execs/{exec_id}                     absent  | 401  401  401  404  404  404  403  404  404  404
POST   /v1/jobs/{id}/execs/{exec_id}/stop                own     | 401  401  401  403  202  202  403  202  404  202
POST   /v1/jobs/{id}/execs/{exec_id}/stop                foreign | 401  401  401  404  404  404  403  404  404  202
POST   /v1/jobs/{id}/execs/{exec_id}/stop                absent  | 401  401  401  404  404  404  403  404  404  404
POST   /v1/jobs/{id}/execs/{exec_id}/rerun               own     | 401  401  401  403  201  201  403  201  404  201
POST   /v1/jobs/{id}/execs/{exec_id}/rerun               foreign | 401  401  401  404  404  404  403  404  404  201
POST   /v1/jobs/{id}/execs/{exec_id}/rerun               absent  | 401  401  401  404  404  404  403  404  404  404
GET    /v1/jobs/{id}/execs/{exec_id}/logs                own     | 401  401  401  200  200  200  200  200  404  200
GET    /v1/jobs/{id}/execs/{exec_id}/logs                foreign | 401  401  401  404  404  404  404  404  404  200
GET    /v1/jobs/{id}/execs/{exec_id}/logs                absent  | 401  401  401  404  404  404  404  404  404  404
GET    /v1/execs                                         own     | 401  401  401  200+ 200+ 200+ 200+ 200+ 200- 200+
GET    /v1/execs                                         foreign | 401  401  401  200- 200- 200- 200- 200- 200- 200+
GET    /v1/execs                                         absent  | 401  401  401  200- 200- 200- 200- 200- 200- 200-
GET    /v1/hooks                                         own     | 401  401  401  200+ 200+ 200+ 200+ 200+ 200- 200+
GET    /v1/hooks                                         foreign | 401  401  401  200- 200- 200- 200- 200- 200- 200+
GET    /v1/hooks                                         absent  | 401  401  401  200- 200- 200- 200- 200- 200- 200-
POST   /v1/hooks                                         own     | 401  401  401  403  201  201  403  201  403  201
POST   /v1/hooks                                         foreign | 401  401  401  403  403  403  403  403  403  201
POST   /v1/hooks                                         absent  | 401  401  401  403  403  403  403  403  403  400
GET    /v1/hooks/{id}                                    own     | 401  401  401  200  200  200  200  200  404  200
GET    /v1/hooks/{id}                                    foreign | 401  401  401  404  404  404  404  404  404  200
GET    /v1/hooks/{id}                                    absent  | 401  401  401  404  404  404  404  404  404  404
PUT    /v1/hooks/{id}                                    own     | 401  401  401  403  200  200  403  200  404  200
PUT    /v1/hooks/{id}                                    foreign | 401  401  401  404  404  404  403  404  404  200
PUT    /v1/hooks/{id}                                    absent  | 401  401  401  404  404  404  403  404  404  404
DELETE /v1/hooks/{id}                                    own     | 401  401  401  403  204  204  403  204  404  204
DELETE /v1/hooks/{id}                                    foreign | 401  401  401  404  404  404  403  404  404  204
DELETE /v1/hooks/{id}                                    absent  | 401  401  401  404  404  404  403  404  404  404
GET    /v1/hooks/{id}/deliveries                         own     | 401  401  401  200+ 200+ 200+ 200+ 200+ 404  200+
GET    /v1/hooks/{id}/deliveries                         foreign | 401  401  401  404  404  404  404  404  404  200+
GET    /v1/hooks/{id}/deliveries                         absent  | 401  401  401  404  404  404  404  404  404  404
POST   /v1/hooks/{id}/deliveries/{delivery_id}/redeliver own     | 401  401  401  403  201  201  403  201  404  201
POST   /v1/hooks/{id}/deliveries/{delivery_id}/redeliver foreign | 401  401  401  404  404  404  403  404  404  201
POST   /v1/hooks/{id}/deliveries/{delivery_id}/redeliver absent  | 401  401  401  404  404  404  403  404  404  404
POST   /v1/schedule/preview                              own     | 401  401  401  200  200  200  200  200  200  200
GET    /v1/regions                                       own     | 401  401  401  200+ 200+ 200+ 200+ 200+ 200+ 200+
GET    /v1/sizes                                         own     | 401  401  401  200+ 200+ 200+ 200+ 200+ 200+ 200+
GET    /v1/system                                        own     | 401  401  401  200  200  200  200  200  200  200
POST   /v1/generate-api-token                            own     | 401  401  401  401  401  401  401  401  401  401
GET    /v1/auth/profile                                  own     | 401  401  401  200  200  200  200  200  200  200
PUT    /v1/auth/profile                                  own     | 401  401  401  409  409  409  403  403  409  409
GET    /v1/tokens                                        own     | 401  401  401  200+ 200+ 200+ 200+ 403  200+ 200+
GET    /v1/tokens                                        foreign | 401  401  401  404  404  404  404  403  404  200+
GET    /v1/tokens                                        absent  | 401  401  401  404  404  404  404  403  404  404
POST   /v1/tokens                                        own     | 401  401  401  201  201  201  403  403  400  201
POST   /v1/tokens                                        foreign | 401  401  401  400  400  400  403  403  400  201
POST   /v1/tokens                                        absent  | 401  401  401  400  400  400  403  403  400  400
GET    /v1/tokens/{token_id}                             own     | 401  401  401  200  200  200  200  403  200  200
GET    /v1/tokens/{token_id}                             foreign | 401  401  401  404  404  404  404  403  404  200
GET    /v1/tokens/{token_id}                             absent  | 401  401  401  404  404  404  404  403  404  404
DELETE /v1/tokens/{token_id}                             own     | 401  401  401  204  204  204  403  403  204  204
DELETE /v1/tokens/{token_id}                             foreign | 401  401  401  404  404  404  403  403  404  204
DELETE /v1/tokens/{token_id}                             absent  | 401  401  401  404  404  404  403  403  404  404
GET    /v1/users                                         own     | 401  401  401  403  403  403  403  403  403  200+
POST   /v1/users                                         own     | 401  401  401  403  403  403  403  403  403  201
GET    /v1/users/{username}                              own     | 401  401  401  403  403  403  403  403  403  200
GET    /v1/users/{username}                              foreign | 401  401  401  403  403  403  403  403  403  200
GET    /v1/users/{username}                              absent  | 401  401  401  403  403  403  403  403  403  404
PUT    /v1/users/{username}                              own     | 401  401  401  403  403  403  403  403  403  200
PUT    /v1/users/{username}                              foreign | 401  401  401  403  403  403  403  403  403  200
PUT    /v1/users/{username}                              absent  | 401  401  401  403  403  403  403  403  403  404
DELETE /v1/users/{username}                              own     | 401  401  401  403  403  403  403  403  403  409
DELETE /v1/users/{username}                              foreign | 401  401  401  403  403  403  403  403  403  204
DELETE /v1/users/{username}                              absent  | 401  401  401  403  403  403  403  403  403  404
GET    /v1/orgs                                          own     | 401  401  401  200+ 200+ 200+ 200+ 200+ 200- 200+
POST   /v1/orgs                                          own     | 401  401  401  403  403  403  403  403  403  201
GET    /v1/orgs/{name}                                   own     | 401  401  401  200  200  200  200  200  404  200
GET    /v1/orgs/{name}                                   foreign | 401  401  401  404  404  404  404  404  404  200
GET    /v1/orgs/{name}                                   absent  | 401  401  401  404  404  404  404  404  404  404
DELETE /v1/orgs/{name}                                   own     | 401  401  401  403  403  409  403  409  404  409
DELETE /v1/orgs/{name}                                   foreign | 401  401  401  404  404  404  403  404  404  409
DELETE /v1/orgs/{name}                                   absent  | 401  401  401  404  404  404  403  404  404  404
GET    /v1/orgs/{name}/members                           own     | 401  401  401  200+ 200+ 200+ 200+ 200+ 404  200+
GET    /v1/orgs/{name}/members                           foreign | 401  401  401  404  404  404  404  404  404  200+
GET    /v1/orgs/{name}/members                           absent  | 401  401  401  404  404  404  404  404  404  404
POST   /v1/orgs/{name}/members                           own     | 401  401  401  403  403  201  403  201  404  201
POST   /v1/orgs/{name}/members                           foreign | 401  401  401  404  404  404  403  404  404  201
POST   /v1/orgs/{name}/members                           absent  | 401  401  401  404  404  404  403  404  404  404
GET    /v1/orgs/{name}/members/{username}                own     | 401  401  401  200  200  200  200  200  404  200
GET    /v1/orgs/{name}/members/{username}                foreign | 401  401  401  404  404  404  404  404  404  200
GET    /v1/orgs/{name}/members/{username}                absent  | 401  401  401  404  404  404  404  404  404  404
PUT    /v1/orgs/{name}/members/{username}                own     | 401  401  401  403  403  200  403  200  404  200
PUT    /v1/orgs/{name}/members/{username}                foreign | 401  401  401  404  404  404  403  404  404  200
PUT    /v1/orgs/{name}/members/{username}                absent  | 401  401  401  404  404  404  403  404  404  404
DELETE /v1/orgs/{name}/members/{username}                own     | 401  401  401  403  403  204  403  204  404  204
DELETE /v1/orgs/{name}/members/{username}                foreign | 401  401  401  404  404  404  403  404  404  204
DELETE /v1/orgs/{name}/members/{username}                absent  | 401  401  401  404  404  404  403  404  404  404
GET    /v1/audit                                         own     | 401  401  401  403  403  200+ 200+ 200+ 200- 200+
GET    /v1/audit                                         foreign | 401  401  401  200- 200- 200- 200- 200- 200- 200+
GET    /v1/audit                                         absent  | 401  401  401  200- 200- 200- 200- 200- 200- 200-
GET    /healthz                                          own     | 200  200  200  200  200  200  200  200  200  200
GET    /readyz                                           own     | 200  200  200  200  200  200  200  200  200  200
GET    /metrics                                          own     | 200  200  200  200  200  200  200  200  200  200
GET    /openapi.json                                     own     | 200  200  200  200  200  200  200  200  200  200
GET    /docs                                             own     | 200  200  200  200  200  200  200  200  200  200
"""
HOOK = {"subject_type": "namespace", "url": "https://example.com", "events": ["job:fail"]}
PLACES = ("own", "foreign", "absent")
MEMBER = {"team": "reader", "rival": "scoped", "nowhere": "nobody"}
SECURITY = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
GONE = "00000000-0000-0000-0000-000000000000"


class Undone(Exception):
    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


class Undoing(Database):
    """A database on which every write works, and none stays: each request finds what the one before it found."""

    def write_sync(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def undone() -> None:
            raise Undone(fn(*args, **kwargs))

        try:
            super().write_sync(undone)
        except Undone as end:
            return end.result


@dataclass(frozen=True)
class Place:
    """A namespace, and what to ask for in it."""

    namespace: str
    id: int
    exec_id: str
    username: str
    token_id: int
    hook_id: int
    delivery_id: int


@dataclass(frozen=True)
class World:
    tokens: dict[str, str | None]
    places: dict[str, dict[str, Place]]
    """By caller: what is own differs with accounts, not with namespaces."""


def make_world() -> World:
    root = accounts.caller_of(accounts.create_user("root", is_admin=True))
    for name in CALLERS[1:-1]:
        accounts.create_user(name)
    accounts.create_user("newcomer")
    for org in ("team", "rival"):
        organizations.create(root, org, "root")
    for name, role in [("expired", "admin"), ("disabled", "writer"), ("reader", "reader"), ("writer", "writer")]:
        organizations.add(root, "team", name, role)  # type: ignore[arg-type]
    for name in ("admin", "reading", "scoped"):
        organizations.add(root, "team", name, "admin")
    organizations.add(root, "rival", "scoped", "admin")
    options: dict[str, dict[str, Any]] = {
        "expired": {"expires_at": now() + timedelta(days=1)},
        "reading": {"access": "read"},
        "scoped": {"namespace": "team"},
    }
    issued = {name: accounts.issue_token(name, "test", **options.get(name, {})) for name in CALLERS[1:]}
    Token.update(expires_at=now()).where(Token.expires_at.is_null(False)).execute()
    Token.update(last_used_at=now()).execute()
    users.update(JOBD, "disabled", {"is_active": False})
    strange, _ = accounts.issue_token("newcomer", "test")
    here, there = _runs(root, "team"), _runs(root, "rival")
    our_hook, their_hook = _told(root, "team", here[0]), _told(root, "rival", there[0])
    places = {}
    for name in CALLERS:
        mine = issued[name][0].id if name in issued else strange.id
        places[name] = {
            "own": Place("team", *here, name if name in issued else "reader", mine, *our_hook),
            "foreign": Place("rival", *there, "newcomer", strange.id, *their_hook),
            "absent": Place("nowhere", 10**9, GONE, "nobody", 10**9, 10**9, 10**9),
        }
    return World({name: issued[name][1] if name in issued else None for name in CALLERS}, places)


def _told(root: Caller, namespace: str, job_id: int) -> tuple[int, int]:
    """A hook of the namespace, and its delivery of an exec that was stopped."""
    hook = webhooks.create(root, namespace, {"url": "https://example.com", "events": ["job:cancel"]})
    execs.stop(root, job_id, execs.create(root, job_id, {}, 100).id)
    return hook.id, Delivery.get(Delivery.hook_id == hook.id).id


def _runs(root: Caller, namespace: str) -> tuple[int, str]:
    job = jobs.create(root, {**COLUMNS, "namespace": namespace})
    return job.id, execs.create(root, job.id, {}, 100).id


@pytest.fixture
def world(sqlite_url: str) -> Iterator[World]:
    database = Database(sqlite_url)
    yield database.write_sync(make_world)
    database.close()


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = Undoing(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def body(method: str, address: str, place: Place) -> Any:
    """One that is right: who is let in gets what it asks for."""
    return {
        "POST /v1/jobs": {**JOB, "namespace": place.namespace},
        "PUT /v1/jobs/{id}": {"timeout": 5},
        "POST /v1/hooks": {**HOOK, "subject": place.namespace},
        "PUT /v1/hooks/{id}": {"name": "other"},
        "POST /v1/schedule/preview": {"schedule_mode": "R/PT1H"},
        # no user of this world has a password: 401, and 409 to change it
        "POST /v1/generate-api-token": {"username": "reader", "password": "a long password"},
        "PUT /v1/auth/profile": {"current_password": "a long password", "password": "another password"},
        "POST /v1/tokens": {"name": "test", "namespace": place.namespace},
        "POST /v1/users": {"username": "somebody"},
        "PUT /v1/users/{username}": {"is_active": True},
        "POST /v1/orgs": {"name": "fresh", "admin": "reader"},
        "POST /v1/orgs/{name}/members": {"username": "newcomer", "role": "reader"},
        "PUT /v1/orgs/{name}/members/{username}": {"role": "writer"},
    }.get(f"{method} {address}")


def url(method: str, address: str, place: Place) -> str:
    # a member to change is one of the organization's, whoever asks
    username = MEMBER[place.namespace] if address.startswith("/v1/orgs") else place.username
    values = {"id": place.id, "exec_id": place.exec_id, "name": place.namespace, "delivery_id": place.delivery_id}
    if address.startswith("/v1/hooks"):
        values["id"] = place.hook_id
    path = address.format(**values, username=username, token_id=place.token_id)
    if method == "GET" and address in ("/v1/jobs", "/v1/execs", "/v1/audit"):
        return f"{path}?namespace={place.namespace}"
    if (method, address) == ("GET", "/v1/hooks"):
        return f"{path}?subject_type=namespace&subject={place.namespace}"
    return f"{path}?username={place.username}" if (method, address) == ("GET", "/v1/tokens") else path


def shown(answer: Answer) -> str:
    if answer.status != 200 or not answer.body.startswith((b'{"count":', b"[")):
        return str(answer.status)
    is_empty = answer.json == [] if answer.body.startswith(b"[") else answer.json["count"] == 0
    return f"{answer.status}{'-' if is_empty else '+'}"


def asked() -> Iterator[tuple[str, str, str]]:
    """Each method, address and place; one place where an address knows none."""
    alike = {"/v1/auth/profile", "/v1/generate-api-token", "/v1/orgs", "/v1/users", "/v1/schedule/preview"}
    alike |= {"/v1/regions", "/v1/sizes", "/v1/system", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}
    for address, handler in routes.TABLE.items():
        for method in ("GET", "POST", "PUT", "DELETE"):
            if method in handler.methods():
                yield from ((method, address, place) for place in (PLACES[:1] if address in alike else PLACES))


@pytest.mark.gen_test(timeout=120)
async def test_every_caller_gets_at_every_place_what_the_table_says(world: World, make_api: Callable[..., Api]) -> None:
    api = make_api()
    found = []
    for method, address, place in asked():
        answers = []
        for name in CALLERS:
            at = world.places[name][place]
            answer = await api.call(
                method, url(method, address, at), body(method, address, at), token=world.tokens[name]
            )
            answers.append(f"{shown(answer):4}")
        found.append(f"{method:6} {address:49} {place:7} | {' '.join(answers).rstrip()}")
    assert found == EXPECTED.strip().splitlines()


def test_every_address_and_method_has_a_rule_and_every_rule_an_address() -> None:
    served = {
        address: {m for m in handler.methods() if m not in ("HEAD", "OPTIONS")}
        for address, handler in routes.TABLE.items()
    }
    assert served == {address: set(methods) for address, methods in RULES.items()}


@pytest.mark.gen_test(timeout=30)
async def test_what_no_rule_names_is_refused_to_everybody(
    world: World, make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rules.RULES, "/v1/regions", {})  # type: ignore[arg-type]
    monkeypatch.setitem(rules.RULES, "/healthz", {})  # type: ignore[arg-type]
    api = make_api()
    for path in ("/v1/regions", "/healthz"):
        for name in ("root", "admin", "stranger"):
            assert (await api.call("GET", path, token=world.tokens[name])).status == 403
        assert (await api.call("GET", path, token=None)).status == 401


@pytest.mark.gen_test(timeout=30)
async def test_head_goes_by_the_rule_of_get_and_options_tells_no_stranger(
    world: World, make_api: Callable[..., Api]
) -> None:
    api = make_api()
    for name, head, options in [("nobody", 401, 401), ("writer", 403, 204), ("root", 200, 204)]:
        assert (await api.call("HEAD", "/v1/users", token=world.tokens[name])).status == head
        assert (await api.call("OPTIONS", "/v1/users", token=world.tokens[name])).status == options


@pytest.mark.gen_test(timeout=30)
async def test_a_refusal_says_what_would_be_needed(world: World, make_api: Callable[..., Api]) -> None:
    api, job = make_api(), f"/v1/jobs/{world.places['root']['own'].id}"
    for name, method, path, words in [
        ("reading", "DELETE", job, "may only read"),
        ("reader", "DELETE", job, "only read in the namespace 'team'"),
        ("writer", "GET", "/v1/audit?namespace=team", "only admins of the namespace 'team'"),
        ("writer", "GET", "/v1/users", "only administrators"),
        ("scoped", "GET", "/v1/tokens", "for the namespace 'team' alone"),
    ]:
        answer = await api.call(method, path, token=world.tokens[name])
        assert (answer.status, answer.error["code"]) == (403, "permission_denied")
        assert words in answer.error["message"]


def test_the_manual_shows_the_rules() -> None:
    rows = re.findall(r"^\| `(/\S+)` \| (.+) \|$", SECURITY, re.MULTILINE)
    shown = {path: dict(re.findall(r"`([A-Z]+)` ([^,]+)", text)) for path, text in rows}
    assert shown == {path: {method: who.value for method, who in methods.items()} for path, methods in RULES.items()}
    assert [who.value for who in Who if f"**{who.value}**" not in SECURITY] == []
