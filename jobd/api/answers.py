"""Errors as HTTP: which status goes with which code, and the one shape of an error's body."""

from typing import Any

from tornado.web import HTTPError

from jobd.errors import BadRequest, InvalidArgs, JobdError, MethodNotAllowed, NotFound

STATUS = {
    "invalid_args": 400,
    "bad_request": 400,
    "unauthorized": 401,
    "permission_denied": 403,
    "resource_not_exist": 404,
    "method_not_allowed": 405,
    "resource_state_conflict": 409,
    "precondition_failed": 412,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "idempotency_mismatch": 422,
    "too_many_requests": 429,
    "service_unavailable": 503,
}


def explained(error: BaseException | None, request_id: str) -> JobdError:
    """The error to tell the client: itself if it was meant for it, else one that gives nothing away."""
    if isinstance(error, JobdError) and error.code in STATUS:
        return error
    if isinstance(error, HTTPError):
        if error.status_code == 404:
            return NotFound("there is nothing at this address")
        if error.status_code == 405:
            return MethodNotAllowed("this address has no such method")
        if 400 <= error.status_code < 500:
            return BadRequest("the request cannot be read")
    return JobdError(f"something went wrong inside jobd; its log says more under the request {request_id}")


def status(error: JobdError) -> int:
    return STATUS.get(error.code, 500)


def body(error: JobdError) -> dict[str, Any]:
    entry: dict[str, Any] = {"source": "jobd", "code": error.code, "message": error.message}
    if isinstance(error, InvalidArgs) and error.fields:
        entry["fields"] = [{name: faults} for name, faults in error.fields.items()]
    return {"errors": [entry]}
