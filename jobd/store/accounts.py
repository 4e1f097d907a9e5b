"""Users, their namespaces and tokens: who is it, and what may they touch."""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from jobd.errors import InvalidArgs, NotFound, PermissionDenied, StateConflict, Unauthorized
from jobd.store import statements
from jobd.store.clock import now
from jobd.store.tables import Namespace, Token, User

USERNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
ADMIN = "admin"
SIGN_IN = "sign-in"
SIGN_INS_KEPT = 50
"""Tokens from `generate-api-token` kept for a user: a client that signs in for each call must not fill the table."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PREFIX = 10
_hasher = PasswordHasher()


@dataclass(frozen=True)
class Caller:
    """Who asks. `namespaces` is None for one who may use all; `makes_namespaces`: one comes into being on first use."""

    username: str
    namespaces: frozenset[str] | None
    makes_namespaces: bool = False

    def may_use(self, namespace: str) -> bool:
        return self.namespaces is None or namespace in self.namespaces


EVERYBODY_IS_ADMIN = Caller(ADMIN, None, makes_namespaces=True)
"""The caller under `[auth] mode = none`."""


def caller_of(user: User) -> Caller:
    return Caller(user.username, None if user.is_admin else frozenset([user.username]))


def authenticate(text: str) -> Caller:
    """The caller behind a token. Raises Unauthorized for one that is malformed, unknown, or of a disabled user."""
    if not _is_well_formed(text):
        raise Unauthorized("this is not a token of jobd")
    token = statements.find(Token, "prefix = ?", _prefix(text))
    if token is None or not secrets.compare_digest(token.digest, _digest(text)):
        raise Unauthorized("no such token")
    return caller_of(_active(statements.find(User, "id = ?", token.user_id)))


def caller_named(username: str) -> Caller:
    """The caller that a `jobd_authenticate` hook named. Raises Unauthorized."""
    return caller_of(_active(User.get_or_none(User.username == username)))


def password_hash(username: str) -> str | None:
    """The hash of an enabled user's password; None if there is none to check."""
    user = User.get_or_none(User.username == username)
    return user.password_hash if user is not None and user.is_active else None


def check_password(hashed: str | None, password: str) -> None:
    """Needs no database, but tens of milliseconds of a processor. Raises Unauthorized, with the same words and after
    the same work whatever was wrong.
    """
    nobody = _nobody()
    try:
        _hasher.verify(hashed or nobody, password)
    except (VerificationError, InvalidHashError):
        hashed = None
    if hashed is None:
        raise Unauthorized("wrong username or password")


def create_token(username: str, name: str) -> str:
    """A new token of the user, shown this once. Raises NotFound."""
    user = _user(username)
    body = "".join(secrets.choice(_ALPHABET) for _ in range(32))
    text = f"jobd_{body}{_checksum(body)}"
    Token.create(user_id=user.id, name=name, prefix=_prefix(text), digest=_digest(text), created_at=now())
    if name == SIGN_IN:
        kept = Token.select(Token.id).where(Token.user_id == user.id, Token.name == SIGN_IN)
        surplus = [row.id for row in kept.order_by(Token.id.desc()).offset(SIGN_INS_KEPT).limit(1000)]
        Token.delete().where(Token.id.in_(surplus)).execute()
    return text


def create_user(username: str, password: str | None = None, is_admin: bool = False) -> User:
    """A user and the namespace of the same name. Raises InvalidArgs, StateConflict."""
    if not USERNAME.fullmatch(username):
        raise InvalidArgs(
            f"{username!r} cannot be a username",
            {"username": ["1 to 63 of A-Z a-z 0-9 . _ -, the first and the last a letter or digit"]},
        )
    if User.get_or_none(User.username == username) or Namespace.get_or_none(Namespace.name == username):
        raise StateConflict(f"{username!r} is taken")
    Namespace.create(name=username, created_at=now())
    return User.create(
        username=username, password_hash=_hash(password), is_admin=is_admin, is_active=True, created_at=now()
    )


def set_password(username: str, password: str) -> None:
    """Raises NotFound, InvalidArgs."""
    user = _user(username)
    User.update(password_hash=_hash(password)).where(User.id == user.id).execute()


def set_active(username: str, is_active: bool) -> None:
    """Let the user in, or keep the user out with password and tokens. Raises NotFound."""
    user = _user(username)
    User.update(is_active=is_active).where(User.id == user.id).execute()


def users() -> list[User]:
    """All users, by name."""
    return list(User.select().order_by(User.username))


def has_users() -> bool:
    return User.select().exists()


def require_namespace(caller: Caller, namespace: str) -> None:
    """Let the caller write there, or raise PermissionDenied whether it exists or not; InvalidArgs if it is absent."""
    if not caller.may_use(namespace):
        raise PermissionDenied(f"you may not write to the namespace {namespace!r}")
    if statements.exists(Namespace, "name = ?", namespace):
        return
    if not caller.makes_namespaces:
        raise InvalidArgs("no such namespace", {"namespace": [f"there is no user {namespace!r}"]})
    Namespace.insert(name=namespace, created_at=now()).on_conflict_ignore().execute()


@cache
def _nobody() -> str:
    """Verified when no such user exists, so that an answer's time does not tell which names do."""
    return _hasher.hash(secrets.token_hex())


def _active(user: User | None) -> User:
    if user is None or not user.is_active:
        raise Unauthorized("no such user, or disabled")
    return user


def _user(username: str) -> User:
    user = User.get_or_none(User.username == username)
    if user is None:
        raise NotFound(f"no user {username!r}")
    return user


def _hash(password: str | None) -> str | None:
    if password is None:
        return None
    if not 8 <= len(password) <= 1024:
        raise InvalidArgs("this password cannot be used", {"password": ["8 to 1024 characters"]})
    return _hasher.hash(password)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _prefix(text: str) -> str:
    return text.removeprefix("jobd_")[:_PREFIX]


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _is_well_formed(text: str) -> bool:
    match = re.fullmatch(r"jobd_([a-z2-7]{32})([0-9a-f]{8})", text, re.ASCII)
    return match is not None and _checksum(match[1]) == match[2]
