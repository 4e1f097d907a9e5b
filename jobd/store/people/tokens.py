"""Tokens as their users see them: listed, revoked, and when each was last used. `accounts` creates them."""

from dataclasses import dataclass, replace
from datetime import timedelta

from jobd.errors import NotFound
from jobd.store import audit
from jobd.store.callers import Caller
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.pages import Column, Page, PageRequest, page_of
from jobd.store.db.tables import Token, User
from jobd.store.people import accounts, token_lineage

USE_NOTED_EVERY = timedelta(minutes=1)
"""How exactly a token's last use is known: to record it for every request would cost more than most requests do."""


@dataclass(frozen=True)
class Owned:
    """A token and the name of its user."""

    token: Token
    username: str


def listed(username: str, request: PageRequest) -> Page:
    """`Owned` tokens of a user, newest first. Raises NotFound."""
    user = accounts.user(username)
    theirs = Token.select().where(Token.user_id == user.id)
    page = page_of(theirs, request, Column(Token.id, int, lambda row: int(row.id)))
    return replace(page, rows=[Owned(row, username) for row in page.rows])


def of(username: str | None) -> list[Owned]:
    """All `Owned` tokens, or those of one user, oldest first. Raises NotFound."""
    names = {row.id: row.username for row in User.select()}
    query = Token.select().order_by(Token.id)
    if username is not None:
        query = query.where(Token.user_id == accounts.user(username).id)
    return [Owned(row, names[row.user_id]) for row in query]


def get(caller: Caller, token_id: int) -> Owned:
    """The caller's own token, or any if the caller is an administrator. Raises NotFound."""
    token = sql.find(Token, "id = ?", token_id)
    user = sql.find(User, "id = ?", token.user_id) if token is not None else None
    if token is None or user is None or not (caller.is_admin or user.username == caller.username):
        raise NotFound(f"no token {token_id}")
    return Owned(token, user.username)


def revoke(caller: Caller, token_id: int) -> None:
    """Delete a token and all that were created with it. Raises NotFound."""
    owned = get(caller, token_id)
    for token in token_lineage.delete(owned.token):
        before = {name: getattr(token, name) for name in ("name", "namespace", "access", "expires_at", "made_by")}
        audit.record(caller, "token.delete", owned.username, token.id, before)


def note_use(token_id: int) -> None:
    """Record that the token was used now."""
    Token.update(last_used_at=now()).where(Token.id == token_id).execute()
