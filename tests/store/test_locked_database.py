"""A database that somebody else holds: what waits too long is refused and never done, and tells so."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest

from jobd.errors import ServiceUnavailable
from jobd.store import daemons
from jobd.store.db import database as door
from jobd.store.db import deadlines
from jobd.store.db.database import Database
from jobd.store.db.deadlines import Claim, Departure, departure
from jobd.store.db.tables import Daemon, User
from jobd.store.people import accounts

pytestmark = pytest.mark.gen_test(timeout=60)

Hold = Callable[[], Any]


@contextmanager
def held(url: str) -> Iterator[None]:
    """Another program keeps the users from being changed, as a backup or a migration by hand does."""
    if url.startswith("sqlite:"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
    else:
        connection = psycopg2.connect(url)
        connection.cursor().execute("LOCK TABLE users IN EXCLUSIVE MODE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "MAX_WAIT", 2.0)
    monkeypatch.setattr(door, "PROBE_PATIENCE", 1.0)


def usernames(database: Database) -> set[str]:
    return {user.username for user in database.read_sync(accounts.users)}


async def test_writes_that_wait_too_long_for_a_lock_are_refused_and_never_done(
    database: Database, database_url: str, short_patience: None
) -> None:
    clients = database.for_clients()
    with held(database_url):
        writes = [clients.write(accounts.create_user, f"u{number}") for number in range(20)]
        answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(answer, ServiceUnavailable) for answer in answers] == [True] * 20
    assert any("locked by another program" in str(answer) for answer in answers)
    await clients.write(accounts.create_user, "later")
    assert usernames(database) == {"later"}


async def test_a_write_whose_lock_is_freed_in_time_is_done_once(database: Database, database_url: str) -> None:
    with held(database_url):
        writes = [asyncio.ensure_future(database.write(accounts.create_user, f"u{number}")) for number in range(20)]
        done, _ = await asyncio.wait(writes, timeout=0.7)
        assert not done
    await asyncio.gather(*writes)
    assert usernames(database) == {f"u{number}" for number in range(20)}


async def test_what_is_refused_without_a_loop_is_told_as_well(
    database: Database, database_url: str, short_patience: None
) -> None:
    with held(database_url), pytest.raises(ServiceUnavailable, match="locked by another program"):
        await asyncio.to_thread(database.write_sync, accounts.create_user, "u")
    assert usernames(database) == set()


async def test_a_migration_behind_a_lock_is_refused_with_words(
    database: Database, database_url: str, short_patience: None
) -> None:
    if not database.is_sqlite:
        with psycopg2.connect(database_url) as connection:
            connection.cursor().execute("SELECT pg_advisory_xact_lock(%s)", (door.MIGRATION_LOCK,))
            with pytest.raises(ServiceUnavailable, match="locked by another program"):
                await asyncio.to_thread(database.migrate)
        return
    with held(database_url), pytest.raises(ServiceUnavailable, match="locked by another program"):
        await asyncio.to_thread(database.migrate)


async def test_heartbeat_and_scheduler_do_not_wait_behind_callers(database: Database, database_url: str) -> None:
    order: list[str] = []
    clients = database.for_clients()

    def create(name: str) -> None:
        accounts.create_user(name)
        order.append(name)

    with held(database_url):
        callers = [asyncio.ensure_future(clients.write(create, f"u{number}")) for number in range(200)]
        await asyncio.sleep(0)
        urgent = asyncio.gather(*(database.write_apart(who, order.append, who) for who in ("pulse", "scan")))
        if not database.is_sqlite:
            await urgent
    await asyncio.gather(urgent, *callers)
    # SQLite's one writer may be at the first of the callers already.
    assert {"pulse", "scan"} <= set(order[:3])


async def test_reads_and_the_engine_go_on_while_callers_wait_for_a_lock(
    database: Database, database_url: str, short_patience: None
) -> None:
    clients = database.for_clients()
    with held(database_url):
        callers = [asyncio.ensure_future(clients.write(accounts.create_user, f"u{number}")) for number in range(30)]
        await asyncio.sleep(0)
        await asyncio.gather(*(clients.read(accounts.users) for _ in range(30)))
        if not database.is_sqlite:
            await database.write(daemons.register, "d", "host", 1, [])
            assert await database.write_apart("pulse", daemons.heartbeat, "d", 1)
        assert not any(caller.done() for caller in callers)
    await asyncio.gather(*callers, return_exceptions=True)


async def test_readiness_tells_of_a_lock_and_of_its_end(
    database: Database, database_url: str, short_patience: None
) -> None:
    await database.check()
    with held(database_url):
        waiting = asyncio.ensure_future(database.for_clients().write(accounts.create_user, "u"))
        message = ""
        while not waiting.done() and not message:
            try:
                await database.check()
            except ServiceUnavailable as error:
                message = error.message
        assert "locked by another program" in message
        with pytest.raises(ServiceUnavailable):
            await waiting
        with pytest.raises(ServiceUnavailable, match="locked by another program"):
            await database.check()
    await database.write(accounts.create_user, "u")
    await database.check()


async def test_what_a_client_that_went_away_still_waited_for_is_not_done(database: Database, database_url: str) -> None:
    clients, leaving = database.for_clients(), Departure()
    if not database.is_sqlite:
        # Its threads are taken by others: the lock itself is waited for by what has had its turn.
        gate = threading.Event()
        others = [asyncio.ensure_future(clients.write(gate.wait, 30)) for _ in range(8)]
    with held(database_url):
        departure.set(leaving)
        writes = [asyncio.ensure_future(clients.write(accounts.create_user, f"u{number}")) for number in range(8)]
        departure.set(None)
        staying = asyncio.ensure_future(clients.write(accounts.create_user, "staying"))
        await asyncio.sleep(0)
        leaving.leave()
        answers = await asyncio.gather(*writes, return_exceptions=True)
    assert ["went away" in str(answer) for answer in answers] == [True] * 8
    if not database.is_sqlite:
        gate.set()
        await asyncio.gather(*others)
    await staying
    assert usernames(database) == {"staying"}


async def test_what_a_client_that_went_away_wanted_to_read_is_not_read(database: Database) -> None:
    clients, leaving = database.for_clients(), Departure()
    gate, seen = threading.Event(), list[str]()
    others = [asyncio.ensure_future(clients.read(gate.wait, 30)) for _ in range(8)]
    departure.set(leaving)
    reads = [asyncio.ensure_future(clients.read(seen.append, "leaving")) for _ in range(8)]
    departure.set(None)
    staying = asyncio.ensure_future(clients.read(seen.append, "staying"))
    await asyncio.sleep(0)
    leaving.leave()
    answers = await asyncio.gather(*reads, return_exceptions=True)
    assert ["went away" in str(answer) for answer in answers] == [True] * 8
    gate.set()
    await asyncio.gather(staying, *others)
    assert seen == ["staying"]


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_who_asks_for_much_waits_for_himself(database: Database, kind: str) -> None:
    clients, done = database.for_clients(), list[str]()

    def work(who: str) -> None:
        time.sleep(0.02)
        done.append(who)

    def asked(who: str) -> "asyncio.Future[None]":
        departure.set(Departure(who))
        return asyncio.ensure_future(getattr(clients, kind)(work, who))

    many = [asked("greedy") for _ in range(40)]
    await asyncio.sleep(0)
    await asked("other")
    # Of as many threads as there are, each may be at one of the greedy caller's.
    assert done.index("other") <= 5
    assert len(done) < 20
    await asyncio.gather(*many)
    departure.set(None)


async def test_a_write_is_either_done_or_refused_whoever_is_quicker(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes of one to twenty milliseconds, each of which is given up after ten."""
    monkeypatch.setattr(deadlines, "MAX_WAIT", 0.01)
    clients = database.for_clients()
    names = [f"u{number}" for number in range(300)]
    answers = await asyncio.gather(
        *(clients.write(accounts.create_user, name) for name in names), return_exceptions=True
    )
    monkeypatch.undo()
    await clients.write(accounts.create_user, "last")
    done = {name for name, answer in zip(names, answers, strict=True) if isinstance(answer, User)}
    assert all(isinstance(answer, User | ServiceUnavailable) for answer in answers)
    assert usernames(database) == done | {"last"}


def test_a_claim_is_taken_or_refused_and_never_both() -> None:
    for _ in range(2000):
        claim, answers = Claim(), []
        barrier = threading.Barrier(2)

        def contend(
            act: Callable[[], bool], barrier: threading.Barrier = barrier, answers: list[bool] = answers
        ) -> None:
            barrier.wait()
            answers.append(act())

        threads = [threading.Thread(target=contend, args=(act,)) for act in (claim.take, claim.refuse)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [False, True]


async def test_a_lock_is_no_trouble_of_those_who_write_elsewhere(postgres_url: str, short_patience: None) -> None:
    database = Database(postgres_url)
    database.migrate()
    with held(postgres_url):
        refused = await asyncio.gather(
            *(database.for_clients().write(accounts.create_user, f"u{number}") for number in range(8)),
            return_exceptions=True,
        )
        assert await database.write(daemons.register, "d", "host", 1, []) == 1
    assert all(isinstance(answer, ServiceUnavailable) for answer in refused)
    assert database.read_sync(Daemon.select().count) == 1
    database.close()
