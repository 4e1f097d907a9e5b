"""Instants that a clock which was ahead has left in the future hold nothing up once it is right again."""

from datetime import datetime, timedelta
from typing import Any

from jobd.store import audit, daemons, execs, outbox
from jobd.store.db.clock import now
from jobd.store.db.database import Database
from jobd.store.db.pages import PageRequest
from jobd.store.db.tables import Audit, Daemon, Delivery, Exec, IdempotencyKey, Namespace, Token
from jobd.store.outbox import Attempt, SendBudget
from jobd.store.people import accounts, organizations, tokens
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, left_ahead, transitions, waiting
from jobd.store.queue.transitions import Result
from tests.store.rows import REGION, make_exec, make_hook, make_job, read

AHEAD = timedelta(hours=3)
DELAYS = (5.0, 60.0)
MAX_ASKED = 36000.0
BUDGET = SendBudget(100, 100, 100, 100)


def bring_back(database: Database, since: datetime | None = None) -> int:
    since = since or database.read_sync(now)
    return database.write_sync(left_ahead.bring_back, since, DELAYS, MAX_ASKED)


def later(database: Database, seconds: float = 0) -> datetime:
    return database.read_sync(now) + AHEAD + timedelta(seconds=seconds)


def put(database: Database, model: Any, **columns: Any) -> None:
    database.write_sync(model.update(**columns).execute)


def failed_once(database: Database, caller: Caller, retry_delay: int) -> Exec:
    """The retry of an exec that has failed."""
    row = make_exec(database, caller, make_job(database, caller, max_retries=3, retry_delay=retry_delay))
    (row,) = database.write_sync(claims.claim, "a", REGION, 10, 10)
    database.write_sync(transitions.end, row, Result("F", "exit_code", exit_code=1), None)
    return database.read_sync(Exec.get, Exec.retry_of == row.id)


def claimed(database: Database) -> list[Exec]:
    return database.write_sync(claims.claim, "a", REGION, 10, 10)


def test_a_retry_waits_for_its_delay_and_no_longer(database: Database, caller: Caller) -> None:
    row = failed_once(database, caller, retry_delay=60)
    put(database, Exec, not_before=later(database, 60))
    assert bring_back(database) == 1
    found = database.read_sync(Exec.get, Exec.id == row.id)
    left = found.not_before - database.read_sync(now)
    assert timedelta(seconds=50) < left <= timedelta(seconds=60)


def test_a_retry_that_waits_for_its_delay_stays_as_it_is(database: Database, caller: Caller) -> None:
    row = failed_once(database, caller, retry_delay=3600)
    assert bring_back(database) == 0
    assert database.read_sync(Exec.get, Exec.id == row.id).not_before == row.not_before


def test_an_exec_that_was_put_off_for_a_moment_runs(database: Database, caller: Caller) -> None:
    make_exec(database, caller)
    put(database, Exec, not_before=later(database, 1))
    assert database.read_sync(waiting.regions_waiting) == []
    assert bring_back(database) == 1
    found = database.read_sync(Exec.get)
    assert found.not_before - database.read_sync(now) <= left_ahead.MAX_PAUSE


