"""Users, passwords, tokens and namespaces."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from peewee import SQL

from jobd.errors import InvalidArgs, NotFound, PermissionDenied, StateConflict, Unauthorized
from jobd.store import namespaces
from jobd.store.callers import EVERYBODY_IS_ADMIN, JOBD
from jobd.store.db.database import Database
from jobd.store.db.tables import Token, User
from jobd.store.people import accounts, organizations


def sign_in(database: Database, username: str, password: str) -> None:
    accounts.check_password(database.read_sync(accounts.password_hash, username), password)


def test_a_token_signs_its_user_in(database: Database) -> None:
    database.write_sync(accounts.create_user, "chennanfei")
    text = database.write_sync(accounts.create_token, "chennanfei", "ci")
    caller = database.read_sync(accounts.authenticate, text)
    assert (caller.username, caller.namespaces) == ("chennanfei", frozenset({"chennanfei"}))


def test_an_admin_may_use_every_namespace(database: Database) -> None:
    database.write_sync(accounts.create_user, "root", None, True)
    text = database.write_sync(accounts.create_token, "root", "ci")
    assert database.read_sync(accounts.authenticate, text).may_admin("anybody's")


def test_a_token_is_stored_as_a_hash_only(database: Database) -> None:
    database.write_sync(accounts.create_user, "u")
    text = database.write_sync(accounts.create_token, "u", "ci")
    (row,) = database.read_sync(lambda: list(Token.select(SQL("*")).dicts()))
    assert text not in map(str, row.values())
    assert row["digest"] != text


@pytest.mark.parametrize("wrong", ["", "x", "jobd_", "jobd_" + "a" * 40, "中文", "jobd_" + "a" * 10_000, "a\x00b"])
def test_what_is_no_token_is_unauthorized(database: Database, wrong: str) -> None:
    with pytest.raises(Unauthorized):
        database.read_sync(accounts.authenticate, wrong)


def test_a_token_with_a_letter_changed_is_unauthorized(database: Database) -> None:
    database.write_sync(accounts.create_user, "u")
    text = database.write_sync(accounts.create_token, "u", "ci")
    for at in range(5, 37):
        other = "b" if text[at] == "a" else "a"
        with pytest.raises(Unauthorized):
            database.read_sync(accounts.authenticate, text[:at] + other + text[at + 1 :])


def test_a_disabled_user_is_unauthorized(database: Database) -> None:
    database.write_sync(accounts.create_user, "u", "correct horse")
    text = database.write_sync(accounts.create_token, "u", "ci")
    database.write_sync(User.update(is_active=False).execute)
    with pytest.raises(Unauthorized):
        database.read_sync(accounts.authenticate, text)
    with pytest.raises(Unauthorized):
        sign_in(database, "u", "correct horse")


def test_a_password_is_checked(database: Database) -> None:
    database.write_sync(accounts.create_user, "u", "correct horse")
    sign_in(database, "u", "correct horse")
    for name, password in (("u", "wrong horse"), ("nobody", "correct horse"), ("u", "")):
        with pytest.raises(Unauthorized, match="wrong username or password"):
            sign_in(database, name, password)


def test_a_user_without_a_password_cannot_use_one(database: Database) -> None:
    database.write_sync(accounts.create_user, "u")
    with pytest.raises(Unauthorized):
        sign_in(database, "u", "")
    database.write_sync(accounts.set_password, "u", "correct horse")
    sign_in(database, "u", "correct horse")


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_a_password_that_is_too_short_or_too_long_is_refused(database: Database, password: str) -> None:
    with pytest.raises(InvalidArgs):
        database.write_sync(accounts.create_user, "u", password)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "a/b", "中文", "a" * 64, "a\n"])
def test_a_bad_username_is_refused(database: Database, name: str) -> None:
    with pytest.raises(InvalidArgs):
        database.write_sync(accounts.create_user, name)


def test_a_username_is_taken_once(database: Database) -> None:
    database.write_sync(accounts.create_user, "u")
    with pytest.raises(StateConflict):
        database.write_sync(accounts.create_user, "u")


def test_a_name_that_differs_in_case_alone_is_refused(database: Database) -> None:
    database.write_sync(accounts.create_user, "LiHua")
    with pytest.raises(StateConflict, match="there is 'LiHua'"):
        database.write_sync(accounts.create_user, "lihua")
    with pytest.raises(StateConflict, match="there is 'LiHua'"):
        database.write_sync(organizations.create, JOBD, "LIHUA", "LiHua")
    with pytest.raises(StateConflict, match="there is 'LiHua'"):
        database.write_sync(namespaces.require_namespace, EVERYBODY_IS_ADMIN, "liHua")


def test_of_two_that_take_one_name_in_two_spellings_at_once_one_gets_it(database: Database) -> None:
    for number in range(10):
        with ThreadPoolExecutor(2) as pool:
            names = (f"user{number}", f"User{number}")
            taking = [pool.submit(database.write_sync, accounts.create_user, name) for name in names]
            assert sorted(str(type(one.exception())) for one in taking) == sorted(map(str, (StateConflict, type(None))))


def test_a_client_that_signs_in_for_each_call_does_not_fill_the_table(database: Database) -> None:
    database.write_sync(accounts.create_user, "u")
    kept = database.write_sync(accounts.create_token, "u", "ci")
    texts = [database.write_sync(accounts.sign_in, "u", JOBD) for _ in range(55)]
    assert database.read_sync(Token.select().count) == 51
    for text in (kept, texts[-1]):
        assert database.read_sync(accounts.authenticate, text)


def test_a_token_for_nobody_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        database.write_sync(accounts.create_token, "nobody", "ci")


def test_a_foreign_namespace_is_denied_whether_it_exists_or_not(database: Database) -> None:
    database.write_sync(accounts.create_user, "other")
    caller = accounts.caller_of(database.write_sync(accounts.create_user, "u"))
    for namespace in ("other", "nowhere"):
        with pytest.raises(PermissionDenied):
            database.write_sync(namespaces.require_namespace, caller, namespace)


def test_with_mode_none_a_namespace_comes_into_being_on_first_use(database: Database) -> None:
    for _ in range(2):
        database.write_sync(namespaces.require_namespace, EVERYBODY_IS_ADMIN, "new")
    admin = accounts.caller_of(database.write_sync(accounts.create_user, "root", None, True))
    with pytest.raises(InvalidArgs):
        database.write_sync(namespaces.require_namespace, admin, "nowhere")
