"""What a caller must be to call a method of an address, and whether a caller is.

Judged by a request's head, before anything is looked up. Whose an object is, only the store knows: there a role is held
against the namespace at stake, and what the caller may not read does not exist.
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
"""By method; HEAD goes by the rule of GET."""


def rule(rules: Rules, method: str) -> Who | None:
    """What the caller must be; None: nobody may. OPTIONS tells the methods to whoever could use one of them."""
    if method == "OPTIONS":
        return next((who for who in (PUBLIC, LOCAL) if who in rules.values()), SIGNED_IN)
    return rules.get("GET" if method == "HEAD" else method)


def check(who: Who | None, method: str, caller: Caller) -> None:
    """Of a caller who is known. Raises PermissionDenied for what no object could make right."""
    if who is None:
        raise PermissionDenied("there is no rule that lets anybody do that")
    # What a signed-in caller may do with any token changes nothing, whatever its method.
    if who not in (PUBLIC, SIGNED_IN) and method not in ("GET", "HEAD", "OPTIONS"):
        caller.require_change()
    if who is IS_ADMIN and not caller.is_admin:
        raise PermissionDenied("only administrators of this jobd may do that")
    if who is OWN and caller.scope is not None:
        raise PermissionDenied(f"this token is for the namespace {caller.scope!r} alone, not for its user's account")
