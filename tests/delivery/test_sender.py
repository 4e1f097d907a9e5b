"""From the outbox to receivers: signed, again and again until they are taken, and nobody waits for somebody else."""

import asyncio
import hashlib
import hmac
import ipaddress
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from tornado.ioloop import IOLoop

from jobd.config import Settings
from jobd.config.settings import Webhooks
from jobd.delivery import sender
from jobd.delivery.http_post import Answer
from jobd.delivery.sender import RETRIES, Deliveries, again, judge
from jobd.keyring import Keyring
from jobd.store import execs, secrets, webhooks
from jobd.store.db.database import Database
from jobd.store.db.tables import DeliveryAttempt, Hook, Secret
from jobd.store.people import accounts
from jobd.store.people.accounts import Caller
from tests.delivery.receivers import PATIENCE, Receiver, answer, receiver, silence
from tests.engine.conftest import make_settings
from tests.store.rows import make_exec, make_hook, make_job, outbox_rows

SECRET = "whsec_" + "c2VjcmV0IG9mIGEgdGVzdA=="
NOW = datetime(2026, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.gen_test(timeout=30)

Start = Callable[..., Any]


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = Database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def caller(database: Database) -> Caller:
    return accounts.caller_of(database.write_sync(accounts.create_user, "chennanfei"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    webhooks = Webhooks(allow_networks=(ipaddress.ip_network("127.0.0.0/8"),))
    return make_settings(tmp_path, {}).model_copy(update={"webhooks": webhooks})


@pytest.fixture
def keyring(database: Database, settings: Settings) -> Keyring:
    keyring = Keyring(settings.jobd.key_file)
    database.write_sync(secrets.begin, keyring)
    return keyring


@pytest.fixture
def start(database: Database, settings: Settings, io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Begins to deliver, with retries that come at once."""
    monkeypatch.setattr(sender, "RETRIES", (0.01,) * len(RETRIES))
    started: list[Deliveries] = []

    async def begin(daemon: str = "one") -> Deliveries:
        started.append(Deliveries(database, settings, daemon))
        await started[-1].start()
        return started[-1]

    yield begin
    for made in started:
        io_loop.run_sync(lambda made=made: made.stop(0))  # type: ignore[misc]


def cancel_one(database: Database, caller: Caller, there: Receiver, count: int = 1, **values: Any) -> Hook:
    """A hook of a job of its own, and so many cancelled execs for it to tell of."""
    job = make_job(database, caller)
    hook = make_hook(database, caller, job.id, "job:cancel", url=there.url(), **values)
    for _ in range(count):
        row = make_exec(database, caller, job)
        database.write_sync(execs.stop, caller, job.id, row.id)
    return hook


async def settled(database: Database, count: int = 1) -> list[tuple[str, list[DeliveryAttempt]]]:
    """Status and attempts of each delivery, once none of so many is pending."""
    async with asyncio.timeout(PATIENCE):
        while True:
            rows = outbox_rows(database)
            if len(rows) >= count and all(row.status != "pending" for row in rows):
                break
            await asyncio.sleep(0.01)
    made = database.read_sync(lambda: list(DeliveryAttempt.select().order_by(DeliveryAttempt.id)))
    return [(row.status, [one for one in made if one.delivery_id == row.id]) for row in rows]


@pytest.mark.parametrize("secret", [SECRET, "中文 secret"])
async def test_a_delivery_carries_both_signatures(
    database: Database, caller: Caller, start: Start, keyring: Keyring, secret: str
) -> None:
    async with receiver(answer(200, "好".encode())) as there:
        hook = cancel_one(database, caller, there, secret=secret, keyring=keyring)
        await start()
        (request,) = await there.received(1)
    sent, headers = json.loads(request.body), request.headers
    assert sent["hook"] == {"id": hook.id, "subject_type": "job", "subject": hook.job_id}
    assert (sent["data"]["status"], sent["sender"]) == ("C", {"username": "chennanfei"})
    assert headers["user-agent"] == "Alauda/Webhook/1.0"
    assert (headers["content-type"], headers["x-alauda-event"]) == ("application/json", "job:cancel")
    time = headers["x-alauda-event-time"]
    assert (
        datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).isoformat(timespec="microseconds")
        == sent["data"]["ended_at"]
    )
    expected = hmac.new(secret.encode(), time.encode(), hashlib.sha1).hexdigest()
    assert headers["x-alauda-signature"] == f"sha1={expected}"
    oracle = Webhook(secret if secret == SECRET else secret.encode())
    assert oracle.verify(request.body, headers) == sent
    ((status, (attempt,)),) = await settled(database)
    assert (status, attempt.status_code, attempt.answer, attempt.error) == ("delivered", 200, "好", None)


async def test_without_a_secret_nothing_is_signed(database: Database, caller: Caller, start: Start) -> None:
    async with receiver() as there:
        cancel_one(database, caller, there)
        await start()
        (request,) = await there.received(1)
    assert not {"x-alauda-signature", "webhook-signature"} & request.headers.keys()


async def test_a_failed_delivery_comes_again_as_the_same_message(
    database: Database, caller: Caller, start: Start, keyring: Keyring
) -> None:
    async with receiver(answer(500, b"no\x00"), answer(302, Location="/"), silence, answer(204)) as there:
        there.answers[2] = b""
        cancel_one(database, caller, there, secret=SECRET, keyring=keyring)
        await start()
        requests = await there.received(4)
        ((status, attempts),) = await settled(database)
    assert status == "delivered"
    assert [one.status_code for one in attempts] == [500, 302, None, 204]
    assert ["not take" in str(one.error) for one in attempts] == [True, False, False, False]
    assert "redirect" in str(attempts[1].error)
    assert attempts[0].answer == "no\ufffd"
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert len({request.body for request in requests}) == 1
    for request in requests:
        assert Webhook(SECRET).verify(request.body, request.headers)


async def test_a_delivery_is_given_up_after_its_last_retry(database: Database, caller: Caller, start: Start) -> None:
    async with receiver(answer(500)) as there:
        cancel_one(database, caller, there)
        await start()
        ((status, attempts),) = await settled(database)
    assert (status, len(attempts)) == ("failed", 8)
    counted = database.metrics.registry.get_sample_value
    failures = {"channel": "webhook", "result": "failure"}
    assert counted("jobd_delivery_attempts_total", failures) == 8
    assert counted("jobd_deliveries_given_up_total", {"channel": "webhook"}) == 1


async def test_410_switches_the_hook_off(database: Database, caller: Caller, start: Start) -> None:
    async with receiver(answer(410)) as there:
        hook = cancel_one(database, caller, there)
        await start()
        ((status, attempts),) = await settled(database)
        assert (status, len(attempts)) == ("failed", 1)
        assert not database.read_sync(webhooks.get, caller, hook.id).is_active
        row = make_exec(database, caller, database.read_sync(lambda: make_row(hook)))
        database.write_sync(execs.stop, caller, hook.job_id, row.id)
        assert len(outbox_rows(database)) == 1


def make_row(hook: Hook) -> Any:
    """A hook's job, as `make_exec` wants it."""
    return type("Row", (), {"id": hook.job_id})


async def test_what_waits_for_a_hook_that_was_switched_off_is_not_sent(
    database: Database, caller: Caller, start: Start
) -> None:
    async with receiver() as there:
        hook = cancel_one(database, caller, there)
        database.write_sync(webhooks.update, caller, hook.id, {"is_active": False})
        await start()
        ((status, _),) = await settled(database)
    assert (status, there.requests) == ("failed", [])


async def test_a_redelivery_is_the_same_message_once_more(database: Database, caller: Caller, start: Start) -> None:
    async with receiver() as there:
        hook = cancel_one(database, caller, there)
        await start()
        await settled(database)
        database.write_sync(webhooks.redeliver, caller, hook.id, outbox_rows(database)[0].id)
        first, second = await there.received(2)
        assert first.body == second.body
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert [status for status, _ in await settled(database, 2)] == ["delivered", "delivered"]


async def test_a_receiver_that_is_silent_delays_nobody_else(database: Database, caller: Caller, start: Start) -> None:
    async with receiver(silence) as dead, receiver() as well:
        for _ in range(3):
            cancel_one(database, caller, dead, count=10)
        cancel_one(database, caller, well, count=10)
        other = accounts.caller_of(database.write_sync(accounts.create_user, "other"))
        cancel_one(database, other, well, count=10)
        delivering = await start()
        await well.received(20)
        assert well.most_connections <= 2 * sender.PER_HOOK
        await dead.received(3 * sender.PER_HOOK)
        assert dead.most_connections == 3 * sender.PER_HOOK
        await delivering.stop(0)


async def test_a_receiver_in_trouble_gets_one_at_a_time(database: Database, caller: Caller, start: Start) -> None:
    async def fail_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(answer(500))

    async with receiver(answer(500), fail_late) as there:
        hook = cancel_one(database, caller, there)
        await start()
        await there.received(2)
        for _ in range(5):
            row = make_exec(database, caller, make_row(hook))
            database.write_sync(execs.stop, caller, hook.job_id, row.id)
        await there.received(20)
        assert there.most_connections == 1


async def test_a_stop_cuts_off_what_waits_and_the_next_start_sends_it_again(
    database: Database, caller: Caller, start: Start
) -> None:
    async with receiver(silence, answer(200)) as there:
        cancel_one(database, caller, there)
        first = await start()
        await there.received(1)
        await first.stop(0)
        await start("two")
        await there.received(2)
        ((status, attempts),) = await settled(database)
    assert (status, len(attempts)) == ("delivered", 1)


async def test_two_daemons_on_postgresql_share_the_work(postgres_url: str, settings: Settings) -> None:
    database = Database(postgres_url)
    caller = accounts.caller_of(database.write_sync(accounts.create_user, "chennanfei"))
    async with receiver() as there:
        for _ in range(4):
            cancel_one(database, caller, there, count=10)
        daemons = [Deliveries(database, settings, name) for name in "ab"]
        await asyncio.gather(*(daemon.start() for daemon in daemons))
        states = await settled(database, 40)
        for daemon in daemons:
            await daemon.stop(5)
    assert [(status, len(attempts)) for status, attempts in states] == [("delivered", 1)] * 40
    assert len({request.headers["webhook-id"] for request in there.requests}) == len(there.requests) == 40
    database.close()


def said(status: int, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"")  # type: ignore[arg-type]


async def test_retries_come_after_their_times_with_some_jitter() -> None:
    assert RETRIES == (5, 60, 300, 1800, 7200, 18000, 36000)
    for number, seconds in enumerate(RETRIES):
        waits = {again(number, "x").retry_after for _ in range(50)}
        assert len(waits) > 10
        assert all(wait is not None and seconds <= wait <= seconds * 1.1 for wait in waits)
    assert (again(7, "x").status, again(7, "x").retry_after) == ("failed", None)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("120", 120),
        ("99999999999999", 36000),
        ("1", 5),
        ("-7", 5),
        ("soon", 5),
        ("", 5),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 5),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 36000),
        ("Fri, 31 Dec 9999 23:59:59 -1200", 36000),
        ("Thu, 01 Jan 2026 00:01:30", 5),
    ],
)
async def test_retry_after_is_honoured_within_bounds(status: int, text: str, wait: float) -> None:
    verdict = judge(said(status, Retry_After=text), 0, NOW)
    assert verdict.status == "pending"
    assert verdict.retry_after is not None
    assert wait <= verdict.retry_after <= max(wait, 5.5)


