"""Users, their namespaces and how they sign in: who a caller is, and what the caller may do."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from jobd.errors import InvalidArgs, NotFound, Unauthorized
from jobd.store import audit, namespaces
from jobd.store.callers import EVERYBODY_IS_ADMIN, JOBD, Access, Caller, Role
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.tables import Namespace, Token, User
from jobd.store.people import token_format, token_lineage

__all__ = ["EVERYBODY_IS_ADMIN", "Caller"]

ADMIN = "admin"
SIGN_IN = "sign-in"
"""The name of the tokens that `sign_in` creates; others may have it too."""
SIGN_INS_KEPT = 50
"""How many tokens of `generate-api-token` are kept for a user: a client that signs in for each call must not fill the
table.
"""

_WHO = "users.username, users.is_admin, users.is_active, members.organization, members.role"
_MEMBERS = "LEFT JOIN members ON members.user_id = users.id"
_BY_TOKEN = (
    f"SELECT {_WHO}, tokens.id, tokens.digest, tokens.namespace, tokens.access, tokens.expires_at, "  # noqa: S608
    f"tokens.last_used_at FROM tokens JOIN users ON users.id = tokens.user_id {_MEMBERS} WHERE tokens.prefix = ?"
)
_BY_NAME = f"SELECT {_WHO} FROM users {_MEMBERS} WHERE users.username = ?"  # noqa: S608
_hasher = PasswordHasher()


@dataclass(frozen=True)
class PasswordHash:
    """A password that was hashed before: hashing takes too long for a transaction."""

    text: str


Password = str | PasswordHash | None


def caller_of(user: User, memberships: Mapping[str, Role] = {}) -> Caller:
    return Caller(user.username, None if user.is_admin else {**memberships, user.username: "admin"})


def authenticate(text: str) -> Caller:
    """The caller that a token stands for. Raises Unauthorized if it is malformed, unknown or expired, or if its user is
    disabled.
    """
    if not token_format.is_well_formed(text):
        raise Unauthorized("this is not a token of jobd")
    rows = sql.rows(User, _BY_TOKEN, token_format.prefix(text))
    if not rows or not secrets.compare_digest(rows[0][6], token_format.digest(text)):
        raise Unauthorized("no such token")
    token_id, _, scope, access, expires_at, used_at = rows[0][5:]
    if expires_at is not None and Token.expires_at.python_value(expires_at) <= now():
        raise Unauthorized("this token has expired")
    roles = _roles(rows)
    if scope is not None:
        role: Role | None = "admin" if roles is None else roles.get(scope)
        roles = {scope: role} if role else {}
    return Caller(
        rows[0][0],
        roles,
        may_change=access == "write",
        scope=scope,
        token_id=token_id,
        used_at=Token.last_used_at.python_value(used_at),
    )


def caller_named(username: str) -> Caller:
    """The caller whom a `jobd_authenticate` hook named. Raises Unauthorized."""
    return Caller(username, _roles(sql.rows(User, _BY_NAME, username)))


def password_hash(username: str) -> str | None:
    """The hash of an enabled user's password; None if there is none to check."""
    user = User.get_or_none(User.username == username)
    return user.password_hash if user is not None and user.is_active else None


def check_password(hashed: str | None, password: str) -> None:
    """Takes tens of milliseconds of processor time, and no database. Raises Unauthorized, with the same message and
    after the same work whatever is wrong.
    """
    nobody = _nobody()
    try:
        _hasher.verify(hashed or nobody, password)
    except (VerificationError, InvalidHashError):
        hashed = None
    if hashed is None:
        raise Unauthorized("wrong username or password")


def hash_password(password: str) -> PasswordHash:
    """Takes as long as `check_password`, and no database either. Raises InvalidArgs for one that is too short or too
    long.
    """
    if not 8 <= len(password) <= 1024:
        raise InvalidArgs("this password cannot be used", {"password": ["8 to 1024 characters"]})
    return PasswordHash(_hasher.hash(password))


def create_token(username: str, name: str, by: Caller = JOBD) -> str:
    """Create a token with all rights of its user; returns its text, which cannot be read again. Raises NotFound."""
    return issue_token(username, name, by=by)[1]


