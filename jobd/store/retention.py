"""How long records are kept: the newest ended execs of each job, none older than a maximum age. Logs go with their
execs.

Everything is deleted in small batches, so that a changed setting never holds up the database.
"""

from datetime import datetime, timedelta

from peewee import Expression, fn

from jobd.statuses import LIVE, ExecStatus
from jobd.store import tallies
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.tables import Exec, ExecLog, Job

JOBS_AT_ONCE = 20_000
RECENT_AT_ONCE = 500
EXECS_AT_ONCE = 1000


def drop_old(max_age: float) -> int:
    """Delete at most one batch of execs that ended more than `max_age` seconds ago; returns how many."""
    return _drop(Exec.ended_at < now() - timedelta(seconds=max_age))


def drop_surplus(kept: int, after_job: int, since: datetime | None = None) -> tuple[int, int | None]:
    """Delete what the jobs after `after_job` have beyond their newest `execs_kept` (or `kept`) ended execs; with
    `since`, only of jobs of which an exec has ended since then. Slots that did not run do not count.

    Returns how many were deleted, and the job to go on after: None at the end.
    """
    if since is None:
        most, text = JOBS_AT_ONCE, "SELECT id FROM jobs WHERE id > ? ORDER BY id LIMIT ?"
        rows = sql.rows(Job, text, after_job, most)
    else:
        most, text = (
            RECENT_AT_ONCE,
            "SELECT DISTINCT job_id FROM execs WHERE ended_at >= ? AND job_id > ? ORDER BY 1 LIMIT ?",
        )
        rows = sql.rows(Exec, text, Exec.ended_at.db_value(since), after_job, most)
    jobs = [id for (id,) in rows]
    if not jobs:
        return 0, None
    theirs = Exec.job_id.between(jobs[0], jobs[-1]) if since is None else Exec.job_id.in_(jobs)
    place = fn.ROW_NUMBER().over(partition_by=[Exec.job_id], order_by=[Exec.seq.desc()])
    ended = Exec.status.not_in((*LIVE, ExecStatus.NOT_RUN)) & theirs
    ranked = Exec.select(Exec.seq, Exec.job_id, place.alias("place")).where(ended).alias("ranked")
    surplus = (
        Exec.select(ranked.c.seq)
        .from_(ranked)
        .join(Job, on=(Job.id == ranked.c.job_id))
        .where(ranked.c.place > fn.COALESCE(Job.execs_kept, kept))
        .limit(EXECS_AT_ONCE)
    )
    dropped = _drop(Exec.seq.in_([row.seq for row in surplus]))
    if dropped == EXECS_AT_ONCE:
        return dropped, after_job
    return dropped, jobs[-1] if len(jobs) == most else None


def _drop(which: Expression) -> int:
    ended = Exec.select(Exec.seq).where(which, Exec.status.not_in(LIVE)).order_by(Exec.seq).limit(EXECS_AT_ONCE)
    seqs = [row.seq for row in ended]
    ExecLog.delete().where(ExecLog.exec_seq.in_(seqs)).execute()
    return tallies.drop_execs(Exec.seq.in_(seqs))
