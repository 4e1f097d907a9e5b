"""`jobd migrate`, `jobd user` and `jobd token`: real SQLite, no server."""

import getpass
import os
import pty
import subprocess

import pytest

from jobd.errors import Unauthorized
from jobd.store.db.database import Database
from jobd.store.db.tables import Audit
from jobd.store.people import accounts
from tests.cli.conftest import PROGRAM
from tests.services import fresh_postgres


@pytest.fixture
def ask(ini, run):
    """Ask the configuration's database, as a daemon would: `ask(fn, …)`."""
    assert run("migrate").exit_code == 0

    def answer(fn, *args):
        database = Database(f"sqlite:///{ini.parent}/var/jobd.db")
        try:
            return database.write_sync(fn, *args)
        finally:
            database.close()

    return answer


def test_migrate_tells_what_it_did_once(ini, run):
    assert "applied 0001_initial" in run("migrate").stderr
    again = run("migrate")
    assert (again.exit_code, again.stderr) == (0, "the schema is up to date\n")


def test_no_command_makes_a_database_by_mistake(ini, run):
    result = run("user", "list")
    assert result.exit_code == 1
    assert "jobd migrate" in result.stderr
    assert not (ini.parent / "var").exists()


def test_a_schema_that_is_older_is_told(ini, run):
    (ini.parent / "var").mkdir()
    (ini.parent / "var/jobd.db").touch()
    result = run("user", "list")
    assert result.exit_code == 1
    assert "older" in result.stderr


def test_on_postgresql_it_is_the_same(ini, run):
    with fresh_postgres() as url:
        ini.write_text(f"{ini.read_text()}[database]\nurl = {url}\n")
        assert "older" in run("user", "list").stderr
        assert run("migrate").exit_code == 0
        assert run("user", "add", "alice", input="correct horse\n").exit_code == 0
        assert run("user", "list", "-o", "name").stdout == "alice\n"


def test_a_database_that_is_away_is_exit_code_5(ini, run):
    ini.write_text(f"{ini.read_text()}[database]\nurl = postgresql://nobody:secret@127.0.0.1:9/jobd\n")
    result = run("user", "list")
    assert result.exit_code == 5
    assert "secret" not in result.stderr


def test_a_user_signs_in_with_the_password_that_stdin_gave(ask, run):
    assert run("user", "add", "alice", input="correct horse\nrest\n").exit_code == 0
    assert accounts.check_password(ask(accounts.password_hash, "alice"), "correct horse") is None
    assert run("user", "passwd", "alice", input="battery staple\r\n").exit_code == 0
    assert accounts.check_password(ask(accounts.password_hash, "alice"), "battery staple") is None
    with pytest.raises(Unauthorized):
        accounts.check_password(ask(accounts.password_hash, "alice"), "correct horse")


def test_a_user_is_added_while_a_daemon_writes(ask, run, program):
    started = []

    def busy():
        accounts.create_user("daemon")
        started.append(program("user", "add", "alice", "--no-password"))
        with pytest.raises(subprocess.TimeoutExpired):
            started[0].wait(1)

    ask(busy)
    _, stderr = started[0].communicate(timeout=30)
    assert started[0].returncode == 0, stderr
    assert run("user", "list", "-o", "name").stdout == "alice\ndaemon\n"


def test_a_terminal_is_asked_twice_and_shows_nothing(ask, ini):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "user", "add", "alice"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        env=os.environ.copy(),
        start_new_session=True,
    )
    os.close(follower)
    seen = b""
    for word in (b"Password: ", b"Repeat for confirmation: "):
        while word not in seen:
            seen += os.read(leader, 1024)
        os.write(leader, b"correct horse\n")
    stdout, _ = process.communicate(timeout=30)
    os.close(leader)
    assert (process.returncode, stdout) == (0, b"")
    assert b"correct horse" not in seen
    assert accounts.check_password(ask(accounts.password_hash, "alice"), "correct horse") is None


@pytest.mark.parametrize(
    ("args", "stdin", "exit_code"),
    [
        (["add", "alice"], "", 2),
        (["add", "alice"], "short\n", 2),
        (["add", "a/b"], "long enough\n", 2),
        (["add", "bob"], "long enough\n", 1),
        (["passwd", "nobody"], "long enough\n", 3),
        (["disable", "nobody"], "", 3),
    ],
)
def test_what_cannot_be_done_to_a_user_has_its_exit_code(ask, run, args, stdin, exit_code):
    ask(accounts.create_user, "bob")
    result = run("user", *args, input=stdin)
    assert (result.exit_code, result.stdout) == (exit_code, "")