def sign_in(username: str, by: Caller) -> str:
    """Create a token for somebody who just gave the right password; returns its text. Only the user's newest
    `SIGN_INS_KEPT` such tokens stay valid. Raises NotFound.
    """
    token, text = issue_token(username, SIGN_IN, by=by, is_sign_in=True)
    kept = Token.select(Token.id).where(Token.user_id == token.user_id, Token.is_sign_in)
    surplus = [row.id for row in kept.order_by(Token.id.desc()).offset(SIGN_INS_KEPT).limit(1000)]
    Token.delete().where(Token.id.in_(surplus)).execute()
    return text


def issue_token(
    username: str,
    name: str,
    namespace: str | None = None,
    access: Access = "write",
    expires_at: datetime | None = None,
    by: Caller = JOBD,
    is_sign_in: bool = False,
) -> tuple[Token, str]:
    """Create a token of the user, for one namespace alone if that is named; returns its row and its text, which is
    stored nowhere. A token that is created with another one may do no more than that one, and is deleted with it.

    Raises NotFound, Unauthorized, and InvalidArgs for a time that has passed, a namespace that the user may not read,
    or more than the token of `by` may do.
    """
    maker = token_lineage.maker_of(by)
    if maker is not None:
        expires_at = token_lineage.bounded_by(maker, namespace, access, expires_at)
    owner = user(username)
    at, text = now(), token_format.fresh()
    if expires_at is not None and expires_at <= at:
        raise InvalidArgs("this token would have expired already", {"expires_at": ["must be to come"]})
    roles = _roles(sql.rows(User, _BY_NAME, username)) if owner.is_active else {}
    if namespace is not None:
        there = sql.find(Namespace, "name = ?", namespace)
        if there is None or not Caller(username, roles).may_read(namespace):
            raise InvalidArgs(f"{username!r} has no such namespace", {"namespace": [f"none of {username!r}"]})
    fields: dict[str, Any] = {"name": name, "namespace": namespace, "access": access, "expires_at": expires_at}
    fields["made_by"] = None if maker is None else maker.id
    secret = {"prefix": token_format.prefix(text), "digest": token_format.digest(text)}
    token = Token.create(user_id=owner.id, created_at=at, is_sign_in=is_sign_in, **fields, **secret)
    audit.record(by, "token.create", username, token.id, after=fields, at=at)
    return token, text


def create_user(username: str, password: Password = None, is_admin: bool = False, by: Caller = JOBD) -> User:
    """Create a user and the namespace of the same name. Raises InvalidArgs, StateConflict."""
    hashed = _hash(password)
    at = now()
    namespaces.create(username, "username", at)
    row = User.create(username=username, password_hash=hashed, is_admin=is_admin, is_active=True, created_at=at)
    fields = {"is_admin": is_admin, "password": hashed}
    audit.record(by, "user.create", username, username, after=fields, at=at)
    return row


def set_password(username: str, password: str | PasswordHash, by: Caller = JOBD) -> None:
    """Set the user's password; tokens stay valid. Raises NotFound, InvalidArgs."""
    row = user(username, lock=True)
    hashed = _hash(password)
    User.update(password_hash=hashed).where(User.id == row.id).execute()
    audit.record(by, "user.password", username, username, {"password": row.password_hash}, {"password": hashed})


def user(username: str, lock: bool = False) -> User:
    """With `lock` nobody else changes the user until the transaction ends. Raises NotFound."""
    locking = " FOR UPDATE" if lock and User._meta.database.for_update else ""
    row = sql.find(User, f"username = ?{locking}", username)
    if row is None:
        raise NotFound(f"no user {username!r}")
    return row


def users() -> list[User]:
    """All users, by name."""
    return list(User.select().order_by(User.username))


def has_users() -> bool:
    return User.select().exists()


@cache
def _nobody() -> str:
    """Verified when there is no such user, so that the time an answer takes does not show which names exist."""
    return _hasher.hash(secrets.token_hex())


def _roles(rows: list[tuple[Any, ...]]) -> dict[str, Role] | None:
    """The user's role in each namespace, from rows with one membership each; None for all namespaces. Raises
    Unauthorized.
    """
    if not rows or not rows[0][2]:
        raise Unauthorized("no such user, or disabled")
    username, is_admin = rows[0][:2]
    if is_admin:
        return None
    return {row[3]: row[4] for row in rows if row[3] is not None} | {username: "admin"}


def _hash(password: Password) -> str | None:
    if isinstance(password, str):
        password = hash_password(password)
    return None if password is None else password.text
