"""The life of an exec: every transition of its state machine is one conditional UPDATE.

    (W) waiting -> (W) owned -> (W) with a handle -> (R) running -> (S) (F) (C)

`owner` and `term` are the fence: a transition names the owner and the term under which the exec was taken, and changes
nothing if somebody else has taken it since. A function that returns False says just that: let go of the exec. Each
function is for one transaction; `Transitions` runs them, for a daemon, in the cheapest way that the database offers.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Any

from jobd.executor import Handle
from jobd.keyring import Keyring
from jobd.output.run_log import StoredLog
from jobd.statuses import ExecStatus, Trigger
from jobd.store import execs, outbox, secrets
from jobd.store.db import sql
from jobd.store.db.batching import Batching
from jobd.store.db.clock import now
from jobd.store.db.database import Database, after_commit, count
from jobd.store.db.one_statement import OneStatement, OneStatementFirst
from jobd.store.db.sql import NOW
from jobd.store.db.tables import Exec, ExecLog, Job
from jobd.store.db.text import storable

RETRIED = ("exit_code", "timeout", "oom_killed", "image_pull_failed", "start_failed")
"""The reasons of failures that are retried if a job does not say which."""
MAY_BE_RETRIED = (*RETRIED, "lost")
"""The reasons that a job may name in `retry_on`. An exec that is lost may have run: only its job knows whether that
matters.
"""
MAX_RETRY_DELAY = 3600
"""Seconds."""
MAX_MESSAGE_LENGTH = 2000
MAX_BATCHED_LOG = 64 * 1024
"""The maximum size in bytes of a stored log that is written in one statement with others."""


@dataclass(frozen=True)
class Result:
    """How an exec ended. `status` is S, F or C; times are those of the region's clock."""

    status: str
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class Applied(Enum):
    """Whether a transition was applied. NO: somebody else has taken the exec. YES_WITH_SUBSCRIBERS: a webhook or a mail
    may have to be queued.
    """

    NO = auto()
    YES = auto()
    YES_WITH_SUBSCRIBERS = auto()


def release_capacity(row: Exec) -> bool:
    """The exec no longer counts towards its region's `max_running`, while its image is pulled."""
    return _apply(row, ExecStatus.WAITING, holds_slot=False)


def requeue(row: Exec, message: str | None = None, delay: float = 0, pulled: bool | None = None) -> bool:
    """Back to waiting, without an owner, for at least `delay` seconds. If its end was requested
    meanwhile, it ends now.
    """
    waits = _apply(
        row,
        ExecStatus.WAITING,
        owner=None,
        handle=None,
        holds_slot=False,
        pulled=row.pulled if pulled is None else pulled,
        message=storable(message, MAX_MESSAGE_LENGTH),
        not_before=now() + timedelta(seconds=delay) if delay else row.not_before,
    )
    if waits:
        execs.cancel_unowned(Exec.seq == row.seq)
    return waits


def set_handles(calls: list[tuple[Exec, Handle]]) -> list[bool]:
    """`set_handle` for several execs; returns which of them were applied."""
    return _apply_all([(row, _handle_columns(handle)) for row, handle in calls], "true")


def set_handle(row: Exec, handle: Handle) -> bool:
    """Commit the handle. From here on a crash cannot lose the run; only now may it be started."""
    return _apply(row, ExecStatus.WAITING, **_handle_columns(handle))


def _handle_columns(handle: Handle) -> dict[str, Any]:
    return {"handle": handle.id, "image_digest": handle.image_digest}


def set_handle_and(row: Exec, handle: Handle, also: Callable[[], None]) -> bool:
    """`set_handle` and `also` in one transaction; `also` is called only if the handle was set."""
    is_applied = set_handle(row, handle)
    if is_applied:
        also()
    return is_applied


def set_running_without_subscribers(row: Exec, started_at: datetime | None) -> bool:
    """`set_running` for an exec without webhooks and mails to queue; for any other, does nothing and returns False."""
    return _is_running(row, change(row, ExecStatus.WAITING, _running(started_at), without_subscribers=True))


