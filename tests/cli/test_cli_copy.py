"""`jobd database copy`: what it refuses, what it says, and a daemon that goes on from the copy."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import psycopg2
import pytest

from jobd.store import daemons
from jobd.store.db.database import Database
from jobd.store.db.tables import User
from jobd.store.people import accounts
from tests.e2e.daemon import Daemon
from tests.services import fresh_postgres


@pytest.fixture
def postgres():
    with fresh_postgres() as url:
        yield url


@pytest.fixture
def source(ini, run):
    assert run("migrate").exit_code == 0
    assert run("user", "add", "alice", "--no-password").exit_code == 0
    return ini


def test_a_copy_says_what_it_copied_and_what_to_do_next(source, run, tmp_path):
    result = run("database", "copy", "--to", f"sqlite:///{tmp_path}/copy/new.db")
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert "users: 1 of 1" in result.stderr
    assert "rows of 18 tables were copied and compared" in result.stderr
    assert f"next: set `[database] url` to sqlite:///{tmp_path}/copy/new.db" in result.stderr
    assert (tmp_path / "copy/new.db").stat().st_mode & 0o077 == 0
    again = run("database", "copy", "--to", f"sqlite:///{tmp_path}/copy/new.db")
    assert again.exit_code == 1
    assert "a finished copy of this database" in again.stderr


def test_a_password_in_the_url_is_not_repeated(source, run, postgres):
    result = run("database", "copy", "--to", postgres)
    assert result.exit_code == 0, result.stderr
    secret = postgres.split("@")[0].rpartition(":")[2]
    assert secret not in result.stderr


@pytest.mark.parametrize("url", ["jobd.db", "sqlite:///:memory:", "mysql://x/y", ""])
def test_a_target_that_is_no_database_is_wrong_usage(source, run, url):
    result = run("database", "copy", "--to", url)
    assert result.exit_code == 2
    assert "expected sqlite:///PATH" in result.stderr


def test_a_target_that_is_away_is_told(source, run):
    result = run("database", "copy", "--to", "postgresql://nobody:secret@127.0.0.1:9/jobd")
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert "secret" not in result.stderr


def test_the_same_database_is_refused(source, run):
    result = run("database", "copy", "--to", f"sqlite:///{source.parent}/var/jobd.db")
    assert result.exit_code == 1
    assert "the same" in result.stderr


def test_a_database_on_which_a_daemon_lives_is_refused(source, run, postgres, tmp_path):
    source.write_text(f"{source.read_text()}[database]\nurl = {postgres}\n")
    assert run("migrate").exit_code == 0
    asked(postgres, daemons.register, "daemon-a", "host", 1, [])
    result = run("database", "copy", "--to", f"sqlite:///{tmp_path}/new.db")
    assert result.exit_code == 1
    assert "1 daemons are running on this database (daemon-a)" in result.stderr
    asked(postgres, daemons.leave, "daemon-a", 1)
    assert run("database", "copy", "--to", f"sqlite:///{tmp_path}/new.db").exit_code == 0


def test_an_unfinished_copy_is_used_by_no_command(source, run, tmp_path):
    target = tmp_path / "new.db"
    assert run("database", "copy", "--to", f"sqlite:///{target}").exit_code == 0
    with sqlite3.connect(target) as connection:
        connection.execute("CREATE TABLE unfinished_copy (installation VARCHAR(36))")
    source.write_text(f"{source.read_text()}[database]\nurl = sqlite:///{target}\n")
    for command in (["user", "list"], ["migrate"]):
        result = run(*command)
        assert result.exit_code == 1
        assert "unfinished copy" in result.stderr


def test_a_copy_that_was_killed_goes_on_when_it_is_run_again(source, run, program, tmp_path, postgres):
    asked(f"sqlite:///{source.parent}/var/jobd.db", add_users, 3000)
    copying = program("database", "copy", "--to", postgres)
    with closing(psycopg2.connect(postgres)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while copying.poll() is None and not users_in(cursor):
            time.sleep(0.005)
        copying.send_signal(signal.SIGKILL)
        copying.wait(30)
        result = run("database", "copy", "--to", postgres)
        assert result.exit_code == 0 or "a finished copy" in result.stderr, result.stderr
        assert users_in(cursor) == 3001


def add_users(count):
    rows = [{"username": f"u{number}", "created_at": accounts.now()} for number in range(count)]
    for start in range(0, count, 100):
        User.insert_many(rows[start : start + 100]).execute()


def users_in(cursor):
    cursor.execute("SELECT to_regclass('users')")
    if cursor.fetchone()[0] is None:
        return 0
    cursor.execute("SELECT count(*) FROM users")
    return cursor.fetchone()[0]


def asked(url, fn, *args):
    """The models know one database: the one that was opened last."""
    with closing(Database(url)) as database:
        return database.write_sync(fn, *args)


REGION = {"region:BEIJING1": "executor = dry-run"}
JOB = {"docker_image_repo": "busybox", "command": "true", "secret_vars": {"KEY": "opensesame"}}


def copy_of(daemon, url):
    command = [sys.executable, "-m", "jobd", "database", "copy", "-c", str(daemon.ini), "--to", url]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)


def test_daemons_go_on_from_a_copy_there_and_back(tmp_path, postgres):
    """From SQLite to PostgreSQL and back: jobs, records, tokens and secrets, and ids that go on."""
    folder = tmp_path / "jobd"
    folder.mkdir()
    daemon = Daemon(folder, REGION).start()
    job = daemon.create_job(**JOB)
    first = daemon.ended(daemon.trigger(job))
    refused = copy_of(daemon, postgres)
    assert refused.returncode == 1
    assert "another jobd" in refused.stderr
    assert daemon.stop() == 0
    ids = [first["id"]]
    for url in (postgres, f"sqlite:///{tmp_path}/back.db"):
        done = copy_of(daemon, url)
        assert done.returncode == 0, done.stderr
        port, token = daemon.port, daemon.token
        daemon = Daemon(folder, {**REGION, "database": f"url = {url}"})
        daemon.start()
        assert (daemon.token, daemon.port != port) == (token, True)
        assert daemon.call("GET", f"/v1/jobs/{job['id']}", 200)["secret_vars"] == {"KEY": "******"}
        ended = daemon.ended(daemon.trigger(job))
        assert ended["status"] == "S", daemon.evidence()
        ids.append(ended["id"])
        listed = daemon.call("GET", f"/v1/jobs/{job['id']}/execs", 200)["results"]
        assert [exec_["id"] for exec_ in listed] == ids[::-1]
        assert daemon.create_job(name=f"after {len(ids)}", docker_image_repo="busybox")["id"] > job["id"]
        assert daemon.stop() == 0
