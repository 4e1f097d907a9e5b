"""The exit codes of commands, and the exception that carries one."""

from collections.abc import Mapping, Sequence

import click

from jobd.errors import ConfigError, InvalidArgs, JobdError

FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_ALLOWED = 4
AWAY = 5
INTERRUPTED = 130
"""128 + SIGINT, as a shell reports it."""

EXIT_CODES = {
    "invalid_args": USAGE,
    "bad_request": USAGE,
    "resource_not_exist": NOT_FOUND,
    "unauthorized": NOT_ALLOWED,
    "permission_denied": NOT_ALLOWED,
    "service_unavailable": AWAY,
}
"""Exit codes by the code of a `JobdError`, from the API or from the store; any other code is FAILED."""


class Failure(click.ClickException):
    """Ends the command with this message on stderr and this exit code."""

    exit_code: int  # type: ignore[misc]  # click declares it for the class, and reads it from the instance

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class TryLater(Failure):
    """The server cannot be reached or is busy: the same call may succeed later."""


def failure(code: str, message: str, fields: Mapping[str, Sequence[str]] | None = None) -> Failure:
    """The failure for an error with this code; each fault of a field has a line."""
    faults = [f"  {name}: {fault}" for name, texts in (fields or {}).items() for fault in texts if fault != message]
    kind = TryLater if code in ("service_unavailable", "too_many_requests") else Failure
    return kind("\n".join([message, *faults]), EXIT_CODES.get(code, FAILED))


def of_error(error: JobdError) -> Failure:
    """The failure for an error raised in this process."""
    if isinstance(error, ConfigError):
        return Failure(error.message)
    return failure(error.code, error.message, error.fields if isinstance(error, InvalidArgs) else None)
