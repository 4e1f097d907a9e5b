"""Who may call what: the one table. What stands in no line of it is refused.

A rule is judged by a request's head, before anything is looked up. Whose an object is, only the store knows: there a
role is held against the namespace at stake, and what the caller may not read does not exist. docs/security.md shows
this table; a test compares.
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

RULES: dict[str, Rules] = {
    "/v1/generate-api-token": {"POST": PUBLIC},
    "/v1/auth/profile": {"GET": SIGNED_IN, "PUT": OWN},
    "/v1/tokens": {"GET": OWN, "POST": OWN},
    "/v1/tokens/{token_id}": {"GET": OWN, "DELETE": OWN},
    "/v1/users": {"GET": IS_ADMIN, "POST": IS_ADMIN},
    "/v1/users/{username}": {"GET": IS_ADMIN, "PUT": IS_ADMIN, "DELETE": IS_ADMIN},
    "/v1/orgs": {"GET": SIGNED_IN, "POST": IS_ADMIN},
    "/v1/orgs/{name}": {"GET": READER, "DELETE": ADMIN},
    "/v1/orgs/{name}/members": {"GET": READER, "POST": ADMIN},
    "/v1/orgs/{name}/members/{username}": {"GET": READER, "PUT": ADMIN, "DELETE": ADMIN},
    "/v1/audit": {"GET": ADMIN},
    "/v1/jobs": {"GET": SIGNED_IN, "POST": WRITER},
    "/v1/jobs/{id}": {"GET": READER, "PUT": WRITER, "DELETE": WRITER},
    "/v1/jobs/{id}/schedule": {"GET": READER},
    "/v1/jobs/{id}/execs": {"GET": READER, "POST": WRITER},
    "/v1/jobs/{id}/execs/{exec_id}": {"GET": READER, "DELETE": WRITER},
    "/v1/jobs/{id}/execs/{exec_id}/stop": {"POST": WRITER},
    "/v1/jobs/{id}/execs/{exec_id}/rerun": {"POST": WRITER},
    "/v1/jobs/{id}/execs/{exec_id}/logs": {"GET": READER},
    "/v1/execs": {"GET": SIGNED_IN},
    "/v1/hooks": {"GET": SIGNED_IN, "POST": WRITER},
    "/v1/hooks/{id}": {"GET": READER, "PUT": WRITER, "DELETE": WRITER},
    "/v1/hooks/{id}/deliveries": {"GET": READER},
    "/v1/hooks/{id}/deliveries/{delivery_id}/redeliver": {"POST": WRITER},
    "/v1/schedule/preview": {"POST": SIGNED_IN},
    "/v1/regions": {"GET": SIGNED_IN},
    "/v1/sizes": {"GET": SIGNED_IN},
    "/v1/system": {"GET": SIGNED_IN},
    "/healthz": {"GET": PUBLIC},
    "/readyz": {"GET": PUBLIC},
    "/metrics": {"GET": LOCAL},
    "/openapi.json": {"GET": PUBLIC},
    "/docs": {"GET": PUBLIC},
}


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