def set_all_running(calls: list[tuple[Exec, datetime | None]]) -> list[bool]:
    """`set_running_without_subscribers` for several execs; returns which of them were applied."""
    changes = [(row, {**_running(None), "started_at": started_at}) for row, started_at in calls]
    applied = _apply_all(changes, f"NOT {outbox.HAS_SUBSCRIBERS}", now="started_at")
    return [
        _is_running(row, Applied.YES if is_applied else Applied.NO)
        for (row, _), is_applied in zip(calls, applied, strict=True)
    ]


def set_running(row: Exec, started_at: datetime | None) -> bool:
    """`started_at` is by the region's clock; None stands for the database's current time."""
    applied = change(row, ExecStatus.WAITING, _running(started_at))
    if applied is Applied.YES_WITH_SUBSCRIBERS:
        outbox.enqueue([row.seq])
    return _is_running(row, applied)


def _running(started_at: datetime | None) -> dict[str, Any]:
    return {"status": ExecStatus.RUNNING, "started_at": started_at or NOW, "message": None}


def _is_running(row: Exec, applied: Applied) -> bool:
    if applied is Applied.NO:
        return False
    ready_at = row.created_at + (
        retry_delay(row.retry_delay, row.attempt - 1) if row.trigger_mode == Trigger.RETRY else timedelta()
    )
    count(lambda metrics: metrics.started(row.region_name, (row.started_at - ready_at).total_seconds()))
    return True


def set_message(row: Exec, message: str | None) -> bool:
    """Say why a live exec does not go on."""
    return _apply(row, row.status, message=storable(message, MAX_MESSAGE_LENGTH))


def set_timed_out(row: Exec) -> bool:
    return _apply(row, ExecStatus.RUNNING, timed_out_at=NOW)


def end_without_subscribers(row: Exec, result: Result, kept: StoredLog | None) -> bool:
    """`end` for an exec without retry, secrets, webhooks and mails; for any other, does nothing and returns False."""
    if _is_retried(row, result) or row.secret_vars:
        return False
    applied = change(row, row.status, _ended(row, result, kept), without_subscribers=True, adding=_log_row(row, kept))
    return _is_ended(row, result, applied)


def end_all_without_subscribers(calls: list[tuple[Exec, Result, StoredLog | None]]) -> list[bool]:
    """`end_without_subscribers` for several execs, except those with much output; returns which of them
    were applied.
    """
    simple = [
        (row, result, kept)
        for row, result, kept in calls
        if not _is_retried(row, result)
        and not row.secret_vars
        and (kept is None or len(kept.frames) <= MAX_BATCHED_LOG)
    ]
    if not simple:
        return [False] * len(calls)
    changes = [(row, {**_ended(row, result, kept), "ended_at": result.ended_at}) for row, result, kept in simple]
    logs = [log for row, _, kept in simple if (log := _log_row(row, kept)) is not None]
    applied = _apply_all(changes, f"NOT {outbox.HAS_SUBSCRIBERS}", now="ended_at", adding=logs)
    ended = {
        row.seq
        for (row, result, _), is_applied in zip(simple, applied, strict=True)
        if is_applied and _is_ended(row, result, Applied.YES)
    }
    return [row.seq in ended for row, _, _ in calls]


def _log_row(row: Exec, kept: StoredLog | None) -> ExecLog | None:
    return ExecLog(exec_seq=row.seq, frames=kept.frames) if kept is not None and kept.size else None


def end(row: Exec, result: Result, kept: StoredLog | None) -> bool:
    """Store the result and the log, and in the same transaction the retry that follows a failure, or the webhooks and
    mails that report it.
    """
    is_retried = _is_retried(row, result)
    if is_retried and Job._meta.database.for_update:
        # Whoever deletes the job locks it first, too: the retry is created before that, and deleted with the job, or
        # never.
        Job.select(Job.id).where(Job.id == row.job_id).for_update().execute()
    applied = change(row, row.status, _ended(row, result, kept))
    if not _is_ended(row, result, applied):
        return False
    log = _log_row(row, kept)
    if log is not None:
        sql.insert(log)
    if row.secret_vars:
        secrets.drop(row.seq)
    goes_on = is_retried and retry(row)
    if applied is Applied.YES_WITH_SUBSCRIBERS and not goes_on:
        outbox.enqueue([row.seq])
    return True