def test_what_was_made_ahead_fails_when_its_time_to_wait_is_over(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    put(database, Exec, created_at=later(database))
    bring_back(database)
    found = read(database, row)
    assert found is not None
    assert found.created_at <= database.read_sync(now)
    assert [ended.id for ended in database.write_sync(waiting.fail_overdue, 0)] == [row.id]


def test_a_slot_that_ran_ahead_expires_by_its_starting_deadline(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    slot = later(database)
    put(database, Exec, created_at=slot, scheduled_for=slot, start_before=slot + timedelta(seconds=30))
    bring_back(database)
    found = read(database, row)
    assert found is not None
    assert found.start_before - database.read_sync(now) <= timedelta(seconds=30)
    assert [taken.id for taken in claimed(database)] == [row.id]


def test_what_has_ended_keeps_its_times(database: Database, caller: Caller) -> None:
    row = make_exec(database, caller)
    at = later(database)
    put(database, Exec, status="S", created_at=at, started_at=at, ended_at=at, not_before=at)
    before = read(database, row)
    assert bring_back(database) == 0
    assert before is not None
    assert read(database, row).__data__ == before.__data__  # type: ignore[union-attr]


def test_a_daemon_that_died_while_the_clock_was_ahead_is_missed_after_one_lease(database: Database) -> None:
    database.write_sync(daemons.register, "a", "host", 1, [REGION])
    put(database, Daemon, heartbeat_at=later(database), seen_at=later(database))
    bring_back(database)
    found = database.read_sync(Daemon.get)
    at = database.read_sync(now)
    assert max(found.heartbeat_at, found.seen_at) <= at
    assert at - found.heartbeat_at < timedelta(seconds=10), "one that lives is not taken for dead"


def test_nobody_is_dead_while_the_clock_is_in_doubt(database: Database) -> None:
    for name in ("lives", "left"):
        database.write_sync(daemons.register, name, "host", 1, [REGION])
    database.write_sync(daemons.leave, "left", 1)
    long_ago = database.read_sync(now) - AHEAD
    database.write_sync(Daemon.update(heartbeat_at=long_ago).where(Daemon.id == "lives").execute)
    assert database.read_sync(daemons.alive, None) == ["lives"]


def delivery(database: Database, caller: Caller) -> None:
    """One that is due."""
    job = make_job(database, caller)
    make_hook(database, caller, job.id)
    make_exec(database, caller, job)
    (row,) = claimed(database)
    database.write_sync(transitions.end, row, Result("S"), None)


def wait_of(database: Database) -> timedelta:
    wait: timedelta = database.read_sync(Delivery.get).next_at - database.read_sync(now)
    return wait


def test_a_delivery_is_sent_after_its_delay_and_no_later(database: Database, caller: Caller) -> None:
    delivery(database, caller)
    put(database, Delivery, next_at=later(database))
    assert bring_back(database) == 1
    assert database.read_sync(outbox.is_due)
    put(database, Delivery, next_at=later(database, 60), attempts=2)
    assert bring_back(database) == 1
    assert timedelta(seconds=50) < wait_of(database) <= timedelta(seconds=60)
    put(database, Delivery, next_at=later(database, 60), attempts=9)
    assert bring_back(database) == 1
    assert wait_of(database) <= timedelta(seconds=DELAYS[-1])


def test_a_receiver_that_asked_to_wait_is_left_alone(database: Database, caller: Caller) -> None:
    delivery(database, caller)
    ((row, _),) = database.write_sync(outbox.claim, "a", BUDGET)
    attempt = Attempt(database.read_sync(now), 0.1, status_code=429, error="429")
    database.write_sync(outbox.finish, row, attempt, "pending", 7200)
    assert bring_back(database) == 0
    put(database, Delivery, next_at=database.read_sync(now) + timedelta(hours=20))
    assert bring_back(database) == 1
    assert wait_of(database) <= timedelta(seconds=MAX_ASKED)


def test_a_delivery_whose_daemon_died_is_sent_by_another(database: Database, caller: Caller) -> None:
    delivery(database, caller)
    database.write_sync(outbox.claim, "a", BUDGET)
    assert bring_back(database) == 0
    put(database, Delivery, next_at=later(database))
    assert bring_back(database) == 1
    assert wait_of(database) <= outbox.LEASE


def test_an_idempotency_key_is_forgotten_in_time(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    database.write_sync(execs.create, caller, job.id, {}, 10, "key")
    put(database, IdempotencyKey, created_at=later(database))
    assert bring_back(database) == 1
    assert database.read_sync(IdempotencyKey.get).created_at <= database.read_sync(now)


def test_the_audit_of_a_namespace_made_ahead_can_be_read(database: Database, caller: Caller) -> None:
    put(database, Namespace, created_at=later(database))
    since = database.read_sync(now)
    make_job(database, caller)
    wanted = audit.AuditFilter(namespace=caller.own_namespace)
    assert database.read_sync(audit.listed, caller, wanted, PageRequest(size=100)).count == 0
    assert bring_back(database, since) == 1
    assert database.read_sync(audit.listed, caller, wanted, PageRequest(size=100)).count == 1


def test_the_audit_of_a_names_owner_before_is_not_shown_for_it(database: Database, caller: Caller) -> None:
    database.write_sync(organizations.create, caller, "team", caller.username)
    put(database, Audit, at=later(database))
    made = later(database, 60)
    database.write_sync(Namespace.update(created_at=made).where(Namespace.name == "team").execute)
    assert bring_back(database) == 0
    assert database.read_sync(Namespace.get, Namespace.name == "team").created_at == made


def test_a_tokens_last_use_is_brought_back_and_its_end_left_as_set(database: Database, caller: Caller) -> None:
    end = later(database)
    database.write_sync(accounts.issue_token, "chennanfei", "name", expires_at=end)
    put(database, Token, last_used_at=later(database))
    assert bring_back(database) == 1
    token = database.read_sync(tokens.of, None)[0].token
    assert token.last_used_at <= database.read_sync(now)
    assert token.expires_at == end
