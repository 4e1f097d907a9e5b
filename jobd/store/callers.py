"""Who asks, and what they may touch. Who it is, is `accounts`' to find out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from jobd.errors import PermissionDenied

Role = Literal["reader", "writer", "admin"]
"""What one may be in a namespace; each may all that those before it may."""
Access = Literal["read", "write"]


@dataclass(frozen=True)
class Caller:
    """`roles`: what the caller is in which namespace; None for one who is admin of all.

    What a token leaves of its user's rights: `scope` is its only namespace, if it has one, and `may_change` whether it
    may do more than read; `used_at` is when its use was last written down. `makes_namespaces`: one comes into being on
    first use. `address` and `request_id` are for the audit.
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
        """Whether the caller is one of the whole installation."""
        return self.roles is None

    @property
    def namespaces(self) -> frozenset[str] | None:
        """Those that the caller may read; None for all."""
        return None if self.roles is None else frozenset(self.roles)

    @property
    def own_namespace(self) -> str:
        """Where the caller's things are made when no namespace is named."""
        return self.scope or self.username

    def role(self, namespace: str) -> Role | None:
        """None: nothing there is the caller's to see."""
        return "admin" if self.roles is None else self.roles.get(namespace)

    def may_read(self, namespace: str) -> bool:
        return self.role(namespace) is not None

    def may_write(self, namespace: str) -> bool:
        return self.may_change and self.role(namespace) in ("writer", "admin")

    def may_admin(self, namespace: str) -> bool:
        """Whether the caller may see what a namespace's admins may; to change it, `may_change` is needed too."""
        return self.role(namespace) == "admin"

    def require_change(self) -> None:
        """Raises PermissionDenied for a token that may only read."""
        if not self.may_change:
            raise PermissionDenied("this token may only read")

    def require_write(self, namespace: str) -> None:
        """Of a namespace that the caller may read. Raises PermissionDenied."""
        self.require_change()
        if not self.may_write(namespace):
            raise PermissionDenied(f"you may only read in the namespace {namespace!r}")

    def require_admin(self, namespace: str) -> None:
        """To change what is its admins' to change. Raises PermissionDenied."""
        self.require_change()
        if not self.may_admin(namespace):
            raise PermissionDenied(f"only admins of the namespace {namespace!r} may do that")


EVERYBODY_IS_ADMIN = Caller("admin", None, makes_namespaces=True)
"""The caller under `[auth] mode = none`."""
JOBD = Caller("jobd:", None)
"""jobd itself, at its first start; no user can have this name."""