def _is_retried(row: Exec, result: Result) -> bool:
    return result.status == ExecStatus.FAILED and is_retried_after(row, result.reason)


def is_retried_after(row: Exec, reason: str | None) -> bool:
    """Whether the exec has an attempt left for a failure with this reason."""
    reasons = RETRIED if row.retry_on is None else row.retry_on["reasons"]
    return bool(reason in reasons and row.attempt <= row.max_retries)


def _ended(row: Exec, result: Result, kept: StoredLog | None) -> dict[str, Any]:
    return {
        "status": result.status,
        "reason": result.reason,
        "message": storable(result.message, MAX_MESSAGE_LENGTH),
        "exit_code": result.exit_code,
        "started_at": result.started_at or row.started_at,
        "ended_at": result.ended_at or NOW,
        "log_bytes": kept.size if kept else 0,
        "log_is_cut": kept is not None and kept.is_cut,
        "log_may_lack_output": kept is not None and bool(kept.missing),
        "owner": None,
        "holds_slot": False,
    }


def _is_ended(row: Exec, result: Result, applied: Applied) -> bool:
    if applied is Applied.NO:
        return False
    count(lambda metrics: metrics.ended(row.region_name, result.status, result.reason, _ran(row), row.log_bytes))
    return True


def retry_delay(base: int, attempt: int) -> timedelta:
    """How long the retry that follows an attempt waits; `base` is in seconds."""
    return timedelta(seconds=min(base * 2 ** (attempt - 1), MAX_RETRY_DELAY))


def retry(row: Exec) -> bool:
    """Queue the next attempt, in the transaction that ends this one; False if it is not wanted any more."""
    # The row in memory is as old as its claim: since then somebody may have requested its end.
    not_cancelled = Exec.stop_requested_at.is_null() & Exec.deleted_at.is_null()
    if not Exec.select(Exec.seq).where(Exec.seq == row.seq, not_cancelled).exists():
        return False
    at = now()
    values = {**execs.fresh(row.job_id, Trigger.RETRY, row.created_by, at), **execs.snapshot(row)}
    Exec.create(
        **values,
        attempt=row.attempt + 1,
        retry_of=row.id,
        scheduled_for=row.scheduled_for,
        not_before=at + retry_delay(row.retry_delay, row.attempt),
    )
    count(lambda metrics: metrics.created(row.region_name, Trigger.RETRY))
    return True


def _ran(row: Exec) -> float | None:
    """How long the exec ran, in seconds."""
    return None if row.started_at is None else float((row.ended_at - row.started_at).total_seconds())


def _apply_all(moves: list[tuple[Exec, dict[str, Any]]], where: str, **more: Any) -> list[bool]:
    """Apply transitions of several execs in one statement, if `where` holds as well; returns which of them were
    applied.
    """
    changed = sql.change_all(Exec, moves, ("status", "term", "owner"), where, **more)
    after_commit(partial(_update_rows, moves, changed))
    return [row.seq in changed for row, _ in moves]


def _update_rows(moves: list[tuple[Exec, dict[str, Any]]], changed: dict[int, dict[str, Any]]) -> None:
    for row, _ in moves:
        for name, value in changed.get(row.seq, {}).items():
            setattr(row, name, value)


def _apply(row: Exec, expected: str, **changes: Any) -> bool:
    """Apply a transition that no webhook or mail reports."""
    return _changed(row, expected, changes) is not None


