"""The outbox: written with the exec's own transaction, taken by one daemon at a time, fair to every receiver."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee
import pytest

from jobd.executor import Handle
from jobd.output.run_log import StoredLog
from jobd.store import deletion, execs, outbox, webhooks
from jobd.store.db.database import Database
from jobd.store.db.tables import Delivery, DeliveryAttempt, Exec, Hook, Job
from jobd.store.outbox import MAIL, Attempt, SendBudget
from jobd.store.people.accounts import Caller
from jobd.store.queue import claims, due_slots, transitions, waiting
from jobd.store.queue.due_slots import Rules
from jobd.store.queue.transitions import Result
from tests.store.rows import REGION, make_caller, make_exec, make_hook, make_job, outbox_rows

RULES = Rules(late_after=60, waiting_per_namespace=10_000)


def budget(**more: Any) -> SendBudget:
    return SendBudget(**{"left": 64, "left_troubled": 32, "per_hook": 4, "per_namespace": 16, **more})


def running(database: Database, caller: Caller, job: Job) -> Exec:
    made = make_exec(database, caller, job)
    (row,) = [row for row in database.write_sync(claims.claim, "a", REGION, 32, 64) if row.id == made.id]
    assert database.write_sync(transitions.set_handle, row, Handle("c0ffee"))
    assert database.write_sync(transitions.set_running, row, None)
    return row


def ends(status: str, reason: str | None = None) -> Callable[[Database, Caller, Job], None]:
    def end(database: Database, caller: Caller, job: Job) -> None:
        result = Result(status, reason, "三", 3 if status == "F" else None)
        assert database.write_sync(transitions.end, running(database, caller, job), result, None)

    return end


def is_stopped_while_it_waits(database: Database, caller: Caller, job: Job) -> None:
    row = make_exec(database, caller, job)
    database.write_sync(execs.stop, caller, job.id, row.id)


def is_stopped_while_it_is_given_back(database: Database, caller: Caller, job: Job) -> None:
    row = make_exec(database, caller, job)
    (taken,) = database.write_sync(claims.claim, "a", REGION, 32, 64)
    database.write_sync(execs.stop, caller, job.id, row.id)
    database.write_sync(transitions.requeue, taken)


def is_ended_by_force(database: Database, caller: Caller, job: Job) -> None:
    database.write_sync(execs.force_end, caller, job.id, running(database, caller, job).id)


def is_deleted_while_it_waits(database: Database, caller: Caller, job: Job) -> None:
    database.write_sync(deletion.delete_exec, caller, job.id, make_exec(database, caller, job).id)


def waits_too_long(database: Database, caller: Caller, job: Job) -> None:
    row = make_exec(database, caller, job)
    long_ago = row.created_at - timedelta(days=2)
    database.write_sync(Exec.update(created_at=long_ago).where(Exec.id == row.id).execute)
    assert database.write_sync(waiting.fail_overdue, 86400.0)


def misses_its_deadline(database: Database, caller: Caller, job: Job) -> None:
    row = make_exec(database, caller, job)
    late = {"start_before": row.created_at - timedelta(seconds=1), "scheduled_for": row.created_at}
    database.write_sync(Exec.update(**late).where(Exec.id == row.id).execute)
    database.write_sync(waiting.expire_slots)


def fire(database: Database, job: Job, policy: str) -> None:
    """A slot of a minute-wise schedule comes due now."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    armed = {
        "schedule_mode": f"R/{start.isoformat()}/PT1M",
        "schedule_anchor": start,
        "next_fire_at": start,
        "concurrency_policy": policy,
        "is_schedule_active": True,
    }
    database.write_sync(Job.update(**armed).where(Job.id == job.id).execute)
    database.write_sync(due_slots.fire_due, RULES)


def overlaps(database: Database, caller: Caller, job: Job) -> None:
    make_exec(database, caller, job)
    fire(database, job, "forbid")


def is_replaced(database: Database, caller: Caller, job: Job) -> None:
    make_exec(database, caller, job)
    fire(database, job, "replace")


HAPPENINGS: list[tuple[Callable[[Database, Caller, Job], None], list[str]]] = [
    (ends("S"), ["job:start", "job:succeed"]),
    (ends("F", "exit_code"), ["job:start", "job:fail"]),
    (ends("F", "lost"), ["job:start", "job:fail"]),
    (ends("C", "cancelled"), ["job:start", "job:cancel"]),
    (is_stopped_while_it_waits, ["job:cancel"]),
    (is_stopped_while_it_is_given_back, ["job:cancel"]),
    (is_ended_by_force, ["job:start", "job:fail"]),
    (is_deleted_while_it_waits, ["job:cancel"]),
    (waits_too_long, ["job:fail"]),
    (misses_its_deadline, ["job:not_run"]),
    (overlaps, ["job:not_run"]),
    (is_replaced, ["job:cancel"]),
]


