"""Tokens that were created with tokens: none may do more, or live longer, than the one it was created with."""

from collections.abc import Iterator
from datetime import datetime

from jobd.errors import InvalidArgs, Unauthorized
from jobd.store.callers import Access, Caller
from jobd.store.db import sql
from jobd.store.db.tables import Token


def maker_of(by: Caller) -> Token | None:
    """The token that `by` uses, locked until the transaction ends. None where a user creates something directly:
    without a token, or with one of a sign-in, since somebody gave the right password a while ago.

    Raises Unauthorized if the token has been revoked meanwhile.
    """
    if by.token_id is None:
        return None
    locking = " FOR SHARE" if Token._meta.database.for_update else ""
    token = sql.find(Token, f"id = ?{locking}", by.token_id)
    if token is None:
        raise Unauthorized("this token has been revoked")
    return None if token.is_sign_in else token


def bounded_by(maker: Token, namespace: str | None, access: Access, expires_at: datetime | None) -> datetime | None:
    """When a token expires that is created with `maker`; with None for `expires_at`, when `maker` does. Raises
    InvalidArgs for what `maker` itself may not do.
    """
    faults = {}
    if maker.namespace is not None and namespace != maker.namespace:
        faults["namespace"] = [f"must be {maker.namespace!r}, as that of the token that makes it"]
    if maker.access == "read" and access != "read":
        faults["access"] = ["must be 'read', as that of the token that makes it"]
    if maker.expires_at is not None and expires_at is not None and expires_at > maker.expires_at:
        faults["expires_at"] = ["must not be later than the end of the token that makes it"]
    if faults:
        raise InvalidArgs("a token cannot make one that may do more", faults)
    return maker.expires_at if expires_at is None else expires_at


def delete(token: Token) -> Iterator[Token]:
    """Delete a token and all that were created with it, directly or not; yields each token that was deleted."""
    generation = [token]
    while generation:
        ids = [row.id for row in generation]
        # This waits for whoever is creating a token with one of these, so that the next query finds it.
        Token.delete().where(Token.id.in_(ids)).execute()
        yield from generation
        generation = list(Token.select().where(Token.made_by.in_(ids)).order_by(Token.id))