def change(
    row: Exec, expected: str, changes: dict[str, Any], without_subscribers: bool = False, adding: ExecLog | None = None
) -> Applied:
    """Apply a transition that a webhook or a mail may report; with `without_subscribers`, only if none does. The row
    `adding` is inserted with it.
    """
    if without_subscribers:
        changed = _changed(row, expected, changes, also=f" AND NOT {outbox.HAS_SUBSCRIBERS}", adding=adding)
        return Applied.NO if changed is None else Applied.YES
    changed = _changed(row, expected, changes, telling=outbox.HAS_SUBSCRIBERS)
    if changed is None:
        return Applied.NO
    return Applied.YES_WITH_SUBSCRIBERS if changed[1] else Applied.YES


def _changed(
    row: Exec, expected: str, changes: dict[str, Any], also: str = "", **more: Any
) -> tuple[dict[str, Any], Any] | None:
    """The conditional UPDATE behind every transition; the row in memory is brought up to date after the commit."""
    fence, owner = ("owner IS NULL", ()) if row.owner is None else ("owner = ?", (row.owner,))
    where = f"seq = ? AND status = ? AND term = ? AND {fence}{also}"
    returned = sql.change(row, changes, where, row.seq, expected, row.term, *owner, **more)
    if returned is not None:
        after_commit(partial(_update_rows, [(row, changes)], {row.seq: returned[0]}))
    return returned


class Transitions:
    """The transitions of the execs that a daemon owns, one call each. Each returns whether it was applied, and raises
    ServiceUnavailable.

    PostgreSQL plans, commits and answers once for a whole batch, so transitions of one kind that come while another is
    in progress go together, and one that needs only a single statement is sent without BEGIN and COMMIT. SQLite's one
    writer commits together whatever waits for it.
    """

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._set_handle = self._batched(OneStatement(set_handle), set_handles)
        self._set_running = self._batched(
            OneStatementFirst(set_running_without_subscribers, set_running), set_all_running
        )
        self._end = self._batched(OneStatementFirst(end_without_subscribers, end), end_all_without_subscribers)

    def _batched(
        self, alone: Callable[..., bool], together: Callable[..., list[bool]]
    ) -> Callable[..., Awaitable[bool]]:
        write = partial(self._database.write, alone)
        if self._database.is_sqlite:
            return write
        return Batching(write, partial(self._database.write, OneStatement(together))).write

    async def set_handle(self, row: Exec, handle: Handle, secret_values: Mapping[str, str]) -> bool:
        """Commit the handle. From here on a crash cannot lose the run; only now may it be started. The secrets that it
        keeps until it has ended are committed with it.
        """
        if not row.secret_vars:
            return await self._set_handle(row, handle)
        keep = partial(secrets.keep, self._keyring, row, secret_values)
        return await self._database.write(set_handle_and, row, handle, keep)

    async def set_running(self, row: Exec, started_at: datetime | None) -> bool:
        """`started_at` is by the region's clock; None stands for the database's current time."""
        return await self._set_running(row, started_at)

    async def end(self, row: Exec, result: Result, kept: StoredLog | None) -> bool:
        """Store the result and the log, and the retry, webhooks and mails that follow from them."""
        return await self._end(row, result, kept)

    async def release_capacity(self, row: Exec) -> bool:
        """The exec no longer counts towards its region's `max_running`, while its image is pulled."""
        return await self._database.write(_RELEASE_CAPACITY, row)

    async def set_message(self, row: Exec, message: str | None) -> bool:
        """Say why a live exec does not go on."""
        return await self._database.write(_SET_MESSAGE, row, message)

    async def set_timed_out(self, row: Exec) -> bool:
        return await self._database.write(_SET_TIMED_OUT, row)

    async def requeue(
        self, row: Exec, message: str | None = None, delay: float = 0, pulled: bool | None = None
    ) -> bool:
        """Back to waiting, without an owner, for at least `delay` seconds."""
        return await self._database.write(requeue, row, message, delay, pulled)


_RELEASE_CAPACITY = OneStatement(release_capacity)
_SET_MESSAGE = OneStatement(set_message)
_SET_TIMED_OUT = OneStatement(set_timed_out)
