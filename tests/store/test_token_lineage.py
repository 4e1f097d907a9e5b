"""Tokens made with tokens: never more, never longer, and gone together."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from jobd.errors import InvalidArgs, Unauthorized
from jobd.store.callers import JOBD, Caller
from jobd.store.db.database import Database
from jobd.store.db.tables import Token
from jobd.store.people import accounts, tokens

SOON = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def user(database: Database) -> None:
    database.write_sync(accounts.create_user, "u")


def issued(database: Database, by: Caller = JOBD, expires_at: datetime | None = None, name: str = "ci") -> Caller:
    """Whoever shows the new token."""
    _, text = database.write_sync(accounts.issue_token, "u", name, None, "write", expires_at, by)
    return database.read_sync(accounts.authenticate, text)


def row(database: Database, caller: Caller) -> Token:
    return database.read_sync(Token.get_by_id, caller.token_id)


def test_without_an_end_of_its_own_a_token_ends_with_its_maker(database: Database) -> None:
    maker = issued(database, expires_at=SOON)
    child = issued(database, maker)
    grandchild = issued(database, child)
    assert [row(database, one).expires_at for one in (child, grandchild)] == [SOON, SOON]
    assert [row(database, one).made_by for one in (maker, child, grandchild)] == [None, maker.token_id, child.token_id]


def test_an_earlier_end_is_granted_and_a_later_one_refused(database: Database) -> None:
    maker = issued(database, expires_at=SOON)
    earlier = SOON - timedelta(days=1)
    assert row(database, issued(database, maker, earlier)).expires_at == earlier
    with pytest.raises(InvalidArgs) as refusal:
        issued(database, maker, SOON + timedelta(microseconds=1))
    assert refusal.value.fields == {"expires_at": ["must not be later than the end of the token that makes it"]}


def test_a_maker_that_may_less_makes_none_that_may_more(database: Database) -> None:
    _, text = database.write_sync(accounts.issue_token, "u", "ci", "u", "read")
    by = database.read_sync(accounts.authenticate, text)
    with pytest.raises(InvalidArgs) as refusal:
        issued(database, by)
    assert set(refusal.value.fields) == {"namespace", "access"}


def test_revoking_a_token_ends_all_that_were_made_with_it_and_no_other(database: Database) -> None:
    maker = issued(database)
    children = [issued(database, maker) for _ in range(2)]
    grandchild = issued(database, children[0])
    other = issued(database)
    database.write_sync(tokens.revoke, maker, maker.token_id)
    left = {token.id for token in database.read_sync(lambda: list(Token.select()))}
    assert left == {other.token_id}
    with pytest.raises(Unauthorized):
        issued(database, grandchild)


def test_what_was_made_by_a_sign_in_is_its_users_and_outlives_it(database: Database) -> None:
    signed_in = database.read_sync(accounts.authenticate, database.write_sync(accounts.sign_in, "u", JOBD))
    made = issued(database, signed_in)
    assert row(database, made).made_by is None
    database.write_sync(tokens.revoke, signed_in, signed_in.token_id)
    assert row(database, made)


def test_the_newest_50_rule_ends_nothing_else(database: Database) -> None:
    signed_in = database.read_sync(accounts.authenticate, database.write_sync(accounts.sign_in, "u", JOBD))
    made = issued(database, signed_in)
    for _ in range(accounts.SIGN_INS_KEPT):
        database.write_sync(accounts.sign_in, "u", JOBD)
    with pytest.raises(Unauthorized):
        issued(database, signed_in)
    assert row(database, made)


def test_a_token_that_is_only_called_a_sign_in_is_none(database: Database) -> None:
    """Else a token that ends would make one by that name, and that one tokens that never do."""
    posing = issued(database, issued(database, expires_at=SOON), name=accounts.SIGN_IN)
    assert row(database, issued(database, posing)).expires_at == SOON


def test_a_token_that_is_made_while_its_maker_is_revoked_ends_with_it_or_is_never_made(database: Database) -> None:
    for _ in range(10):
        maker = issued(database)
        child = issued(database, maker)
        with ThreadPoolExecutor(4) as pool:
            making = [pool.submit(issued, database, child) for _ in range(3)]
            revoking = pool.submit(database.write_sync, tokens.revoke, maker, maker.token_id)
            revoking.result()
            for one in making:
                assert isinstance(one.exception(), Unauthorized | None)
        assert database.read_sync(lambda: Token.select().where(Token.made_by.is_null(False)).count()) == 0
