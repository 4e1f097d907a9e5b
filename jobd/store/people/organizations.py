"""Organizations: namespaces that several users share, each in a role. There is always an admin who can sign in."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from jobd.errors import InvalidArgs, NotFound, StateConflict
from jobd.store import audit, namespaces, webhooks
from jobd.store.callers import Caller, Role
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.pages import Column, Page, PageRequest, page_of
from jobd.store.db.tables import Member, Organization, User
from jobd.store.people import accounts


@dataclass(frozen=True)
class Membership:
    username: str
    role: Role
    created_at: datetime


def create(caller: Caller, name: str, admin: str) -> Organization:
    """Create an organization with its first admin. Raises InvalidArgs, and StateConflict for a name that is taken."""
    first = _user(admin, "admin")
    at = now()
    namespaces.create(name, "name", at)
    organization = Organization.create(name=name, created_by=caller.username, created_at=at)
    audit.record(caller, "org.create", name, name, at=at)
    _insert(caller, name, first, "admin", at)
    return organization


def get(caller: Caller, name: str) -> Organization:
    """Raises NotFound, also for an organization that the caller may not see."""
    organization = sql.find(Organization, "name = ?", name)
    if organization is None or not caller.may_read(name):
        raise NotFound(f"no organization {name!r}")
    return organization


def listed(caller: Caller, request: PageRequest) -> Page:
    """The organizations that the caller may see, newest first."""
    query = Organization.select()
    if caller.namespaces is not None:
        query = query.where(Organization.name.in_(sorted(caller.namespaces)))
    creation = Column(Organization.created_at, int, lambda row: int(Organization.created_at.db_value(row.created_at)))
    return page_of(
        query, request, creation, Column(Organization.name, str, lambda row: str(row.name), is_descending=False)
    )


def delete(caller: Caller, name: str) -> None:
    """Raises NotFound, PermissionDenied, and StateConflict while the organization has jobs."""
    _administered(caller, name)
    namespaces.drop(name)
    webhooks.delete_of_namespace(name)
    Member.delete().where(Member.organization == name).execute()
    Organization.delete().where(Organization.name == name).execute()
    audit.record(caller, "org.delete", name, name)


def members(caller: Caller, name: str, request: PageRequest) -> Page:
    """`Membership`s, newest first. Raises NotFound."""
    get(caller, name)
    added = Column(Member.created_at, int, lambda row: int(Member.created_at.db_value(Membership(*row).created_at)))
    called = Column(User.username, str, lambda row: Membership(*row).username, is_descending=False)
    page = page_of(_members(name), request, added, called)
    return replace(page, rows=[Membership(*row) for row in page.rows])


def member(caller: Caller, name: str, username: str) -> Membership:
    """Raises NotFound."""
    get(caller, name)
    row = _members(name).where(User.username == username).first()
    if row is None:
        raise NotFound(f"{username!r} is no member of {name!r}")
    return Membership(*row)


def add(caller: Caller, name: str, username: str, role: Role) -> Membership:
    """Add a member. Raises NotFound, PermissionDenied, InvalidArgs if there is no such user, and StateConflict for a
    member.
    """
    _administered(caller, name)
    _insert(caller, name, _user(username, "username"), role, now())
    return member(caller, name, username)


def change(caller: Caller, name: str, username: str, role: Role) -> Membership:
    """Change a member's role. Raises NotFound, PermissionDenied, and StateConflict for the last admin."""
    user, before = _administered_member(caller, name, username)
    if role != "admin":
        _require_other_admin(name, user)
    Member.update(role=role).where(Member.organization == name, Member.user_id == user.id).execute()
    audit.record(caller, "member.update", name, username, {"role": before.role}, {"role": role})
    return member(caller, name, username)


def remove(caller: Caller, name: str, username: str) -> None:
    """Remove a member. Raises NotFound, PermissionDenied, and StateConflict for the last admin."""
    user, before = _administered_member(caller, name, username)
    _require_other_admin(name, user)
    Member.delete().where(Member.organization == name, Member.user_id == user.id).execute()
    audit.record(caller, "member.delete", name, username, {"role": before.role})


def require_other_admins(leaving: User) -> None:
    """Raises StateConflict if an organization has no admin besides `leaving`."""
    led = Member.select(Member.organization).where(Member.user_id == leaving.id, Member.role == "admin")
    for name in sorted(row.organization for row in led):
        _lock(name)
        _require_other_admin(name, leaving)


def _administered(caller: Caller, name: str) -> None:
    """Lock an organization that the caller is to change. Raises NotFound, PermissionDenied."""
    get(caller, name)
    caller.require_admin(name)
    if not _lock(name):
        raise NotFound(f"no organization {name!r}")


def _administered_member(caller: Caller, name: str, username: str) -> tuple[User, Membership]:
    _administered(caller, name)
    before = member(caller, name, username)
    return accounts.user(username), before


def _lock(name: str) -> bool:
    return bool(list(sql.locked(Organization.select().where(Organization.name == name))))


def _insert(caller: Caller, name: str, user: User, role: Role, at: datetime) -> None:
    if sql.find(Member, "organization = ? AND user_id = ?", name, user.id):
        raise StateConflict(f"{user.username!r} is a member of {name!r} already")
    Member.insert(organization=name, user_id=user.id, role=role, created_at=at).execute()
    audit.record(caller, "member.create", name, user.username, after={"role": role}, at=at)


def _members(name: str) -> Any:
    joined = Member.select(User.username, Member.role, Member.created_at).join(User, on=(User.id == Member.user_id))
    return joined.where(Member.organization == name).tuples()


def _user(username: str, field: str) -> User:
    try:
        return accounts.user(username, lock=True)
    except NotFound as error:
        raise InvalidArgs(error.message, {field: [f"there is no user {username!r}"]}) from None


def _require_other_admin(name: str, leaving: User) -> None:
    """Raises StateConflict if `leaving` is the organization's only active admin."""
    admins = Member.select(Member.user_id).join(User, on=(User.id == Member.user_id))
    admins = admins.where(Member.organization == name, Member.role == "admin", User.is_active)
    ids = {row.user_id for row in admins}
    if leaving.id in ids and ids == {leaving.id}:
        raise StateConflict(f"{leaving.username!r} is the last admin of {name!r}; name another one first")