def test_whatever_starts_or_ends_an_exec_is_told(database: Database, caller: Caller) -> None:
    of_all = make_hook(database, caller, caller.username)
    for happens, events in HAPPENINGS:
        job, other = make_job(database, caller), make_job(database, caller)
        of_job = make_hook(database, caller, job.id)
        make_hook(database, caller, other.id)
        happens(database, caller, job)
        told = [row for row in outbox_rows(database) if row.job_id in (job.id, other.id)]
        for hook in (of_job, of_all):
            assert [row.event for row in told if row.hook_id == hook.id] == events, happens.__qualname__
        assert len(told) == 2 * len(events)
        assert len({row.message_id for row in told}) == len(told)


def test_a_delivery_says_what_the_exec_was_at_that_moment(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    hook = make_hook(database, caller, job.id)
    ends("F", "exit_code")(database, caller, job)
    started, failed = [json.loads(row.body) for row in outbox_rows(database)]
    assert started["hook"] == {"id": hook.id, "subject_type": "job", "subject": job.id}
    assert (started["data"]["status"], started["data"]["ended_at"]) == ("R", None)
    assert (failed["data"]["status"], failed["data"]["exit_code"], failed["data"]["message"]) == ("F", 3, "三")
    assert failed["data"]["job"] == job.id
    assert failed["sender"] == {"username": caller.username}


def test_a_hook_hears_of_the_events_that_it_names_while_it_is_switched_on(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    hook = make_hook(database, caller, job.id, "job:fail")
    ends("S")(database, caller, job)
    assert outbox_rows(database) == []
    database.write_sync(webhooks.update, caller, hook.id, {"is_active": False})
    ends("F")(database, caller, job)
    assert outbox_rows(database) == []
    database.write_sync(webhooks.update, caller, hook.id, {"is_active": True})
    ends("F")(database, caller, job)
    assert [row.event for row in outbox_rows(database)] == ["job:fail"]


def test_a_failure_is_told_after_the_last_retry_only(database: Database, caller: Caller) -> None:
    job = make_job(database, caller, max_retries=1, retry_delay=0, email_enabled=True, email_recipients=["a@b.cn"])
    hook = make_hook(database, caller, job.id, "job:fail")
    ends("F", "exit_code")(database, caller, job)
    assert outbox_rows(database) == []
    (retry,) = database.write_sync(claims.claim, "a", REGION, 32, 64)
    database.write_sync(transitions.end, retry, Result("F", "exit_code"), None)
    assert [(row.hook_id, row.exec_id) for row in outbox_rows(database)] == [(hook.id, retry.id), (MAIL, retry.id)]


def test_a_failure_whose_retry_nobody_wants_any_more_is_told(database: Database, caller: Caller) -> None:
    job = make_job(database, caller, max_retries=5)
    make_hook(database, caller, job.id, "job:fail")
    row = running(database, caller, job)
    database.write_sync(execs.stop, caller, job.id, row.id)
    database.write_sync(transitions.end, row, Result("F", "exit_code"), None)
    assert [told.exec_id for told in outbox_rows(database)] == [row.id]


def test_a_mail_is_for_bad_ends_only(database: Database, caller: Caller) -> None:
    job = make_job(database, caller, name="报表", email_enabled=True, email_recipients=["a@b.cn", "c@d.cn"])
    for status in ("S", "C", "F"):
        ends(status)(database, caller, job)
    (mail,) = outbox_rows(database)
    said = json.loads(mail.body)
    assert (mail.hook_id, mail.event) == (MAIL, "job:fail")
    assert (said["to"], said["job"]) == (["a@b.cn", "c@d.cn"], {"id": job.id, "name": "报表"})


def test_a_mail_needs_its_switch_and_somebody_to_read_it(database: Database, caller: Caller) -> None:
    ends("F")(database, caller, make_job(database, caller, email_enabled=False, email_recipients=["a@b.cn"]))
    ends("F")(database, caller, make_job(database, caller, email_enabled=True, email_recipients=[]))
    assert outbox_rows(database) == []


def test_what_is_rolled_back_is_not_told(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    make_hook(database, caller, job.id, "job:succeed")
    row = running(database, caller, job)

    def end_and_fail() -> None:
        transitions.end(row, Result("S"), None)
        raise KeyError

    with pytest.raises(KeyError):
        database.write_sync(end_and_fail)
    assert outbox_rows(database) == []
    assert database.write_sync(transitions.end, row, Result("S"), None)
    assert len(outbox_rows(database)) == 1


def test_an_exec_that_concerns_nobody_costs_no_statement_more(
    database: Database, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(database, caller)
    make_hook(database, make_caller(database, "stranger"), "stranger")
    row = running(database, caller, job)
    asked: list[str] = []
    execute = peewee.Database.execute_sql
    for kind in {type(Exec._meta.database), peewee.Database}:
        monkeypatch.setattr(kind, "execute_sql", lambda self, *a, **k: asked.append(a[0]) or execute(self, *a, **k))
    database.write_sync(transitions.end, row, Result("S", ended_at=row.created_at), None)
    assert len([text for text in asked if not text.startswith(("BEGIN", "SELECT (extract"))]) == 1


def test_a_deleted_job_takes_its_hooks_along_and_a_namespace_hears_of_it(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    make_hook(database, caller, job.id)
    of_all = make_hook(database, caller, caller.username)
    make_exec(database, caller, job)
    database.write_sync(deletion.delete_job, caller, job.id)
    assert [(row.hook_id, row.event) for row in outbox_rows(database)] == [(of_all.id, "job:cancel")]
    assert [row.id for row in database.read_sync(lambda: list(Hook.select()))] == [of_all.id]


def test_every_delivery_is_claimed_by_one_daemon(database: Database, caller: Caller) -> None:
    for _ in range(6):
        job = make_job(database, caller)
        make_hook(database, caller, job.id, "job:cancel")
        for _ in range(5):
            is_stopped_while_it_waits(database, caller, job)
    taken: list[int] = []

    def work(name: str) -> None:
        while database.read_sync(outbox.is_due):
            taken.extend(row.id for row, _ in database.write_sync(outbox.claim, name, budget(left=3)))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(row.id for row in outbox_rows(database))
    assert len(taken) == 30


def cancelled(database: Database, caller: Caller, count: int) -> Hook:
    """A hook of a job of its own, with so many deliveries due."""
    job = make_job(database, caller)
    hook = make_hook(database, caller, job.id, "job:cancel")
    for _ in range(count):
        is_stopped_while_it_waits(database, caller, job)
    return hook


def test_nobody_takes_all_the_room(database: Database, caller: Caller) -> None:
    busy, troubled = cancelled(database, caller, 6), cancelled(database, caller, 3)
    quiet = cancelled(database, make_caller(database, "stranger"), 1)
    taken = database.write_sync(outbox.claim, "a", budget(per_namespace=5, troubled=frozenset([troubled.id])))
    ids = [hook.id for _, hook in taken if hook is not None]
    assert ids.count(quiet.id) == 1
    assert ids.count(busy.id) == 4
    assert ids.count(troubled.id) == 1
    full = budget(left_troubled=0, troubled=frozenset([troubled.id]))
    assert troubled.id not in [row.hook_id for row, _ in database.write_sync(outbox.claim, "b", full)]


def test_what_a_daemon_held_is_due_again_when_it_starts_anew(database: Database, caller: Caller) -> None:
    cancelled(database, caller, 1)
    ((held, _),) = database.write_sync(outbox.claim, "a", budget())
    assert not database.read_sync(outbox.is_due)
    database.write_sync(outbox.release, "b")
    assert not database.read_sync(outbox.is_due)
    database.write_sync(outbox.release, "a")
    ((again, _),) = database.write_sync(outbox.claim, "b", budget())
    assert (again.id, again.message_id) == (held.id, held.message_id)


def test_a_daemon_that_was_too_slow_changes_nothing_any_more(database: Database, caller: Caller) -> None:
    cancelled(database, caller, 1)
    ((late, _),) = database.write_sync(outbox.claim, "a", budget())
    long_ago = late.created_at - outbox.LEASE
    database.write_sync(Delivery.update(next_at=long_ago).execute)
    ((taken, _),) = database.write_sync(outbox.claim, "b", budget())
    attempt = Attempt(datetime.now(UTC), 0.1, 500, "500")
    database.write_sync(outbox.finish, late, attempt, "failed", None)
    assert outbox_rows(database)[0].status == "pending"
    database.write_sync(outbox.finish, taken, attempt, "delivered", None)
    assert outbox_rows(database)[0].status == "delivered"
    assert database.read_sync(DeliveryAttempt.select().count) == 2


def test_old_deliveries_and_those_of_hooks_that_are_gone_are_dropped(database: Database, caller: Caller) -> None:
    kept, gone, old = (cancelled(database, caller, 2) for _ in range(3))
    database.write_sync(webhooks.delete, caller, gone.id)
    long_ago = datetime.now(UTC) - timedelta(days=8)
    database.write_sync(Delivery.update(created_at=long_ago).where(Delivery.hook_id == old.id).execute)
    for row, _ in database.write_sync(outbox.claim, "a", budget()):
        database.write_sync(outbox.finish, row, Attempt(long_ago, 0.1, 200), "delivered", None)
    while database.write_sync(outbox.drop_old, 7 * 86400.0):
        pass
    assert {row.hook_id for row in outbox_rows(database)} == {kept.id}
    assert database.read_sync(DeliveryAttempt.select().count) == 2


def test_the_log_of_an_exec_is_the_stored_one(database: Database, caller: Caller) -> None:
    row = running(database, caller, make_job(database, caller))
    assert database.read_sync(outbox.log_of, row.id) is None
    database.write_sync(transitions.end, row, Result("S"), StoredLog(b"frames", 6))
    assert database.read_sync(outbox.log_of, row.id) == b"frames"


def test_a_job_has_no_more_hooks_than_are_allowed(database: Database, caller: Caller) -> None:
    job = make_job(database, caller)
    for _ in range(webhooks.MAX_HOOKS):
        make_hook(database, caller, job.id)
    with pytest.raises(webhooks.StateConflict):
        make_hook(database, caller, job.id)
    assert make_hook(database, caller, caller.username)
