"""Deletes records of several tables together: they are hidden at once, and purged when none of their containers is
left.
"""

from collections.abc import Callable

from peewee import Expression, fn

from jobd.statuses import LIVE
from jobd.store import audit, execs, jobs, labels, secrets, tallies, webhooks
from jobd.store.callers import Caller
from jobd.store.db.clock import now
from jobd.store.db.tables import Exec, ExecLog, Job

PURGED_AT_ONCE = 500


def delete_exec(caller: Caller, job_id: int, exec_id: str) -> None:
    """Hide an exec, stop it if it is live, purge it if not. Raises NotFound, PermissionDenied."""
    row = execs.writable(caller, job_id, exec_id)
    audit.record(caller, "exec.delete", row.namespace, execs.subject(row), before={"status": row.status})
    _delete(Exec.seq == row.seq, caller)


def delete_job(caller: Caller, job_id: int, require: Callable[[Job], None] = lambda job: None) -> None:
    """Hide a job and its execs, stop the live ones, purge the others; its webhooks are deleted at once. `require` is
    called with the locked job, and may raise.

    Raises NotFound, PermissionDenied.
    """
    job = jobs.writable(caller, job_id, lock="UPDATE")
    require(job)
    audit.record(caller, "job.delete", job.namespace, job.id, before=jobs.audited(job))
    Job.update(deleted_at=now(), next_fire_at=None).where(Job.id == job.id).execute()
    tallies.gone(tallies.JOBS, [(job.id, job.namespace, None)])
    webhooks.delete_of_job(job.id)
    labels.drop(job.id)
    secrets.drop_of_job(job.id)
    _delete(Exec.job_id == job.id, caller)
    _purge_empty_jobs(Job.id == job.id)


def purge_exec(seq: int) -> None:
    """Delete the row and the log of an exec that is hidden and has ended, and its job if that is hidden too."""
    row = Exec.get_or_none(Exec.seq == seq)
    if row is not None:
        _purge(Exec.seq == seq)
        _purge_empty_jobs(Job.id == row.job_id)


def purge_all(limit: int = 1000) -> None:
    """Delete hidden execs that have ended meanwhile, at most `limit`, and hidden jobs that have no execs."""
    _purge(_purgeable(), limit)
    _purge_empty_jobs(Job.deleted_at.is_null(False))


def _delete(which: Expression, caller: Caller) -> None:
    hidden = Exec.update(deleted_at=now()).where(which, Exec.deleted_at.is_null())
    rows = hidden.returning(Exec.seq, Exec.namespace, Exec.job_id).execute()
    tallies.gone(tallies.EXECS, [(row.seq, row.namespace, row.job_id) for row in rows])
    execs.request_stop(which, caller.username, "cancelled")
    _purge(which)


def _purgeable() -> Expression:
    return Exec.deleted_at.is_null(False) & Exec.status.not_in(LIVE)


def _purge(which: Expression, limit: int | None = None) -> None:
    # Selected once: if more ended between the two statements, their logs would stay for ever.
    gone = [row.seq for row in Exec.select(Exec.seq).where(which, _purgeable()).order_by(Exec.seq).limit(limit)]
    for start in range(0, len(gone), PURGED_AT_ONCE):
        seqs = gone[start : start + PURGED_AT_ONCE]
        ExecLog.delete().where(ExecLog.exec_seq.in_(seqs)).execute()
        tallies.drop_execs(Exec.seq.in_(seqs))


def _purge_empty_jobs(which: Expression) -> None:
    empty = Job.deleted_at.is_null(False) & ~fn.EXISTS(Exec.select(Exec.seq).where(Exec.job_id == Job.id))
    Job.delete().where(which, empty).execute()
