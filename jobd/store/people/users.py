"""Users as administrators see them: listed, changed, deleted. There is always an active administrator."""

from collections.abc import Mapping
from typing import Any

from jobd.errors import StateConflict
from jobd.store import audit, namespaces, webhooks
from jobd.store.callers import Caller
from jobd.store.db import sql
from jobd.store.db.pages import Column, Page, PageRequest, page_of
from jobd.store.db.tables import Member, Token, User
from jobd.store.people import accounts, organizations

FLAGS = ("is_admin", "is_active")


def listed(request: PageRequest) -> Page:
    """All users, newest first."""
    return page_of(User.select(), request, Column(User.id, int, lambda row: int(row.id)))


def update(by: Caller, username: str, changes: Mapping[str, bool], password: accounts.Password = None) -> User:
    """Change the given `FLAGS`, and the password if there is one. Password and tokens of a disabled user are rejected
    from now on; the user's schedules go on.

    Raises NotFound, and StateConflict if nobody would be left to administer jobd, or an organization.
    """
    _lock_admins()
    user = accounts.user(username, lock=True)
    before = _flags(user)
    after = {**before, **changes}
    if not (after["is_admin"] and after["is_active"]):
        _require_other_admin(user)
    if not after["is_active"]:
        organizations.require_other_admins(user)
    if after != before:
        User.update(**after).where(User.id == user.id).execute()
        audit.record(by, "user.update", username, username, before, after)
    if password is not None:
        accounts.set_password(username, password, by)
    return accounts.user(username)


def delete(by: Caller, username: str) -> None:
    """Delete a user with all tokens and memberships. Raises NotFound, and StateConflict as `update` does or if the user
    has jobs.
    """
    _lock_admins()
    user = accounts.user(username, lock=True)
    _require_other_admin(user)
    organizations.require_other_admins(user)
    namespaces.drop(username)
    webhooks.delete_of_namespace(username)
    Member.delete().where(Member.user_id == user.id).execute()
    Token.delete().where(Token.user_id == user.id).execute()
    User.delete().where(User.id == user.id).execute()
    audit.record(by, "user.delete", username, username, _flags(user))


def _flags(row: User) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FLAGS}


def _lock_admins() -> None:
    """Lock all administrators: two who disable each other at the same time must not both succeed."""
    list(sql.locked(User.select(User.id).where(User.is_admin).order_by(User.id)))


def _require_other_admin(leaving: User) -> None:
    """Raises StateConflict if `leaving` is the last active administrator."""
    others = User.select().where(User.is_admin, User.is_active, User.id != leaving.id)
    if leaving.is_admin and leaving.is_active and not others.exists():
        raise StateConflict(f"{leaving.username!r} is the last administrator; name another one first")
