"""The life of an exec: every arrow of its state machine is one conditional UPDATE.

    (W) waiting -> (W) owned -> (W) with a handle -> (R) running -> (S) (F) (C)

`owner` and `term` are the fence: a transition names the owner and term under which the exec was taken, and changes
nothing if somebody else has it by now. A function that answers False says just that: let go of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Any

from jobd.executor import Handle
from jobd.output.run_log import Kept
from jobd.store import execs, outbox, secrets
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.database import after_commit, count, gathered, one_statement, tried_first
from jobd.store.db.sql import NOW
from jobd.store.db.tables import Exec, ExecLog, Job

RETRIED = ("exit_code", "timeout", "oom_killed", "image_pull_failed", "start_failed")
"""Reasons of failures that are retried where a job does not say which."""
MAY_BE_RETRIED = (*RETRIED, "lost")
"""Those that a job may name in `retry_on`. A run that is lost may have run: only its job knows whether that matters."""
LONGEST_RETRY_DELAY = 3600
"""Seconds."""
MESSAGE_LENGTH = 2000
SHORT_LOG = 64 * 1024
"""Bytes of a stored log up to which it goes into one statement with others."""


@dataclass(frozen=True)
class Result:
    """How an exec ended. `status` is S, F or C; times are the region's."""

    status: str
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class Moved(Enum):
    """What became of an arrow: somebody else was quicker; done; done, and somebody may want to be told of it."""

    NOT = auto()
    QUIETLY = auto()
    AWAITED = auto()


@one_statement
def give_back_slot(row: Exec) -> bool:
    """The exec goes on without a running slot, while its image is pulled."""
    return _move(row, "W", holds_slot=False)


def requeue(row: Exec, message: str | None = None, delay: float = 0, pulled: bool | None = None) -> bool:
    """Back to waiting, owned by nobody, for at least `delay` seconds; an end that was asked for meanwhile is now."""
    waits = _move(
        row,
        "W",
        owner=None,
        handle=None,
        holds_slot=False,
        pulled=row.pulled if pulled is None else pulled,
        message=clean(message),
        not_before=now() + timedelta(seconds=delay) if delay else row.not_before,
    )
    if waits:
        execs.cancel_unowned(Exec.seq == row.seq)
    return waits


@one_statement
def set_handles(calls: list[tuple[Exec, Handle]]) -> list[bool]:
    """`set_handle` of several."""
    return _move_all([(row, _made(handle)) for row, handle in calls], "true")


@gathered(set_handles)
@one_statement
def set_handle(row: Exec, handle: Handle) -> bool:
    """From here on a crash cannot lose the run; only now may it be started."""
    return _move(row, "W", **_made(handle))


def _made(handle: Handle) -> dict[str, Any]:
    return {"handle": handle.id, "image_digest": handle.image_digest}


def set_handle_and(row: Exec, handle: Handle, also: Callable[[], None]) -> bool:
    """`set_handle`, and `also` with it or not at all."""
    moved = set_handle(row, handle)
    if moved:
        also()
    return moved


def set_running_quietly(row: Exec, started_at: datetime | None) -> bool:
    """`set_running` of an exec of which nobody is to be told, else False."""
    return _is_running(row, change(row, "W", _running(started_at), quietly=True))


@one_statement
def set_all_running(calls: list[tuple[Exec, datetime | None]]) -> list[bool]:
    """`set_running_quietly` of several."""
    changes = [(row, {**_running(None), "started_at": started_at}) for row, started_at in calls]
    moved = _move_all(changes, f"NOT {outbox.IS_AWAITED}", now="started_at")
    return [
        _is_running(row, Moved.QUIETLY if is_moved else Moved.NOT)
        for (row, _), is_moved in zip(calls, moved, strict=True)
    ]


@gathered(set_all_running)
@tried_first(set_running_quietly)
def set_running(row: Exec, started_at: datetime | None) -> bool:
    moved = change(row, "W", _running(started_at))
    if moved is Moved.AWAITED:
        outbox.tell([row.seq])
    return _is_running(row, moved)


