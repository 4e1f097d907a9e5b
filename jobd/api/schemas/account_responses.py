"""What responses about users, organizations, tokens and the audit log contain, as pydantic models: see `responses`."""

from datetime import datetime
from typing import Any

from typing_extensions import TypeAliasType

from jobd.api.schemas import fields
from jobd.api.schemas.responses import Id, Page, Shape

NamespaceRoles = TypeAliasType("NamespaceRoles", dict[str, fields.Role])
AuditedValues = TypeAliasType("AuditedValues", dict[str, Any])


class SignedIn(Shape):
    username: str
    token: str


class Profile(Shape):
    username: str
    is_admin: bool
    namespaces: NamespaceRoles | None
    """The caller's role in each namespace; null for an administrator, who may use all."""
    access: fields.TokenAccess
    """What the token allows."""


class Token(Shape):
    id: Id
    name: str
    username: str
    namespace: str | None
    """The only namespace that it gives access to; null is all namespaces of its user."""
    access: fields.TokenAccess
    made_by: Id | None
    """The token that created it, and with which it ends; null if it was created by password or on the command line."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """Accurate to the minute."""


class NewToken(Token):
    token: str
    """The token itself, which is not shown again."""


class TokenPage(Page):
    results: list[Token]


class User(Shape):
    username: str
    is_admin: bool
    is_active: bool
    has_password: bool
    created_at: datetime


class UserPage(Page):
    results: list[User]


class Organization(Shape):
    name: str
    role: fields.Role | None
    """The caller's role; null if the caller is not a member."""
    created_by: str
    created_at: datetime


class OrganizationPage(Page):
    results: list[Organization]


class Member(Shape):
    username: str
    role: fields.Role
    created_at: datetime


class MemberPage(Page):
    results: list[Member]


class AuditRecord(Shape):
    id: Id
    at: datetime
    namespace: str | None
    actor: str
    token: int | None
    """The id of the token that was used."""
    address: str | None
    request_id: str | None
    action: str
    """A noun and a verb, as in `job.update`."""
    subject: str | None
    """The id or the name of the changed object."""
    before: AuditedValues | None
    """The changed fields before the change."""
    after: AuditedValues | None
    """The changed fields after the change."""


class AuditPage(Page):
    results: list[AuditRecord]
