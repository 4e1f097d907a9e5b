"""Which key is used, by whom, and what a daemon says at its start."""

import logging
import shutil
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobd.errors import ConfigError, ExecutorError, ServiceUnavailable, StartFailed
from jobd.executor import Handle
from jobd.keyring import Key, Keyring
from jobd.store import execs, jobs, secrets, webhooks
from jobd.store.callers import Caller
from jobd.store.db import database as door
from jobd.store.db import sql
from jobd.store.db.columns import EPOCH
from jobd.store.db.database import Database
from jobd.store.db.tables import Delivery, Exec, Job, Secret
from jobd.store.queue import claims, transitions
from jobd.store.queue.transitions import Result
from tests.store.rows import JOB, REGION, make_exec, make_job

VALUE = "correct horse battery"


@pytest.fixture
def keyring(database: Database, tmp_path: Path) -> Keyring:
    keyring = Keyring(tmp_path / "secret.key")
    database.write_sync(secrets.begin, keyring)
    return keyring


def secret_job(database: Database, caller: Caller, keyring: Keyring, value: str = VALUE) -> Job:
    make_job(database, caller)
    return database.write_sync(jobs.create, caller, {**JOB, "secret_vars": {"PASSWORD": SecretStr(value)}}, keyring)


def count(database: Database, key: Key | None = None) -> int:
    query = Secret.select() if key is None else Secret.select().where(Secret.key_id == key.id)
    return database.read_sync(query.count)


def reseal_all(database: Database, keyring: Keyring, key: Key, at_once: int = 2) -> int:
    done = 0
    while some := database.write_sync(secrets.reseal, keyring, key, at_once):
        done += some
    return done


def test_the_first_start_makes_the_key_and_a_second_uses_it(database: Database, keyring: Keyring) -> None:
    (key,) = keyring.read()
    database.write_sync(secrets.begin, keyring)
    assert keyring.read() == [key]
    assert database.read_sync(secrets.standing).current == key.id


def test_a_file_that_the_operator_put_there_is_used(database: Database, tmp_path: Path) -> None:
    key = Keyring(tmp_path / "secret.key").ensure_key()
    database.write_sync(secrets.begin, Keyring(tmp_path / "secret.key"))
    assert database.read_sync(secrets.standing).current == key.id


def test_a_missing_key_file_stops_the_start_when_there_are_secrets(
    database: Database, caller: Caller, keyring: Keyring
) -> None:
    secret_job(database, caller, keyring)
    keyring.path.unlink()
    with pytest.raises(ConfigError, match=f"{keyring.path}: the key file is missing"):
        database.write_sync(secrets.begin, Keyring(keyring.path))
    assert not keyring.exists


