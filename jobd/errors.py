"""Every error that jobd raises on purpose.

JobdError                      unknown_issue
├── InvalidArgs                invalid_args             what was sent is wrong, field by field
│   └── ScheduleError                                   a schedule text that says nothing, and where
├── BadRequest                 bad_request              not even readable: broken JSON, a bad query
├── Unauthorized               unauthorized
├── PermissionDenied           permission_denied
├── NotFound                   resource_not_exist       also: exists, but is not the caller's
├── MethodNotAllowed           method_not_allowed
├── StateConflict              resource_state_conflict
├── PreconditionFailed         precondition_failed
├── PayloadTooLarge            payload_too_large
├── RangeNotSatisfiable        range_not_satisfiable
├── UnsupportedMediaType       unsupported_media_type
├── IdempotencyMismatch        idempotency_mismatch
├── TooManyRequests            too_many_requests
├── ServiceUnavailable         service_unavailable      the database is away
├── ConfigError                                         the start stops
├── DeliveryFailed                                      nothing was answered to a webhook, or no mail taken
│   └── DeliveryRefused                                 jobd itself does not send it there
├── RunRefused                                          a `jobd_prepare_run` hook says no
└── ExecutorError                                       what an executor plugin may raise
    ├── RegionUnavailable                               the exec waits until the region is back
    ├── ImageAbsent                                     the image must be pulled first
    ├── ImageNotFound                                   final, as are the next
    ├── ImagePullFailed
    ├── StartFailed
    │   └── StillRunning                                what runs is removed by force alone
    └── HandleGone                                      the handle names nothing (any more)

The codes are stable. Which HTTP status goes with which code is the API's business, not this file's.
"""

from collections.abc import Mapping, Sequence


class JobdError(Exception):
    """Something that jobd can explain; `message` is for people, `code` for programs."""

    code = "unknown_issue"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArgs(JobdError):
    """All errors of one request at once: `fields` maps a field's name to what is wrong with it."""

    code = "invalid_args"

    def __init__(self, message: str, fields: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(message)
        self.fields = {name: list(faults) for name, faults in (fields or {}).items()}


class ScheduleError(InvalidArgs):
    """A schedule that cannot be read. `position` is where the error begins (0-based), `example` a correct schedule."""

    def __init__(self, message: str, *, field: str = "schedule_mode", position: int = 0, example: str = "") -> None:
        super().__init__(message, {field: [message]})
        self.position = position
        self.example = example


class BadRequest(JobdError):
    code = "bad_request"


class Unauthorized(JobdError):
    code = "unauthorized"


class PermissionDenied(JobdError):
    code = "permission_denied"


class NotFound(JobdError):
    code = "resource_not_exist"


class MethodNotAllowed(JobdError):
    code = "method_not_allowed"


class StateConflict(JobdError):
    code = "resource_state_conflict"


class PreconditionFailed(JobdError):
    code = "precondition_failed"


class PayloadTooLarge(JobdError):
    code = "payload_too_large"


class RangeNotSatisfiable(JobdError):
    code = "range_not_satisfiable"


class UnsupportedMediaType(JobdError):
    code = "unsupported_media_type"


class IdempotencyMismatch(JobdError):
    code = "idempotency_mismatch"


class TooManyRequests(JobdError):
    """`retry_after`: seconds after which another try makes sense."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceUnavailable(JobdError):
    code = "service_unavailable"


class ConfigError(JobdError):
    """The configuration is wrong. The message names file, line and key, and what would be right."""


class DeliveryFailed(JobdError):
    """An attempt to deliver a webhook or a mail has failed; the message is stored with the attempt."""


class DeliveryRefused(DeliveryFailed):
    """A webhook's address may not be sent to. The message is for whoever created the webhook, and does not reveal what
    a name resolves to; `detail` is for the operator's log. `is_final`: no later attempt can succeed.
    """

    def __init__(self, message: str, detail: str, is_final: bool) -> None:
        super().__init__(message)
        self.detail = detail
        self.is_final = is_final


class RunRefused(JobdError):
    """Raised by a `jobd_prepare_run` hook: the exec fails with `start_failed` and this message."""


class ExecutorError(JobdError):
    """Base of what an executor may raise. `reason` is the exec's reason when the error is final."""

    reason = "start_failed"


class RegionUnavailable(ExecutorError):
    """The region's engine cannot be reached. Nothing is decided: the engine asks again later."""

    reason = "region_unavailable"


class ImageAbsent(ExecutorError):
    """`create` found no such image in the region: the engine calls `pull`, then `create` again."""


class ImageNotFound(ExecutorError):
    reason = "image_not_found"


class ImagePullFailed(ExecutorError):
    reason = "image_pull_failed"


class StartFailed(ExecutorError):
    """The engine refused to create or start the container; the message is the engine's own words."""


class StillRunning(StartFailed):
    """`remove` without force found the run running, or about to run. It derives from StartFailed, which `remove` raised
    before this class existed.
    """


class HandleGone(ExecutorError):
    """The handle names no container."""
