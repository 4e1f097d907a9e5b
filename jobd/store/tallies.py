"""How many rows lists have, counted up to an id, so that for a page only the rows after it have to be counted.

Whoever inserts a row writes nothing here. `fold` adds new rows later, as far as no transaction can still insert a row
among them; whoever deletes or hides rows calls `gone` in the same transaction. Those transactions share a lock on the
row of `tallied`, and `fold` locks it exclusively. So at any moment a tally and the rows after `up_to` together are all
rows.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from peewee import Expression, SqliteDatabase

from jobd.store.db import sql
from jobd.store.db.columns import Table
from jobd.store.db.pages import Narrowing, snapshot
from jobd.store.db.tables import Audit, Exec, Job

log = logging.getLogger(__name__)

MIN_TAIL = 500
"""How many rows after `up_to` are left there."""
MAX_BATCH = 5000
"""The maximum number of ids in one transaction."""
MIN_OF_LARGE_JOB = 1000
"""From this many execs on a job has a tally of its own. Most jobs have fewer, and a tally for each would be one more
write.
"""
BLOCK = 1000
"""The number of ids for which the first and the last instant are stored."""


@dataclass(frozen=True)
class Source:
    """A table, its key, the column whose values each have a tally under `subject`, and the column with a row's creation
    time.
    """

    model: type[Table]
    key: str
    subject: str
    at: str
    live: str = "deleted_at IS NULL"

    @property
    def table(self) -> str:
        return str(self.model._meta.table_name)


JOBS = Source(Job, "id", "jobs", "created_at")
EXECS = Source(Exec, "seq", "execs", "created_at")
AUDIT = Source(Audit, "id", "audit", "at", "namespace IS NOT NULL")
SOURCES = (JOBS, EXECS, AUDIT)
OF_JOB = "execs of job"
"""The subject of the tallies of single jobs."""


@dataclass(frozen=True)
class Candidate:
    """Up to which id rows could be added, once the transactions in `under_way` have ended: they may insert rows with
    lower ids.
    """

    source: Source
    up_to: int
    under_way: frozenset[str]


def counting(number: Callable[[], int], narrow: Narrowing = lambda query: (query, None)) -> Narrowing:
    """`narrow` for a list whose number of rows a tally holds."""
    return lambda query: (narrow(query)[0], lambda limit: number())


def number(source: Source, namespaces: Collection[str] | None) -> int:
    """How many rows these namespaces have, or all namespaces. Call it in a snapshot."""
    names = [] if namespaces is None else sorted(namespaces)
    theirs = "" if namespaces is None else f" AND name IN ({sql.marks(len(names))})"
    kept = f"SELECT sum(number) FROM tallies WHERE subject = ?{theirs}"  # noqa: S608
    text = f"SELECT up_to, ({kept}) FROM tallied WHERE source = ?"  # noqa: S608
    ((up_to, known),) = sql.rows(source.model, text, source.subject, *names, source.table)
    among = "" if namespaces is None else f"namespace IN ({sql.marks(len(names))}) AND "
    return int(known or 0) + sql.count(source.model, f"{among}{source.live} AND {source.key} > ?", *names, up_to)


def number_of_job(job_id: int) -> int:
    """How many execs a job has. Call it in a snapshot."""
    kept = f"SELECT number FROM tallies WHERE subject = '{OF_JOB}' AND name = ?"  # noqa: S608
    text = f"SELECT up_to, ({kept}) FROM tallied WHERE source = 'execs'"  # noqa: S608
    ((up_to, known),) = sql.rows(Exec, text, str(job_id))
    behind = 0 if known is None else up_to
    return int(known or 0) + sql.count(Exec, "job_id = ? AND deleted_at IS NULL AND seq > ?", job_id, behind)


def shared(source: Source) -> int:
    """The id up to which rows were added, which stays the same until this transaction ends."""
    text = f"SELECT up_to FROM tallied WHERE source = ?{_locking(source, 'SHARE')}"  # noqa: S608
    ((up_to,),) = sql.rows(source.model, text, source.table)
    return int(up_to)


def gone(source: Source, removed: Iterable[tuple[int, str, int | None]]) -> None:
    """Subtract these rows, given by id, namespace and job, which this transaction has taken from the lists."""
    rows = list(removed)
    if not rows:
        return
    up_to = shared(source)
    known = [(namespace, job_id) for id, namespace, job_id in rows if id <= up_to]
    fewer = Counter((source.subject, namespace) for namespace, _ in known)
    of_jobs = Counter(str(job_id) for _, job_id in known if job_id is not None)
    fewer.update({(OF_JOB, job): of_jobs[job] for job in _kept_of(of_jobs.keys())})
    for (subject, name), count in sorted(fewer.items()):  # in order, so that transactions cannot deadlock
        text = "UPDATE tallies SET number = number - ? WHERE subject = ? AND name = ?"
        sql.execute(source.model, text, count, subject, name)


def _kept_of(jobs: Collection[str]) -> list[str]:
    """Those of these jobs that have a tally, which few have."""
    if not jobs:
        return []
    text = f"SELECT name FROM tallies WHERE subject = ? AND name IN ({sql.marks(len(jobs))})"  # noqa: S608
    return [name for (name,) in sql.rows(Exec, text, OF_JOB, *jobs)]


def drop_execs(which: Expression) -> int:
    """Delete the rows of these execs; returns how many. All exec rows are deleted here, so that every
    tally is updated.
    """
    dropped = Exec.delete().where(which).returning(Exec.seq, Exec.namespace, Exec.job_id, Exec.deleted_at)
    rows = list(dropped.execute())
    # Rows that were hidden before were subtracted then.
    gone(EXECS, [(row.seq, row.namespace, row.job_id) for row in rows if row.deleted_at is None])
    if rows:
        _give_back(EXECS)
    return len(rows)


def _give_back(source: Source) -> None:
    """Rows of this table were deleted: SQLite may reuse the ids of the last ones."""
    if _is_sqlite(source):
        last = f"SELECT coalesce(max({source.key}), 0) FROM {source.table}"  # noqa: S608
        text = f"UPDATE tallied SET up_to = min(up_to, ({last})) WHERE source = ?"  # noqa: S608
        sql.execute(source.model, text, source.table)


def candidate(source: Source) -> Candidate | None:
    """Up to which id rows could be added; None while there are few. Do not call it in a transaction."""
    last = f"SELECT max({source.key}) FROM {source.table}"  # noqa: S608
    text = f"SELECT up_to, ({last}) FROM tallied WHERE source = ?"  # noqa: S608
    ((up_to, newest),) = sql.rows(source.model, text, source.table)
    if newest is None or newest - up_to <= MIN_TAIL:
        return None
    return Candidate(source, newest, _writers(source))


def may_fold(candidate: Candidate) -> bool:
    """Whether all transactions have ended that were in progress when the candidate was found."""
    return not (candidate.under_way and candidate.under_way & _writers(candidate.source))


def fold(candidate: Candidate) -> bool:
    """Add a batch of rows to the tallies; returns whether more are left."""
    source = candidate.source
    have = _alone(source)
    batch = (
        f"SELECT {source.key} AS id FROM {source.table} WHERE {source.key} > ? AND {source.key} <= ? ORDER BY 1 LIMIT ?"  # noqa: S608
    )
    text = f"SELECT max(id) FROM ({batch}) AS batch"  # noqa: S608
    ((to,),) = sql.rows(source.model, text, have, candidate.up_to, MAX_BATCH)
    if to is None:
        return False
    among = f"{source.key} > ? AND {source.key} <= ?"
    _add(source, source.subject, "namespace", among, have, to)
    if source is EXECS:
        theirs = "SELECT count(*) FROM execs WHERE job_id = CAST(name AS BIGINT) AND deleted_at IS NULL AND "
        text = f"UPDATE tallies SET number = number + ({theirs}{among}) WHERE subject = ?"  # noqa: S608
        sql.execute(Exec, text, have, to, OF_JOB)
    _span(source, among, have, to)
    text = "UPDATE tallied SET up_to = ? WHERE source = ?"
    sql.execute(source.model, text, to, source.table)
    return to < candidate.up_to


def check(source: Source) -> bool:
    """Whether all tallies, except those of single jobs, agree with the rows at one moment."""
    counted = (
        f"SELECT namespace, count(*) FROM {source.table} WHERE {source.live} AND {source.key} <= "  # noqa: S608
        "(SELECT up_to FROM tallied WHERE source = ?) GROUP BY namespace"
    )
    with snapshot(source.model, True):
        kept: Mapping[str, int] = dict(
            sql.rows(source.model, "SELECT name, number FROM tallies WHERE subject = ?", source.subject)
        )
        there: Mapping[str, int] = dict(sql.rows(source.model, counted, source.table))
    wrong = {name for name in kept.keys() | there.keys() if kept.get(name, 0) != there.get(name, 0)}
    for name in sorted(wrong)[:10]:
        words = "the tally of the %s of namespace %r was %d, and there are %d"
        log.error(words, source.subject, name, kept.get(name, 0), there.get(name, 0))
    return not wrong


def mend(source: Source) -> None:
    """Count anew everything that `fold` has added."""
    up_to = _alone(source)
    sql.execute(source.model, "DELETE FROM tallies WHERE subject = ?", source.subject)
    _add(source, source.subject, "namespace", f"{source.key} > 0 AND {source.key} <= ?", up_to)


def check_jobs() -> set[int]:
    """Jobs that need a tally and have none, whose tally is wrong, or which have a tally and few execs."""
    there = "SELECT count(*) FROM execs WHERE job_id = CAST(name AS BIGINT) AND deleted_at IS NULL AND seq <= up_to"
    text = f"SELECT name, number, ({there}) FROM tallies, tallied WHERE subject = ? AND source = 'execs'"  # noqa: S608
    large = "SELECT job_id FROM execs WHERE deleted_at IS NULL GROUP BY job_id HAVING count(*) > ?"
    with snapshot(Exec, True):
        kept = {int(name): (known, count) for name, known, count in sql.rows(Exec, text, OF_JOB)}
        large_jobs = {int(id) for (id,) in sql.rows(Exec, large, MIN_OF_LARGE_JOB)}
    for job, (known, count) in kept.items():
        if known != count:
            log.error("the tally of the execs of job %d was %d, and there are %d", job, known, count)
    return (large_jobs - kept.keys()) | {
        n for n, (known, count) in kept.items() if known != count or count < MIN_OF_LARGE_JOB / 2
    }


def mend_job(job_id: int) -> None:
    """Count anew what `fold` has added for a job, and keep the number if it is large."""
    up_to = _alone(EXECS)
    sql.execute(Exec, "DELETE FROM tallies WHERE subject = ? AND name = ?", OF_JOB, str(job_id))
    _add(EXECS, OF_JOB, "job_id", "job_id = ? AND seq <= ?", job_id, up_to)
    text = "DELETE FROM tallies WHERE subject = ? AND name = ? AND number < ?"
    sql.execute(Exec, text, OF_JOB, str(job_id), MIN_OF_LARGE_JOB / 2)


def _add(source: Source, subject: str, column: str, among: str, *parameters: object) -> None:
    text = (
        f"INSERT INTO tallies (subject, name, number) SELECT '{subject}', CAST({column} AS VARCHAR(255)), count(*) "  # noqa: S608
        f"FROM {source.table} WHERE {source.live} AND {among} GROUP BY {column} "
        "ON CONFLICT (subject, name) DO UPDATE SET number = tallies.number + excluded.number"
    )
    sql.execute(source.model, text, *parameters)


def _span(source: Source, among: str, *parameters: object) -> None:
    """Store when the rows of each block were created, and delete empty blocks at the beginning."""
    least, most = ("min", "max") if _is_sqlite(source) else ("least", "greatest")
    block = f"{source.key} / {BLOCK}"
    text = (
        f"INSERT INTO spans (source, block, least, most) SELECT '{source.table}', {block}, "  # noqa: S608
        f"min({source.at}), max({source.at}) FROM {source.table} WHERE {among} GROUP BY {block} "
        f"ON CONFLICT (source, block) DO UPDATE SET least = {least}(spans.least, excluded.least), "
        f"most = {most}(spans.most, excluded.most)"
    )
    sql.execute(source.model, text, *parameters)
    first = f"SELECT min({source.key}) / {BLOCK} FROM {source.table}"  # noqa: S608
    sql.execute(source.model, f"DELETE FROM spans WHERE source = ? AND block < ({first})", source.table)  # noqa: S608


def _alone(source: Source) -> int:
    """The id up to which rows were added, locked so that nobody else can change it or a tally."""
    text = f"SELECT up_to FROM tallied WHERE source = ?{_locking(source, 'UPDATE')}"  # noqa: S608
    ((up_to,),) = sql.rows(source.model, text, source.table)
    return int(up_to)


def _writers(source: Source) -> frozenset[str]:
    """The transactions that may have drawn an id: before they do they lock the table, as all writes do."""
    return (
        frozenset() if _is_sqlite(source) else frozenset(id for (id,) in sql.rows(source.model, _WRITERS, source.table))
    )


_WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND relation = CAST(? AS regclass) AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
'AccessExclusiveLock')
"""


def _locking(source: Source, how: str) -> str:
    return "" if _is_sqlite(source) else f" FOR {how}"


def _is_sqlite(source: Source) -> bool:
    return isinstance(source.model._meta.database, SqliteDatabase)
