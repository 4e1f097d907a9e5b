"""The error responses in the OpenAPI document: one for each status, the same for all calls."""

from collections.abc import Mapping
from typing import Any

OF_EVERY_CALL = (400, 403, 413, 415, 429, 500, 503)
HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "How to authenticate."},
    405: {"Allow": "The supported methods."},
    429: {"Retry-After": "Seconds to wait before another attempt."},
}


def _error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"errors": [{"source": "jobd", "code": code, "message": message, **more}]}


REFUSALS: Mapping[str, tuple[int, str, dict[str, Any]]] = {
    "Invalid": (
        400,
        "`invalid_args`: fields or parameters are invalid, and `fields` says which; or `bad_request`: the request "
        "cannot be read.",
        _error("invalid_args", "invalid request", fields=[{"name": ["must not be blank"]}]),
    ),
    "Unauthorized": (
        401,
        "`unauthorized`: no token, an invalid token, or a wrong password.",
        _error("unauthorized", "say who you are: Authorization: Token <token>"),
    ),
    "Forbidden": (
        403,
        "`permission_denied`: the caller may not do this, or, without tokens, a page of another site made the request.",
        _error("permission_denied", "the namespace chennanfei is not yours"),
    ),
    "NotFound": (
        404,
        "`resource_not_exist`: there is no such object, or the caller may not see it.",
        _error("resource_not_exist", "there is no job 146"),
    ),
    "Conflict": (
        409,
        "`resource_state_conflict`: the object's state does not allow this.",
        _error("resource_state_conflict", "the exec has ended"),
    ),
    "Changed": (
        412,
        "`precondition_failed`: the object has been changed since, or the tag is a weak one.",
        _error("precondition_failed", "job 146 has changed: it no longer matches If-Match"),
    ),
    "TooLarge": (
        413,
        "`payload_too_large`: the body is larger than the server accepts.",
        _error("payload_too_large", "the body must be at most 1048576 bytes"),
    ),
    "Unsupported": (
        415,
        "`unsupported_media_type`: the body's Content-Type is not one that the call accepts, or it is compressed.",
        _error("unsupported_media_type", "the body, and its Content-Type, must be application/json"),
    ),
    "NoSuchRange": (
        416,
        "`range_not_satisfiable`: the log does not have the requested range of bytes.",
        _error("range_not_satisfiable", "the log has 14 bytes now"),
    ),
    "Mismatch": (
        422,
        "`idempotency_mismatch`: this `Idempotency-Key` was used with another body before.",
        _error("idempotency_mismatch", "this Idempotency-Key came with another body"),
    ),
    "TooMany": (
        429,
        "`too_many_requests`: too many requests, or too many execs that wait; try again after `Retry-After` seconds.",
        _error("too_many_requests", "more than 600 requests per minute"),
    ),
    "Unknown": (
        500,
        "`unknown_issue`: an error of the server; its log has more under the request's id.",
        _error("unknown_issue", "something went wrong inside jobd; its log says more under the request 5f0c"),
    ),
    "Unavailable": (
        503,
        "`service_unavailable`: the database, or the region for a log, cannot be reached.",
        _error("service_unavailable", "the database cannot be reached"),
    ),
}
"""By name: the status, a description, an example."""
