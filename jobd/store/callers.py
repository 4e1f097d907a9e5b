"""The caller of a request, and what it may do. `accounts` finds out who the caller is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from jobd.errors import PermissionDenied

Role = Literal["reader", "writer", "admin"]
"""The roles in a namespace; each includes the rights of those before it."""
Access = Literal["read", "write"]


@dataclass(frozen=True)
class Caller:
    """`roles`: the caller's role in each namespace; None for an administrator of the whole installation.

    A token may limit its user's rights: `scope` is the only namespace that it is valid for, None for all, and
    `may_change` is False if it may only read. `used_at` is when its use was last recorded. With `makes_namespaces` a
    namespace is created on first use. `address` and `request_id` are for the audit log.
    """

    username: str
    roles: Mapping[str, Role] | None
    makes_namespaces: bool = False
    may_change: bool = True
    scope: str | None = None
    token_id: int | None = None
    used_at: datetime | None = None
    address: str = ""
    request_id: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether the caller administers the whole installation."""
        return self.roles is None

    @property
    def namespaces(self) -> frozenset[str] | None:
        """The namespaces that the caller may read; None for all."""
        return None if self.roles is None else frozenset(self.roles)

    def shown(self, namespace: str | None) -> frozenset[str] | None:
        """The namespaces whose things a list shows if this namespace, or none, is asked for; None for all."""
        if namespace is None:
            return self.namespaces
        return frozenset([namespace]) if self.may_read(namespace) else frozenset()

    @property
    def own_namespace(self) -> str:
        """The namespace for what the caller creates without naming one."""
        return self.scope or self.username

    def role(self, namespace: str) -> Role | None:
        """The caller's role in a namespace; None if the caller may not see it."""
        return "admin" if self.roles is None else self.roles.get(namespace)

    def may_read(self, namespace: str) -> bool:
        return self.role(namespace) is not None

    def may_write(self, namespace: str) -> bool:
        return self.may_change and self.role(namespace) in ("writer", "admin")

    def may_admin(self, namespace: str) -> bool:
        """Whether the caller may see what the namespace's admins may; to change it, `may_change` is needed too."""
        return self.role(namespace) == "admin"

    def require_change(self) -> None:
        """Raises PermissionDenied if the caller's token may only read."""
        if not self.may_change:
            raise PermissionDenied("this token may only read")

    def require_write(self, namespace: str) -> None:
        """Raises PermissionDenied if the caller may not write to a namespace that it may read."""
        self.require_change()
        if not self.may_write(namespace):
            raise PermissionDenied(f"you may only read in the namespace {namespace!r}")

    def require_admin(self, namespace: str) -> None:
        """Raises PermissionDenied if the caller may not change what only the namespace's admins may change."""
        self.require_change()
        if not self.may_admin(namespace):
            raise PermissionDenied(f"only admins of the namespace {namespace!r} may do that")


EVERYBODY_IS_ADMIN = Caller("admin", None, makes_namespaces=True)
"""The caller under `[auth] mode = none`."""
JOBD = Caller("jobd:", None)
"""jobd itself, at its first start; no user can have this name."""
