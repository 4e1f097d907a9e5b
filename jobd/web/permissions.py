"""What a caller must be to call a method of an address, and the check of it.

This is decided by a request's head, before anything is looked up. Which namespace an object belongs to, only the store
knows: it checks the caller's role there, and an object that the caller may not read does not exist for it.
"""

from collections.abc import Mapping
from enum import Enum

from jobd.errors import PermissionDenied
from jobd.store.callers import Caller


class Who(Enum):
    """What the caller must be."""

    PUBLIC = "anybody"
    LOCAL = "local or signed in"
    SIGNED_IN = "signed in"
    READER = "reader"
    WRITER = "writer"
    ADMIN = "admin"
    OWN = "own"
    IS_ADMIN = "is_admin"


PUBLIC, LOCAL, SIGNED_IN, READER, WRITER, ADMIN, OWN, IS_ADMIN = Who
Rules = Mapping[str, Who]
"""By method; HEAD has the rule of GET."""


def rule(rules: Rules, method: str) -> Who | None:
    """What the caller must be, or None if nobody may. OPTIONS, which lists the methods, is allowed to anyone who may
    use one of them.
    """
    if method == "OPTIONS":
        return next((who for who in (PUBLIC, LOCAL) if who in rules.values()), SIGNED_IN)
    return rules.get("GET" if method == "HEAD" else method)


def check(who: Who | None, method: str, caller: Caller) -> None:
    """Check a known caller against the rule. Raises PermissionDenied if no object could make the request allowed."""
    if who is None:
        raise PermissionDenied("no rule allows this to anyone")
    # Methods for SIGNED_IN change nothing, so a read-only token may call them all.
    if who not in (PUBLIC, SIGNED_IN) and method not in ("GET", "HEAD", "OPTIONS"):
        caller.require_change()
    if who is IS_ADMIN and not caller.is_admin:
        raise PermissionDenied("only administrators of this jobd may do this")
    if who is OWN and caller.scope is not None:
        raise PermissionDenied(f"this token is for the namespace {caller.scope!r} alone, not for its user's account")