def test_no_option_takes_a_password(ask, run):
    assert run("user", "add", "alice", "--password", "correct horse").exit_code == 2


def test_a_token_is_the_only_thing_on_stdout(ask, run):
    run("user", "add", "alice", "--no-password")
    result = run("token", "create", "alice", "--name", "ci")
    assert result.stderr == ""
    assert ask(accounts.authenticate, result.stdout.strip()).username == "alice"
    assert run("token", "create", "nobody").exit_code == 3


def test_a_disabled_user_is_kept_out_until_enabled(ask, run):
    run("user", "add", "alice", "--no-password", "--admin")
    token = run("token", "create", "alice").stdout.strip()
    alone = run("user", "disable", "alice")
    assert (alone.exit_code, "last administrator" in alone.stderr) == (1, True)
    run("user", "add", "bob", "--no-password", "--admin")
    assert run("user", "disable", "alice").exit_code == 0
    with pytest.raises(Unauthorized):
        ask(accounts.authenticate, token)
    assert run("user", "enable", "alice").exit_code == 0
    assert ask(accounts.authenticate, token).namespaces is None
    header, row, _ = run("user", "list").stdout.splitlines()
    assert header.split() == ["USER", "ADMIN", "ENABLED", "CREATED"]
    assert row.split()[:3] == ["alice", "yes", "yes"]


def test_a_token_may_be_for_one_namespace_for_reading_and_for_a_time(ask, run):
    run("user", "add", "alice", "--no-password")
    text = run(
        "token", "create", "alice", "--namespace", "alice", "--read-only", "--expires-in", "90d", "--name", "ci"
    ).stdout.strip()
    caller = ask(accounts.authenticate, text)
    assert (caller.scope, caller.may_change) == ("alice", False)
    assert run("token", "create", "alice", "--namespace", "bob").exit_code == 2
    for wrong in ("soon", "0", "200000d"):
        assert run("token", "create", "alice", "--expires-in", wrong).exit_code == 2


def test_a_token_is_listed_without_its_text_and_revoked(ask, run):
    for name in ("alice", "bob"):
        run("user", "add", name, "--no-password")
    text = run("token", "create", "alice", "--read-only", "--name", "ci").stdout.strip()
    run("token", "create", "bob")
    assert run("token", "list", "-o", "name").stdout == "1\n2\n"
    listed = run("token", "list", "alice")
    header, row = listed.stdout.splitlines()
    assert header.split("  ")[0] == "ID"
    assert row.split()[:4] == ["1", "alice", "ci", "read"]
    assert text not in listed.stdout
    assert run("token", "list", "nobody").exit_code == 3
    assert run("token", "revoke", "1").exit_code == 0
    with pytest.raises(Unauthorized):
        ask(accounts.authenticate, text)
    assert run("token", "revoke", "1").exit_code == 3
    assert run("token", "revoke", "x").exit_code == 2


def test_a_user_is_deleted_but_not_the_last_administrator(ask, run):
    run("user", "add", "alice", "--no-password", "--admin")
    assert run("user", "delete", "alice").exit_code == 1
    run("user", "add", "bob", "--no-password")
    assert run("user", "delete", "bob").exit_code == 0
    assert run("user", "delete", "bob").exit_code == 3
    assert run("user", "list", "-o", "name").stdout == "alice\n"


def test_what_the_commands_change_is_in_the_audit_under_the_systems_user(ask, run):
    run("user", "add", "alice", input="correct horse\n")
    run("user", "passwd", "alice", input="battery staple\n")
    run("user", "disable", "alice")
    run("token", "create", "alice")
    run("token", "revoke", "1")
    found = ask(lambda: list(Audit.select().order_by(Audit.id).dicts()))
    assert [row["action"] for row in found] == [
        "user.create",
        "user.password",
        "user.update",
        "token.create",
        "token.delete",
    ]
    assert {row["actor"] for row in found} == {f"cli:{getpass.getuser()}"}
    assert "horse" not in str(found)
    assert "staple" not in str(found)


def test_a_wrong_configuration_is_told_on_stderr(ini, run):
    ini.write_text("[jobd]\nlisten_on = 1\n")
    for command in (["migrate"], ["user", "list"], ["token", "create", "x"]):
        result = run(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "jobd.ini:2" in result.stderr


def test_an_absent_configuration_is_told(plugin, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("migrate")
    assert result.exit_code == 1
    assert "jobd.ini" in result.stderr
