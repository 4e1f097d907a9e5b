"""What the specification says of errors: one answer a status, the same for all calls."""

from collections.abc import Mapping
from typing import Any

OF_EVERY_CALL = (400, 403, 413, 415, 429, 500, 503)
HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "How to say who you are."},
    405: {"Allow": "The methods that are right."},
    429: {"Retry-After": "Seconds until another try makes sense."},
}


def _error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"errors": [{"source": "jobd", "code": code, "message": message, **more}]}


REFUSALS: Mapping[str, tuple[int, str, dict[str, Any]]] = {
    "Invalid": (
        400,
        "`invalid_args`: fields or parameters are wrong, and `fields` says which; or `bad_request`: the request cannot "
        "be read.",
        _error("invalid_args", "invalid request", fields=[{"name": ["must not be blank"]}]),
    ),
    "Unauthorized": (
        401,
        "`unauthorized`: no token, or one that is not valid; a wrong password.",
        _error("unauthorized", "say who you are: Authorization: Token <token>"),
    ),
    "Forbidden": (
        403,
        "`permission_denied`: the caller may not do that; where there are no tokens, a page of another site may not.",
        _error("permission_denied", "the namespace chennanfei is not yours"),
    ),
    "NotFound": (
        404,
        "`resource_not_exist`: there is no such thing, or it is not the caller's.",
        _error("resource_not_exist", "there is no job 146"),
    ),
    "Conflict": (
        409,
        "`resource_state_conflict`: it is not in the state for that.",
        _error("resource_state_conflict", "the exec has ended"),
    ),
    "Changed": (
        412,
        "`precondition_failed`: somebody changed it since, or the tag is a weak one.",
        _error("precondition_failed", "job 146 is no longer as If-Match has it"),
    ),
    "TooLarge": (
        413,
        "`payload_too_large`: the body is larger than the server takes.",
        _error("payload_too_large", "the body must be at most 1048576 bytes"),
    ),
    "Unsupported": (
        415,
        "`unsupported_media_type`: the body is not told to be what the call takes, or is compressed.",
        _error("unsupported_media_type", "the body must be application/json, told in Content-Type"),
    ),
    "NoSuchRange": (
        416,
        "`range_not_satisfiable`: the text has no such range of bytes.",
        _error("range_not_satisfiable", "the log has 14 bytes now"),
    ),
    "Mismatch": (
        422,
        "`idempotency_mismatch`: this `Idempotency-Key` came with another body before.",
        _error("idempotency_mismatch", "this Idempotency-Key came with another body"),
    ),
    "TooMany": (
        429,
        "`too_many_requests`: too many, or too many that wait; try again after `Retry-After` seconds.",
        _error("too_many_requests", "too many requests; wait a little"),
    ),
    "Unknown": (
        500,
        "`unknown_issue`: a fault of the server; its log says more under the request's id.",
        _error("unknown_issue", "something went wrong inside jobd; its log says more under the request 5f0c"),
    ),
    "Unavailable": (
        503,
        "`service_unavailable`: the database cannot be reached, or a region for its log.",
        _error("service_unavailable", "the database cannot be reached"),
    ),
}
"""By name: the status, what it says, an example."""
