"""`jobd secret rotate-key`: a real database and key file, interrupted anywhere, with other daemons beside it."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from jobd.keyring import Keyring
from jobd.store import daemons, execs, jobs, secrets
from jobd.store.callers import EVERYBODY_IS_ADMIN
from jobd.store.db.database import Database
from jobd.store.db.tables import Secret
from jobd.store.people import accounts
from tests.store.rows import JOB

VALUE = "correct horse battery"


@pytest.fixture
def keyring(ini: Path) -> Keyring:
    return Keyring(ini.parent / "var" / "secret.key")


@pytest.fixture
def ask(ini, run, keyring):
    """Ask the configuration's database, as a daemon would: `ask(fn, …)`."""
    assert run("migrate").exit_code == 0

    def answer(fn, *args):
        database = Database(f"sqlite:///{ini.parent}/var/jobd.db")
        try:
            return database.write_sync(fn, *args)
        finally:
            database.close()

    answer(secrets.begin, keyring)
    answer(accounts.create_user, "chennanfei")
    return answer


@pytest.fixture
def value(ask, keyring):
    """The value of a secret, as a daemon that starts now would give it to a run."""
    caller = EVERYBODY_IS_ADMIN
    given = {**JOB, "namespace": "chennanfei", "secret_vars": {"PASSWORD": SecretStr(VALUE)}}
    job = ask(jobs.create, caller, given, keyring)
    row = ask(execs.create, caller, job.id, {}, 10)
    return lambda: ask(secrets.for_start, Keyring(keyring.path), row)["PASSWORD"]


def ids(keyring):
    return [key.id for key in keyring.read()]


def test_a_new_key_takes_the_place_of_the_old_one(run, ask, value, keyring):
    (old,) = ids(keyring)
    result = run("secret", "rotate-key")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1 secrets were encrypted again" in result.stderr
    (new,) = ids(keyring)
    assert new != old
    assert ask(secrets.standing) == secrets.Standing(new, {new: 1})
    assert value() == VALUE


@pytest.mark.parametrize(
    "point", ["jobd.store.secrets.use", "jobd.store.secrets.reseal", "jobd.keyring.Keyring.replace"]
)
def test_interrupted_anywhere_it_is_gone_on_with(run, ask, value, keyring, monkeypatch, point):
    calls = 0

    def interrupted(*args, **kwargs):
        nonlocal calls
        calls += 1
        raise KeyboardInterrupt

    (old,) = ids(keyring)
    with monkeypatch.context() as patched:
        patched.setattr(point, interrupted)
        assert run("secret", "rotate-key").exit_code == 130
    assert calls == 1
    assert value() == VALUE
    assert run("secret", "rotate-key").exit_code == 0
    (new,) = ids(keyring)
    assert new != old
    assert ask(secrets.standing).sealed == {new: 1}
    assert value() == VALUE


def test_interrupted_before_the_old_key_is_dropped_it_drops_it_the_next_time(run, ask, value, keyring, monkeypatch):
    replace, calls = Keyring.replace, []

    def second_time(self, keys):
        calls.append(keys)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(self, keys)

    with monkeypatch.context() as patched:
        patched.setattr(Keyring, "replace", second_time)
        assert run("secret", "rotate-key").exit_code == 130
    _, new = ids(keyring)
    assert value() == VALUE
    assert run("secret", "rotate-key").exit_code == 0
    assert ids(keyring) == [new]
    assert value() == VALUE


def test_several_daemons_get_the_key_before_it_is_used(run, ask, value, keyring):
    for name in ("one", "two"):
        ask(daemons.register, name, "host", 1, [])
    (old,) = ids(keyring)
    refused = run("secret", "rotate-key")
    assert refused.exit_code == 1
    assert "several daemons" in refused.stderr
    assert ask(secrets.standing).current == old
    assert ids(keyring)[0] == old
    assert run("secret", "rotate-key").exit_code == 0
    assert value() == VALUE


def test_a_prepared_key_is_not_used_yet(run, ask, value, keyring):
    (old,) = ids(keyring)
    assert run("secret", "rotate-key", "--prepare").exit_code == 0
    _, new = ids(keyring)
    assert run("secret", "rotate-key", "--prepare").exit_code == 0
    assert ids(keyring) == [old, new]
    assert ask(secrets.standing).current == old
    assert run("secret", "rotate-key").exit_code == 0
    assert ids(keyring) == [new]
    assert value() == VALUE


def test_with_the_wrong_file_nothing_is_changed_and_the_lost_can_be_dropped(run, ask, value, keyring):
    right = keyring.path.read_text()
    keyring.path.unlink()
    for _ in range(2):
        refused = run("secret", "rotate-key")
        assert refused.exit_code == 1
        assert "cannot decrypt all secrets: 1 with key" in refused.stderr
        Keyring(keyring.path).ensure_key()
    keyring.path.write_text(right)
    assert value() == VALUE
    keyring.path.unlink()
    assert run("secret", "rotate-key", "--drop-unreadable").exit_code == 0
    assert not ask(lambda: Secret.select().exists())
    assert ask(secrets.standing).current in ids(keyring)


def test_a_key_that_sealed_nothing_may_be_lost(run, ask, keyring):
    keyring.path.unlink()
    assert run("secret", "rotate-key").exit_code == 0
    assert [ask(secrets.standing).current] == ids(keyring)


def test_the_program_tells_no_value(run, ask, value, program):
    process = program("secret", "rotate-key")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert VALUE not in stdout + stderr
