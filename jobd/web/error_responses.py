"""Errors as HTTP responses: the status of each error code, and the body that all errors share."""

from typing import Any

from tornado.web import HTTPError

from jobd.errors import BadRequest, InvalidArgs, JobdError, MethodNotAllowed, NotFound
from jobd.web.validation import MAX_FAULTS, shown

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


def error_to_send(error: BaseException | None, request_id: str) -> JobdError:
    """The error to send: a JobdError as it is; of any other only what a client may know."""
    if isinstance(error, JobdError) and error.code in STATUS:
        return error
    if isinstance(error, HTTPError):
        if error.status_code == 404:
            return NotFound("there is nothing at this address")
        if error.status_code == 405:
            return MethodNotAllowed("this address does not support this method")
        if 400 <= error.status_code < 500:
            return BadRequest("the request cannot be read")
    return JobdError(f"something went wrong inside jobd; its log says more under the request {request_id}")


def status(error: JobdError) -> int:
    return STATUS.get(error.code, 500)


def body(error: JobdError) -> dict[str, Any]:
    entry: dict[str, Any] = {"source": "jobd", "code": error.code, "message": error.message}
    if isinstance(error, InvalidArgs) and error.fields:
        entry["fields"] = _first_faults(error)
        count = sum(map(len, error.fields.values()))
        if count > MAX_FAULTS:
            entry["message"] = f"{error.message}: {count} faults, of which these are the first {MAX_FAULTS}"
    return {"errors": [entry]}


def _first_faults(error: InvalidArgs) -> list[dict[str, list[str]]]:
    """An entry for each invalid field, at most MAX_FAULTS faults in all: a response is small, whatever was sent."""
    entries, room = [], MAX_FAULTS
    for name, faults in error.fields.items():
        if room <= 0:
            break
        entries.append({shown(name): faults[:room]})
        room -= len(faults)
    return entries