def _running(started_at: datetime | None) -> dict[str, Any]:
    return {"status": "R", "started_at": started_at or NOW, "message": None}


def _is_running(row: Exec, moved: Moved) -> bool:
    if moved is Moved.NOT:
        return False
    ready_at = row.created_at + (
        retry_delay(row.retry_delay, row.attempt - 1) if row.trigger_mode == "R" else timedelta()
    )
    count(lambda metrics: metrics.started(row.region_name, (row.started_at - ready_at).total_seconds()))
    return True


@one_statement
def set_message(row: Exec, message: str | None) -> bool:
    """Say why a live exec does not go on."""
    return _move(row, row.status, message=clean(message))


@one_statement
def set_timed_out(row: Exec) -> bool:
    return _move(row, "R", timed_out_at=NOW)


def end_quietly(row: Exec, result: Result, kept: Kept | None) -> bool:
    """`end` of an exec that nothing follows and of which nobody is to be told, else False."""
    if _is_retried(row, result) or row.secret_vars:
        return False
    moved = change(row, row.status, _ended(row, result, kept), quietly=True, adding=_written(row, kept))
    return _is_ended(row, result, moved)


@one_statement
def end_all_quietly(calls: list[tuple[Exec, Result, Kept | None]]) -> list[bool]:
    """`end_quietly` of several, but those with much output."""
    quiet = [
        (row, result, kept)
        for row, result, kept in calls
        if not _is_retried(row, result) and not row.secret_vars and (kept is None or len(kept.frames) <= SHORT_LOG)
    ]
    if not quiet:
        return [False] * len(calls)
    changes = [(row, {**_ended(row, result, kept), "ended_at": result.ended_at}) for row, result, kept in quiet]
    logs = [log for row, _, kept in quiet if (log := _written(row, kept)) is not None]
    moved = _move_all(changes, f"NOT {outbox.IS_AWAITED}", now="ended_at", adding=logs)
    ended = {
        row.seq
        for (row, result, _), is_moved in zip(quiet, moved, strict=True)
        if is_moved and _is_ended(row, result, Moved.QUIETLY)
    }
    return [row.seq in ended for row, _, _ in calls]


def _written(row: Exec, kept: Kept | None) -> ExecLog | None:
    return ExecLog(exec_seq=row.seq, frames=kept.frames) if kept is not None and kept.size else None


@gathered(end_all_quietly)
@tried_first(end_quietly)
def end(row: Exec, result: Result, kept: Kept | None) -> bool:
    """Store result and log, and in the same transaction the retry that follows a failure, or what is to be told of it
    to others.
    """
    is_retried = _is_retried(row, result)
    if is_retried and Job._meta.database.for_update:
        # Whoever deletes the job locks it first, too: a retry is made before that, and deleted with it, or never.
        Job.select(Job.id).where(Job.id == row.job_id).for_update().execute()
    moved = change(row, row.status, _ended(row, result, kept))
    if not _is_ended(row, result, moved):
        return False
    written = _written(row, kept)
    if written is not None:
        sql.insert(written)
    if row.secret_vars:
        secrets.drop(row.seq)
    goes_on = is_retried and retry(row)
    if moved is Moved.AWAITED and not goes_on:
        outbox.tell([row.seq])
    return True


def _is_retried(row: Exec, result: Result) -> bool:
    return result.status == "F" and is_retried_after(row, result.reason)


def is_retried_after(row: Exec, reason: str | None) -> bool:
    """Whether the exec has an attempt left for a failure of this reason."""
    reasons = RETRIED if row.retry_on is None else row.retry_on["reasons"]
    return bool(reason in reasons and row.attempt <= row.max_retries)


def _ended(row: Exec, result: Result, kept: Kept | None) -> dict[str, Any]:
    return {
        "status": result.status,
        "reason": result.reason,
        "message": clean(result.message),
        "exit_code": result.exit_code,
        "started_at": result.started_at or row.started_at,
        "ended_at": result.ended_at or NOW,
        "log_bytes": kept.size if kept else 0,
        "log_is_cut": kept is not None and kept.is_cut,
        "log_may_lack_output": kept is not None and bool(kept.missing),
        "owner": None,
        "holds_slot": False,
    }