def test_a_second_daemon_without_secrets_needs_no_key_and_makes_none(
    database: Database, caller: Caller, keyring: Keyring, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Keyring(tmp_path / "other" / "secret.key")
    with caplog.at_level(logging.WARNING):
        database.write_sync(secrets.begin, other)
    assert "is missing" in caplog.text
    assert not other.exists
    with pytest.raises(ServiceUnavailable):
        secret_job(database, caller, other)


def test_a_daemon_with_another_key_says_at_its_start_what_it_cannot_open(
    database: Database, caller: Caller, keyring: Keyring, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = make_exec(database, caller, secret_job(database, caller, keyring))
    other = Keyring(tmp_path / "other.key")
    other.ensure_key()
    with caplog.at_level(logging.ERROR):
        database.write_sync(secrets.begin, other)
    assert "1 secrets cannot be opened" in caplog.text
    assert keyring.read()[0].id in caplog.text
    with pytest.raises(StartFailed, match="does not have the key"):
        database.read_sync(secrets.for_start, other, row)
    assert VALUE not in caplog.text


def test_all_is_sealed_anew_in_batches_and_opens(database: Database, caller: Caller, keyring: Keyring) -> None:
    rows = [make_exec(database, caller, secret_job(database, caller, keyring, f"{VALUE} {n}")) for n in range(5)]
    etags = [row.secret_vars for row in database.read_sync(lambda: list(Job.select()))]
    (old,), new = keyring.read(), Key.new()
    keyring.replace([old, new])
    database.write_sync(secrets.use, new)
    assert database.write_sync(secrets.reseal, keyring, new, 2) == 2
    assert (count(database, old), count(database, new)) == (3, 2)
    assert reseal_all(database, keyring, new) == 3
    keyring.replace([new])
    fresh = Keyring(keyring.path)
    assert [database.read_sync(secrets.for_start, fresh, row)["PASSWORD"] for row in rows] == [
        f"{VALUE} {n}" for n in range(5)
    ]
    assert [row.secret_vars for row in database.read_sync(lambda: list(Job.select()))] == etags


def test_a_daemon_that_runs_on_uses_the_new_key_without_a_restart(
    database: Database, caller: Caller, keyring: Keyring
) -> None:
    running = Keyring(keyring.path)
    secret_job(database, caller, running)
    (old,), new = keyring.read(), Key.new()
    keyring.replace([old, new])
    database.write_sync(secrets.use, new)
    secret_job(database, caller, running)
    assert (count(database, old), count(database, new)) == (1, 1)


def test_what_is_stored_while_the_key_changes_is_never_left_with_the_old_one(
    database: Database, caller: Caller, keyring: Keyring
) -> None:
    (old,), new = keyring.read(), Key.new()
    keyring.replace([old, new])
    sealed, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        jobs.create(caller, {**JOB, "secret_vars": {"PASSWORD": SecretStr(VALUE)}}, keyring)
        sealed.set()
        go_on.wait(10)

    writer = threading.Thread(target=database.write_sync, args=(slow,))
    writer.start()
    sealed.wait(10)
    rotation = threading.Thread(
        target=lambda: (database.write_sync(secrets.use, new), reseal_all(database, keyring, new))
    )
    rotation.start()
    go_on.set()
    writer.join()
    rotation.join()
    assert (count(database, old), count(database, new)) == (0, 1)


def test_a_value_that_does_not_open_is_told_and_dropped_only_when_asked(
    database: Database, caller: Caller, keyring: Keyring
) -> None:
    secret_job(database, caller, keyring)
    database.write_sync(Secret.update(sealed=b"nonsense, not sealed").execute)
    (old,), new = keyring.read(), Key.new()
    keyring.replace([old, new])
    with pytest.raises(ConfigError, match="PASSWORD of job"):
        database.write_sync(secrets.reseal, keyring, new, 10)
    assert database.write_sync(secrets.reseal, keyring, new, 10, True) == 1
    assert count(database) == 0


def test_what_a_hook_and_a_mail_are_told_holds_the_names_of_secrets_and_no_value(
    database: Database, caller: Caller, keyring: Keyring
) -> None:
    job = secret_job(database, caller, keyring)
    told = {"email_enabled": True, "email_recipients": ["a@b.cn"]}
    database.write_sync(jobs.update, caller, job.id, told, keyring=keyring)
    database.write_sync(webhooks.create, caller, job.id, {"url": "https://example.com", "events": ["job:fail"]})
    make_exec(database, caller, job)
    (row,) = database.write_sync(claims.claim, "daemon", REGION, 32, 1)
    values = database.read_sync(secrets.for_start, keyring, row)
    assert values == {"PASSWORD": VALUE}
    assert database.write_sync(transitions.set_handle_and, row, Handle("c"), lambda: secrets.keep(keyring, row, values))
    assert database.write_sync(transitions.end, row, Result("F", "exit_code", None, 3), None)
    bodies = database.read_sync(lambda: [delivery.body for delivery in Delivery.select()])
    assert len(bodies) == 2
    assert any('"PASSWORD": "******"' in body or '"PASSWORD":"******"' in body for body in bodies)
    assert not any(VALUE in body for body in bodies)


def test_an_exec_keeps_what_it_was_started_with_until_it_ends(
    database: Database, caller: Caller, keyring: Keyring
) -> None:
    job = secret_job(database, caller, keyring)
    make_exec(database, caller, job)
    (row,) = database.write_sync(claims.claim, "daemon", REGION, 32, 1)
    values = database.read_sync(secrets.for_start, keyring, row)
    assert database.write_sync(transitions.set_handle_and, row, Handle("c"), lambda: secrets.keep(keyring, row, values))
    database.write_sync(
        jobs.update, caller, job.id, {"secret_vars": {"PASSWORD": SecretStr("another")}}, keyring=keyring
    )
    assert database.read_sync(secrets.mask_of, keyring, row).text(f"{VALUE} another") == "****** another"
    assert database.write_sync(transitions.set_running, row, None)
    database.write_sync(secrets.drop_left)
    assert count(database) == 2
    assert database.write_sync(transitions.end, row, Result("S"), None)
    assert count(database) == 1
    with pytest.raises(ExecutorError, match="gone"):
        database.read_sync(secrets.mask_of, keyring, row)


def test_what_an_exec_kept_that_was_ended_by_force_is_dropped(
    database: Database, caller: Caller, keyring: Keyring
) -> None:
    job = secret_job(database, caller, keyring)
    made = make_exec(database, caller, job)
    (row,) = database.write_sync(claims.claim, "daemon", REGION, 32, 1)
    database.write_sync(
        transitions.set_handle_and, row, Handle("c"), lambda: secrets.keep(keyring, row, {"PASSWORD": VALUE})
    )
    database.write_sync(execs.force_end, caller, job.id, made.id)
    database.write_sync(secrets.drop_left)
    assert [row.exec_seq for row in database.read_sync(lambda: list(Secret.select()))] == [None]


def test_a_retry_and_a_rerun_have_the_names(database: Database, caller: Caller, keyring: Keyring) -> None:
    job = secret_job(database, caller, keyring)
    database.write_sync(jobs.update, caller, job.id, {"max_retries": 1})
    made = make_exec(database, caller, job)
    (row,) = database.write_sync(claims.claim, "daemon", REGION, 32, 1)
    database.write_sync(
        transitions.set_handle_and, row, Handle("c"), lambda: secrets.keep(keyring, row, {"PASSWORD": VALUE})
    )
    database.write_sync(transitions.end, row, Result("F", "exit_code"), None)
    database.write_sync(execs.rerun, caller, job.id, made.id, 100)
    found = database.read_sync(lambda: list(Exec.select()))
    assert [list(row.secret_vars) for row in found] == [["PASSWORD"]] * 3


def test_jobs_and_execs_that_are_there_get_no_secrets(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(empty_database_url)
    for path in door.MIGRATIONS.glob("0*.py"):
        if "secrets" not in path.name:
            shutil.copy(path, tmp_path)
    with monkeypatch.context() as before:
        before.setattr(door, "MIGRATIONS", tmp_path)
        database.migrate()
    job = Job(**JOB, namespace="n", created_by="n", created_at=EPOCH, updated_at=EPOCH)
    exec = Exec(**{**execs.fresh(1, "M", "n", EPOCH), **execs.snapshot(job)})
    for row in (job, exec):
        del row.__data__["secret_vars"]
        database.write_sync(sql.insert, row)
    assert [name for name in database.migrate() if "secrets" in name]
    found = database.read_sync(lambda: [*Job.select(), *Exec.select()])
    database.close()
    assert [row.secret_vars for row in found] == [{}, {}]