async def test_retry_after_of_another_status_is_not_looked_at() -> None:
    wait = judge(said(500, Retry_After="120"), 0, NOW).retry_after
    assert wait is not None
    assert wait < 6


async def test_a_secret_is_in_the_database_sealed_and_never_sent_unsigned_for_want_of_its_key(
    database: Database, caller: Caller, start: Start, keyring: Keyring, settings: Settings
) -> None:
    async with receiver() as there:
        hook = cancel_one(database, caller, there, secret=SECRET, keyring=keyring)
        stored = database.read_sync(lambda: Hook.get_by_id(hook.id).secret)
        sealed = database.read_sync(lambda: bytes(Secret.get(Secret.hook_id == hook.id).sealed))
        assert SECRET not in stored and SECRET.encode() not in sealed
        settings.jobd.key_file.unlink()
        await start()
        ((status, attempts),) = await settled(database)
    assert (status, there.requests) == ("failed", [])
    assert {one.error for one in attempts} == {
        "the hook's secret cannot be decrypted: this daemon does not have the key; its log says more"
    }


async def test_a_refused_address_fails_at_once_and_is_not_told_to_whoever_made_the_hook(
    database: Database, caller: Caller, settings: Settings, io_loop: IOLoop, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(database, caller)
    make_hook(database, caller, job.id, "job:cancel", url="https://10.1.2.3/x")
    database.write_sync(execs.stop, caller, job.id, make_exec(database, caller, job).id)
    deliveries = Deliveries(database, settings, "one")
    await deliveries.start()
    ((status, (attempt,)),) = await settled(database)
    await deliveries.stop(0)
    assert (status, attempt.error) == ("failed", "10.1.2.3 may not be sent to")
    assert "no public address, and [webhooks] allow_networks lacks it" in caplog.text
