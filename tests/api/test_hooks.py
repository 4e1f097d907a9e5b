"""/v1/hooks: who is told of what, and what became of it."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from jobd.api.schemas import serialize
from jobd.store import outbox, secrets, webhooks
from jobd.store.db.database import Database
from jobd.store.db.tables import Hook, Secret
from jobd.store.outbox import Attempt, SendBudget
from jobd.store.people import accounts, organizations, users
from tests.api.conftest import USER
from tests.api.server import Api

EVENTS = ["job:start", "job:succeed", "job:fail", "job:cancel", "job:not_run"]
URL = "https://example.com/hook?a=b"

pytestmark = pytest.mark.gen_test(timeout=30)


@pytest.fixture
def api(api_with_keys: Api) -> Api:
    return api_with_keys


def hook(subject: Any, **more: Any) -> dict[str, Any]:
    kind = "namespace" if isinstance(subject, str) else "job"
    return {"subject_type": kind, "subject": subject, "events": ["job:fail"], "url": URL, **more}


async def make(api: Api, subject: Any, **more: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/v1/hooks", hook(subject, **more))
    assert answer.status == 201, answer.body
    assert answer.headers["Location"] == f"/v1/hooks/{answer.json['id']}"
    return answer.json


async def test_a_hook_is_made_read_changed_and_deleted(api: Api) -> None:
    job = await api.job()
    made = await make(api, job["id"], name="钩子", events=["job:fail", "job:succeed", "job:fail"], secret="geheim")
    told = {name: made[name] for name in ("name", "subject_type", "subject", "namespace", "url", "events", "is_active")}
    assert told == {
        "name": "钩子",
        "subject_type": "job",
        "subject": job["id"],
        "namespace": USER,
        "url": URL,
        "events": ["job:succeed", "job:fail"],
        "is_active": True,
    }
    assert made["created_by"] == USER
    path = f"/v1/hooks/{made['id']}"
    assert (await api.call("GET", path)).json == made
    changed = await api.call("PUT", path, {"is_active": False, "name": None, "events": EVENTS})
    assert changed.status == 200
    expected = {"is_active": False, "name": None, "events": EVENTS, "updated_at": changed.json["updated_at"]}
    assert changed.json == {**made, **expected}
    assert (await api.call("PUT", path, changed.json)).status == 200
    assert (await api.call("PUT", path, {"is_active": None})).json["is_active"] is True
    assert (await api.call("DELETE", path)).status == 204
    assert (await api.call("GET", path)).status == 404


async def test_hooks_of_a_subject_are_a_bare_list(api: Api) -> None:
    job = await api.job()
    made = [await make(api, job["id"]), await make(api, str(job["id"]), subject_type="job")]
    of_all = await make(api, USER)
    found = await api.call("GET", f"/v1/hooks?subject_type=job&subject={job['id']}")
    assert found.json == made[::-1]
    assert (await api.call("GET", f"/v1/hooks?subject_type=namespace&subject={USER}")).json == [of_all]
    assert (await api.call("GET", "/v1/hooks?subject_type=job&subject=999")).json == []
    assert (await api.call("GET", "/v1/hooks")).faults.keys() == {"subject_type", "subject"}
    assert (
        "job or namespace"
        in (await api.call("GET", "/v1/hooks?subject_type=image_repo&subject=x")).faults["subject_type"][0]
    )


async def test_a_secret_is_only_ever_written(api: Api, database: Database) -> None:
    made = await make(api, USER, secret="geheim")
    path = f"/v1/hooks/{made['id']}"

    def stored() -> str:
        return database.read_sync(secrets.of_hook, api.services.keyring, made["id"])

    assert made["secret"] == "******"
    assert b"geheim" not in (await api.call("GET", path)).body
    await api.call("PUT", path, {"secret": "******", "name": "x"})
    assert stored() == "geheim"
    assert (await api.call("PUT", path, {"secret": "other"})).json["secret"] == "******"
    assert stored() == "other"
    assert (await api.call("PUT", path, {"secret": None})).json["secret"] is None
    assert database.read_sync(Secret.select().count) == 0
    assert "secret" in (await api.call("POST", "/v1/hooks", hook(USER, secret="******"))).faults


REFUSED: list[tuple[str, Any]] = [
    ("subject_type", "build_repo"),
    ("subject_type", "image_repo"),
    ("subject_type", "jobs"),
    ("subject_type", None),
    ("subject", None),
    ("subject", []),
    ("subject", True),
    ("subject", -1),
    ("subject", 10**30),
    ("subject", "x"),
    ("subject", 424242),
    ("events", []),
    ("events", ["job:failed"]),
    ("events", "job:fail"),
    ("events", [1]),
    ("events", ["x" * 100_000]),
    ("secret", ""),
    ("secret", "x" * 256),
    ("secret", "whsec_"),
    ("secret", "whsec_!!!"),
    ("secret", "a\x00b"),
    ("name", " "),
    ("is_active", "yes"),
    ("url", None),
    ("url", "example.com/hook"),
    ("url", "ftp://example.com/"),
    ("url", "file:///etc/passwd"),
    ("url", "https://"),
    ("url", "https://:80/"),
    ("url", "https://user:password@example.com/"),
    ("url", "https://user@example.com/"),
    ("url", "https://example.com/#there"),
    ("url", "https://example.com:0/"),
    ("url", "https://example.com:65536/"),
    ("url", "https://example.com:x/"),
    ("url", "https://exa mple.com/"),
    ("url", "https://example.com/\r\nX-Evil: 1"),
    ("url", "https://例子.测试/"),
    ("url", "https://[::1/"),
    ("url", "https://[::1%25eth0]/"),
    ("url", "https://exa%6dple.com/"),
    ("url", "https://example.com\\@10.0.0.1/"),
    ("url", "https://example.com/" + "x" * 2048),
    ("nonsense", 1),
]


async def test_what_cannot_be_is_told_by_its_field(api: Api) -> None:
    job = await api.job()
    for field, value in REFUSED:
        answer = await api.call("POST", "/v1/hooks", {**hook(job["id"]), field: value})
        assert answer.faults.keys() == {field}, value


async def test_urls_that_can_be(api: Api) -> None:
    for url in (
        "http://10.0.0.1:8080/x",
        "https://[2001:db8::1]:8443/",
        "https://EXAMPLE.com",
        "http://xn--fsq.cn/?a=%00",
    ):
        assert (await make(api, USER, url=url))["url"] == url


async def test_a_change_that_cannot_be_changes_nothing(api: Api) -> None:
    made = await make(api, USER)
    path = f"/v1/hooks/{made['id']}"
    for change in ({"url": None}, {"events": None}, {"subject": "other"}, {"subject_type": "job"}, {"url": "x"}):
        assert (await api.call("PUT", path, {"name": "new", **change})).faults.keys() == change.keys()
    assert (await api.call("GET", path)).json == made


async def test_what_belongs_to_others_is_not_there(api: Api, stranger: str) -> None:
    job = await api.job()
    made = await make(api, job["id"])
    path = f"/v1/hooks/{made['id']}"
    for method, rest in (
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("GET", "/deliveries"),
        ("POST", "/deliveries/1/redeliver"),
    ):
        assert (await api.call(method, path + rest, token=stranger)).status == 404
    found = await api.call("GET", f"/v1/hooks?subject_type=job&subject={job['id']}", token=stranger)
    assert (found.status, found.json) == (200, [])
    assert (await api.call("POST", "/v1/hooks", hook(job["id"]), token=stranger)).faults.keys() == {"subject"}
    for namespace in (USER, "nobody"):
        assert (await api.call("POST", "/v1/hooks", hook(namespace), token=stranger)).status == 403
    assert (await api.call("GET", path)).json == made


async def test_deliveries_are_listed_with_their_attempts_and_sent_once_more(api: Api, database: Database) -> None:
    job = await api.job()
    made = await make(api, job["id"], events=["job:cancel"])
    path = f"/v1/hooks/{made['id']}/deliveries"
    execs = [await api.exec(job["id"]) for _ in range(2)]
    for exec in execs:
        await api.call("POST", f"/v1/jobs/{job['id']}/execs/{exec['id']}/stop")
    ((row, _),) = database.write_sync(outbox.claim, "a", SendBudget(1, 1, 1, 1))
    attempt = Attempt(datetime(2026, 1, 1, tzinfo=UTC), 0.25, 500, "500: the receiver does not take it", "no")
    database.write_sync(outbox.finish, row, attempt, "failed", None)
    listed = (await api.call("GET", path)).json
    assert (listed["count"], listed["next"]) == (2, None)
    pending, failed = listed["results"]
    assert (pending["exec"], pending["status"], pending["attempts"]) == (execs[1]["id"], "pending", [])
    assert (failed["status"], failed["event"], failed["next_attempt_at"]) == ("failed", "job:cancel", None)
    (told,) = failed["attempts"]
    assert told == {
        "at": "2026-01-01T00:00:00.000000+00:00",
        "duration_ms": 250,
        "status_code": 500,
        "error": "500: the receiver does not take it",
        "answer": "no",
    }
    again = await api.call("POST", f"{path}/{failed['id']}/redeliver")
    assert again.status == 201
    assert (again.json["webhook_id"], again.json["status"]) == (failed["webhook_id"], "pending")
    assert again.json["id"] != failed["id"]
    assert (await api.call("GET", f"{path}?page_size=1")).json["count"] == 3
    assert (await api.call("POST", f"{path}/424242/redeliver")).status == 404
    await api.call("PUT", f"/v1/hooks/{made['id']}", {"is_active": False})
    assert (await api.call("POST", f"{path}/{failed['id']}/redeliver")).error["code"] == "resource_state_conflict"


async def test_a_delivery_is_of_its_own_hook(api: Api) -> None:
    job = await api.job()
    first, second = await make(api, job["id"], events=["job:cancel"]), await make(api, USER)
    exec = await api.exec(job["id"])
    await api.call("POST", f"/v1/jobs/{job['id']}/execs/{exec['id']}/stop")
    (row,) = (await api.call("GET", f"/v1/hooks/{first['id']}/deliveries")).json["results"]
    assert (await api.call("POST", f"/v1/hooks/{second['id']}/deliveries/{row['id']}/redeliver")).status == 404


async def test_more_hooks_than_are_allowed_are_a_conflict(api: Api) -> None:
    for _ in range(20):
        await make(api, USER)
    assert (await api.call("POST", "/v1/hooks", hook(USER))).status == 409


async def test_a_job_says_who_gets_mail(api: Api) -> None:
    plain = await api.job()
    assert (plain["email_enabled"], plain["email_recipients"]) == (False, [])
    recipients = ["ops@example.com", "a.b+c@sub.example.com"]
    job = await api.job(email_enabled=True, email_recipients=recipients)
    assert (job["email_enabled"], job["email_recipients"]) == (True, recipients)
    exec = await api.exec(job["id"])
    detail = (await api.call("GET", f"/v1/jobs/{job['id']}/execs/{exec['id']}")).json
    assert detail["job"]["email_enabled"] is True
    changed = await api.call("PUT", f"/v1/jobs/{job['id']}", {"email_recipients": None})
    assert changed.json["email_recipients"] == []


NO_RECIPIENTS: list[Any] = [
    "ops@example.com",
    ["ops"],
    ["ops@example.com\r\nBcc: all@example.com"],
    ["Ops <ops@example.com>"],
    ["a@b.com, c@d.com"],
    ["a@b.com\n"],
    ["用户@example.com"],
    ["a@-b.com"],
    ["a..b@c.com"],
    ["a@" + "b" * 64 + ".com"],
    ["a" * 65 + "@b.com"],
    ["a@" + "b." * 130 + "com"],
    ["A@b.com", "a@b.com"],
    [f"a{number}@b.com" for number in range(21)],
    [1],
]


async def test_recipients_that_cannot_be_are_told(api: Api) -> None:
    for value in NO_RECIPIENTS:
        job = {"name": "x", "docker_image_repo": "a/b", "email_recipients": value}
        assert (await api.call("POST", "/v1/jobs", job)).faults.keys() == {"email_recipients"}, value


async def test_a_namespace_that_goes_takes_its_hooks_along(api: Api, database: Database) -> None:
    root = accounts.caller_of(database.write_sync(accounts.create_user, "root", None, True))
    database.write_sync(accounts.create_user, "lihua")
    database.write_sync(organizations.create, root, "team", "root")
    said = {"url": URL, "events": EVENTS}
    for namespace in ("lihua", "team", USER):
        database.write_sync(webhooks.create, root, namespace, said)
    database.write_sync(organizations.delete, root, "team")
    database.write_sync(users.delete, root, "lihua")
    left = database.read_sync(lambda: [row.namespace for row in Hook.select()])
    assert left == [USER]


async def test_changes_of_hooks_are_audited_without_their_secrets(api: Api) -> None:
    made = await make(api, USER, secret="geheim")
    path = f"/v1/hooks/{made['id']}"
    await api.call("PUT", path, {"secret": "anders", "is_active": False})
    await api.call("PUT", path, {"is_active": False})
    await api.call("DELETE", path)
    found = await api.call("GET", f"/v1/audit?namespace={USER}")
    told = [row for row in found.json["results"] if row["action"].startswith("hook.")]
    assert [row["action"] for row in told] == ["hook.delete", "hook.update", "hook.create"]
    assert told[1]["before"] == {"secret": "******", "is_active": True}
    assert told[1]["after"] == {"secret": "******", "is_active": False}
    assert b"geheim" not in found.body
    assert b"anders" not in found.body


async def test_a_mail_address_that_changes_is_audited(api: Api) -> None:
    job = await api.job()
    await api.call("PUT", f"/v1/jobs/{job['id']}", {"email_enabled": True, "email_recipients": ["a@b.cn"]})
    (row, *_) = (await api.call("GET", f"/v1/audit?namespace={USER}")).json["results"]
    assert row["after"] == {"email_enabled": True, "email_recipients": ["a@b.cn"]}


async def test_a_list_of_hooks_is_written_off_the_loop(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(api, USER)
    usual, threads = serialize.hook, list[threading.Thread]()

    def noted(row: Hook) -> serialize.Shape:
        threads.append(threading.current_thread())
        return usual(row)

    monkeypatch.setattr(serialize, "hook", noted)
    found = await api.call("GET", f"/v1/hooks?subject_type=namespace&subject={USER}")
    assert [one["url"] for one in found.json] == [URL]
    assert threads and threading.main_thread() not in threads
