"""How long records are kept: the newest ended execs of each job, none older than an age. Logs go with their execs.

All of it in small batches, so that a changed setting never holds the database up.
"""

from datetime import timedelta

from peewee import Expression, fn

from jobd.store.clock import now
from jobd.store.execs import LIVE
from jobd.store.tables import Exec, ExecLog, Job

JOBS_AT_ONCE = 20_000
EXECS_AT_ONCE = 1000


def drop_old(max_age: float) -> int:
    """Drop execs that ended more than `max_age` seconds ago, at most a batch of them; how many."""
    return _drop(Exec.ended_at < now() - timedelta(seconds=max_age))


def drop_surplus(kept: int, after_job: int) -> tuple[int, int | None]:
    """Drop what the jobs after `after_job` have beyond their newest `execs_kept` (or `kept`) ended execs.

    Slots that did not run do not count. Answers how many were dropped and the job to go on after: None at the end.
    """
    jobs = [row.id for row in Job.select(Job.id).where(Job.id > after_job).order_by(Job.id).limit(JOBS_AT_ONCE)]
    if not jobs:
        return 0, None
    place = fn.ROW_NUMBER().over(partition_by=[Exec.job_id], order_by=[Exec.seq.desc()])
    ended = Exec.status.not_in((*LIVE, "N")) & Exec.job_id.between(jobs[0], jobs[-1])
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
    return dropped, jobs[-1] if len(jobs) == JOBS_AT_ONCE else None


def _drop(which: Expression) -> int:
    ended = Exec.select(Exec.seq).where(which, Exec.status.not_in(LIVE)).order_by(Exec.seq).limit(EXECS_AT_ONCE)
    seqs = [row.seq for row in ended]
    ExecLog.delete().where(ExecLog.exec_seq.in_(seqs)).execute()
    return int(Exec.delete().where(Exec.seq.in_(seqs)).execute())