def _is_ended(row: Exec, result: Result, moved: Moved) -> bool:
    if moved is Moved.NOT:
        return False
    count(lambda metrics: metrics.ended(row.region_name, result.status, result.reason, _ran(row), row.log_bytes))
    return True


def retry_delay(base: int, attempt: int) -> timedelta:
    """How long the retry that follows an attempt waits; `base` in seconds."""
    return timedelta(seconds=min(base * 2 ** (attempt - 1), LONGEST_RETRY_DELAY))


def retry(row: Exec) -> bool:
    """Queue the next attempt, in the transaction that ends this one; False when it is not wanted any more."""
    # The row in hand is as old as its claim: since then somebody may have asked for its end.
    wanted = Exec.stop_requested_at.is_null() & Exec.deleted_at.is_null()
    if not Exec.select(Exec.seq).where(Exec.seq == row.seq, wanted).exists():
        return False
    at = now()
    values = {**execs.fresh(row.job_id, "R", row.created_by, at), **execs.snapshot(row)}
    Exec.create(
        **values,
        attempt=row.attempt + 1,
        retry_of=row.id,
        scheduled_for=row.scheduled_for,
        not_before=at + retry_delay(row.retry_delay, row.attempt),
    )
    count(lambda metrics: metrics.created(row.region_name, "R"))
    return True


def _ran(row: Exec) -> float | None:
    """Seconds."""
    return None if row.started_at is None else float((row.ended_at - row.started_at).total_seconds())


def _move_all(moves: list[tuple[Exec, dict[str, Any]]], where: str, **more: Any) -> list[bool]:
    """Arrows of several execs at once, where `where` holds, too; which of them were gone."""
    changed = sql.change_all(Exec, moves, ("status", "term", "owner"), where, **more)
    after_commit(partial(_follow_all, moves, changed))
    return [row.seq in changed for row, _ in moves]


def _follow_all(moves: list[tuple[Exec, dict[str, Any]]], changed: dict[int, dict[str, Any]]) -> None:
    for row, _ in moves:
        for name, value in changed.get(row.seq, {}).items():
            setattr(row, name, value)


def _move(row: Exec, expected: str, **changes: Any) -> bool:
    """An arrow of which nobody is told."""
    return _moved(row, expected, changes) is not None


def change(
    row: Exec, expected: str, changes: dict[str, Any], quietly: bool = False, adding: ExecLog | None = None
) -> Moved:
    """An arrow of which somebody may want to be told; `quietly`: it is not gone then. `adding` goes with it."""
    if quietly:
        found = _moved(row, expected, changes, also=f" AND NOT {outbox.IS_AWAITED}", adding=adding)
        return Moved.NOT if found is None else Moved.QUIETLY
    found = _moved(row, expected, changes, telling=outbox.IS_AWAITED)
    if found is None:
        return Moved.NOT
    return Moved.AWAITED if found[1] else Moved.QUIETLY


def _moved(
    row: Exec, expected: str, changes: dict[str, Any], also: str = "", **more: Any
) -> tuple[dict[str, Any], Any] | None:
    """The conditional update behind every arrow; the row in hand follows with the commit."""
    fence, owner = ("owner IS NULL", ()) if row.owner is None else ("owner = ?", (row.owner,))
    where = f"seq = ? AND status = ? AND term = ? AND {fence}{also}"
    found = sql.change(row, changes, where, row.seq, expected, row.term, *owner, **more)
    if found is not None:
        changed, _ = found

        def follow() -> None:
            for name, value in changed.items():
                setattr(row, name, value)

        after_commit(follow)
    return found


def clean(message: str | None) -> str | None:
    """Text of foreign origin, fit for every database."""
    if message is None:
        return None
    return message.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:MESSAGE_LENGTH]
