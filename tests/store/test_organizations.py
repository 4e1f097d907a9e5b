"""What must hold whoever is quicker, and what an older database becomes."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from jobd.errors import InvalidArgs, JobdError, StateConflict
from jobd.store import jobs
from jobd.store.callers import JOBD
from jobd.store.db import database as door
from jobd.store.db.database import Database
from jobd.store.db.tables import Job, Member, Namespace, Organization, User
from jobd.store.people import accounts, organizations, token_format, users
from tests.store.rows import JOB

ROUNDS = 5


def at_once(database: Database, *works: Callable[[], object]) -> list[JobdError]:
    """Do these in as many threads, each a transaction; the errors."""
    errors: list[JobdError] = []
    ready = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        ready.wait()
        try:
            database.write_sync(work)
        except JobdError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_two_administrators_who_disable_each_other_do_not_both_succeed(database: Database) -> None:
    for number in range(ROUNDS):
        names = [f"a{number}", f"b{number}"]
        for name in names:
            database.write_sync(accounts.create_user, name, None, True)
        for row in database.read_sync(accounts.users):
            if row.username not in names:
                database.write_sync(users.update, JOBD, row.username, {"is_admin": False})
        errors = at_once(database, *(lambda n=n: users.update(JOBD, n, {"is_active": False}) for n in names))
        assert [type(error) for error in errors] == [StateConflict]


def test_two_admins_of_an_organization_who_leave_at_once_do_not_both_succeed(database: Database) -> None:
    database.write_sync(accounts.create_user, "root", None, True)
    for name in ("a", "b"):
        database.write_sync(accounts.create_user, name)
    for number in range(ROUNDS):
        org = f"team{number}"
        database.write_sync(organizations.create, JOBD, org, "a")
        database.write_sync(organizations.add, JOBD, org, "b", "admin")
        errors = at_once(
            database,
            lambda org=org: organizations.remove(JOBD, org, "a"),
            lambda org=org: organizations.change(JOBD, org, "b", "reader"),
        )
        assert [type(error) for error in errors] == [StateConflict]
        assert database.read_sync(Member.select().where(Member.organization == org, Member.role == "admin").count) == 1


def test_a_name_is_taken_once_by_a_user_or_an_organization(database: Database) -> None:
    database.write_sync(accounts.create_user, "root", None, True)
    for number in range(ROUNDS):
        name = f"n{number}"
        errors = at_once(
            database,
            lambda name=name: accounts.create_user(name),
            lambda name=name: organizations.create(JOBD, name, "root"),
            lambda name=name: accounts.create_user(name),
        )
        assert [type(error) for error in errors] == [StateConflict] * 2


def test_no_job_is_made_in_an_organization_that_is_being_deleted(database: Database) -> None:
    admin = accounts.caller_of(database.write_sync(accounts.create_user, "root", None, True))
    for number in range(ROUNDS):
        org = f"team{number}"
        database.write_sync(organizations.create, JOBD, org, "root")
        errors = at_once(
            database,
            lambda org=org: jobs.create(admin, {**JOB, "namespace": org}),
            lambda org=org: organizations.delete(admin, org),
        )
        made = database.read_sync(Job.select().where(Job.namespace == org).exists)
        assert [type(error) for error in errors] == [StateConflict if made else InvalidArgs]
        assert database.read_sync(Namespace.select().where(Namespace.name == org).exists) == made
        assert database.read_sync(Organization.select().where(Organization.name == org).exists) == made


def test_an_older_database_keeps_its_users_and_their_tokens(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "older"
    older.mkdir()
    for name in ("0001_initial.py", "0002_room.py"):
        shutil.copy(door.MIGRATIONS / name, older)
    opened = Database(empty_database_url)
    text = token_format.fresh()

    def fill() -> None:
        execute = User._meta.database.execute_sql
        execute("INSERT INTO namespaces (name, created_at) VALUES ('u', 1)")
        execute("INSERT INTO users (username, is_admin, is_active, created_at) VALUES ('u', false, true, 1)")
        made = f"(1, 'ci', '{token_format.prefix(text)}', '{token_format.digest(text)}', 1)"
        execute(f"INSERT INTO tokens (user_id, name, prefix, digest, created_at) VALUES {made}")

    with monkeypatch.context() as patch:
        patch.setattr(door, "MIGRATIONS", older)
        opened.migrate()
        opened.write_sync(fill)
    assert "0003_accounts_audit" in opened.migrate()
    caller = opened.read_sync(accounts.authenticate, text)
    assert (caller.username, caller.roles, caller.may_change) == ("u", {"u": "admin"}, True)
    opened.close()
