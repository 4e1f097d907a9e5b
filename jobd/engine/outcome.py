"""What the end of an exec means: pure rules from a record and the last state of its container to a result."""

from dataclasses import replace

from jobd.errors import ExecutorError, StartFailed
from jobd.executor import State, Status
from jobd.statuses import ExecStatus
from jobd.store.db.tables import Exec
from jobd.store.queue.transitions import Result

STARTED_AGAIN = "its container was started again from outside, and was stopped"


def judge(row: Exec, status: Status) -> Result:
    """The result of an exec whose run has ended or is gone, with a note on what else happened to it."""
    result = _judge(row, status)
    notes = []
    if result.status == ExecStatus.SUCCEEDED and status.oom_killed:
        notes.append(f"one of its processes was killed, as it used more memory than its size {row.resource_size} has")
    if status.ran_again:
        notes.append(STARTED_AGAIN)
    return replace(result, message="; ".join([result.message or "", *notes]).removeprefix("; ")) if notes else result


def _judge(row: Exec, status: Status) -> Result:
    """The result of an exec whose run has ended or is gone. A requested stop explains any end. Exit code 137 alone does
    not prove that memory ran out, and the engine's flag alone does not make a success a failure.
    """
    code = status.exit_code
    if row.stop_requested_at is not None:
        return _ended(ExecStatus.CANCELLED, row.stop_reason or "cancelled", None, status)
    if row.timed_out_at is not None:
        return _ended(ExecStatus.FAILED, "timeout", "it ran longer than its timeout", status)
    if status.state is not State.ENDED:
        return Result(
            ExecStatus.FAILED, "lost", f"its container is {status.state.value}, though it ran: somebody else's doing"
        )
    if status.never_ran:
        return Result(ExecStatus.FAILED, StartFailed.reason, status.message, None, status.started_at, status.ended_at)
    if code is None:
        unknown = "nothing tells how it ended" if status.ran_again else "its container ended without an exit code"
        return _ended(ExecStatus.FAILED, "lost", status.message or unknown, status)
    if code == 0:
        return _ended(ExecStatus.SUCCEEDED, None, None, status)
    if status.oom_killed:
        return _ended(
            ExecStatus.FAILED, "oom_killed", f"it used more memory than its size {row.resource_size} has", status
        )
    return _ended(ExecStatus.FAILED, "exit_code", status.message or f"exit code {code}", status)


def refused(row: Exec, error: ExecutorError) -> Result:
    """The result of an exec that never ran, because of a final error of its executor."""
    if row.stop_requested_at is not None:
        return cancelled(row)
    return Result(ExecStatus.FAILED, error.reason, error.message)


def cancelled(row: Exec) -> Result:
    """The result of an exec that was stopped before it ran."""
    return Result(ExecStatus.CANCELLED, row.stop_reason or "cancelled")


def lost(message: str) -> Result:
    return Result(ExecStatus.FAILED, "lost", message)


def unstorable(error: Exception) -> Result:
    """The result that is recorded in place of one that the database rejects."""
    return lost(f"its result could not be stored: {type(error).__name__}: {error}")


def without_log(result: Result) -> Result:
    """The same result, with a note that its log is missing."""
    messages = [result.message] if result.message else []
    return replace(result, message="; ".join([*messages, "its log could not be read"]))


def with_missing_output(result: Result, why: str) -> Result:
    """The same result, with a note that its log may lack output."""
    messages = [result.message] if result.message else []
    return replace(result, message="; ".join([*messages, f"its log may lack output: {why}"]))


def _ended(kind: str, reason: str | None, message: str | None, status: Status) -> Result:
    return Result(kind, reason, message, status.exit_code, status.started_at, status.ended_at)
