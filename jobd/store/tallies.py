"""How many rows lists have, kept up to an id, so that nothing but what came behind it is counted for a page.

Whoever makes a row writes nothing here. `fold` adds what was made, afterwards, as far as no transaction can still make
a row among it; who takes rows away tells `gone` in the same transaction. Those share the row of `tallied`, and `fold`
has it alone: at whatever moment one looks, a tally and the rows behind `up_to` are all there are.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from peewee import Expression, SqliteDatabase

from jobd.store.db import sql
from jobd.store.db.pages import Narrowing, snapshot
from jobd.store.db.tables import Audit, Exec, Job, Table

log = logging.getLogger(__name__)

MIN_TAIL = 500
"""Rows behind `up_to` that are left there."""
MAX_BATCH = 5000
"""Ids in one transaction."""
MIN_OF_LARGE_JOB = 1000
"""Execs from which on a job has a tally of its own; most have fewer, and one for each would be one more to write."""
BLOCK = 1000
"""Ids of which the first and the last instant are kept."""


@dataclass(frozen=True)
class Source:
    """A table, its key, the column of which each value has a tally under `subject`, and when a row was made."""

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
    """Up to where rows could be added, once these transactions have ended: they may make rows of lower ids."""

    source: Source
    up_to: int
    under_way: frozenset[str]


def counting(number: Callable[[], int], narrow: Narrowing = lambda query: (query, None)) -> Narrowing:
    """`narrow` for a list that a tally has the number of."""
    return lambda query: (narrow(query)[0], lambda limit: number())


def number(source: Source, namespaces: Collection[str] | None) -> int:
    """How many rows these namespaces have, or all; to be asked in a snapshot."""
    given = [] if namespaces is None else sorted(namespaces)
    theirs = "" if namespaces is None else f" AND name IN ({sql.marks(len(given))})"
    kept = f"SELECT sum(number) FROM tallies WHERE subject = ?{theirs}"  # noqa: S608
    text = f"SELECT up_to, ({kept}) FROM tallied WHERE source = ?"  # noqa: S608
    ((up_to, known),) = sql.rows(source.model, text, source.subject, *given, source.table)
    among = "" if namespaces is None else f"namespace IN ({sql.marks(len(given))}) AND "
    return int(known or 0) + sql.count(source.model, f"{among}{source.live} AND {source.key} > ?", *given, up_to)


def number_of_job(job_id: int) -> int:
    """How many execs a job has; to be asked in a snapshot."""
    kept = f"SELECT number FROM tallies WHERE subject = '{OF_JOB}' AND name = ?"  # noqa: S608
    text = f"SELECT up_to, ({kept}) FROM tallied WHERE source = 'execs'"  # noqa: S608
    ((up_to, known),) = sql.rows(Exec, text, str(job_id))
    behind = 0 if known is None else up_to
    return int(known or 0) + sql.count(Exec, "job_id = ? AND deleted_at IS NULL AND seq > ?", job_id, behind)


def shared(source: Source) -> int:
    """Up to where rows were added, which stays so until this transaction ends."""
    text = f"SELECT up_to FROM tallied WHERE source = ?{_locking(source, 'SHARE')}"  # noqa: S608
    ((up_to,),) = sql.rows(source.model, text, source.table)
    return int(up_to)


def gone(source: Source, removed: Iterable[tuple[int, str, int | None]]) -> None:
    """These rows, by id, namespace and job, were taken from the lists in this transaction."""
    rows = list(removed)
    if not rows:
        return
    up_to = shared(source)
    known = [(namespace, job_id) for id, namespace, job_id in rows if id <= up_to]
    fewer = Counter((source.subject, namespace) for namespace, _ in known)
    of_jobs = Counter(str(job_id) for _, job_id in known if job_id is not None)
    fewer.update({(OF_JOB, job): of_jobs[job] for job in _kept_of(of_jobs.keys())})
    for (subject, name), count in sorted(fewer.items()):  # in order: nobody waits for who waits for them
        text = "UPDATE tallies SET number = number - ? WHERE subject = ? AND name = ?"
        sql.execute(source.model, text, count, subject, name)


def _kept_of(jobs: Collection[str]) -> list[str]:
    """Those of these jobs that have a tally: few have."""
    if not jobs:
        return []
    text = f"SELECT name FROM tallies WHERE subject = ? AND name IN ({sql.marks(len(jobs))})"  # noqa: S608
    return [name for (name,) in sql.rows(Exec, text, OF_JOB, *jobs)]


def drop_execs(which: Expression) -> int:
    """Delete the rows of these execs; how many. Nobody else does, so that no tally is left behind."""
    dropped = Exec.delete().where(which).returning(Exec.seq, Exec.namespace, Exec.job_id, Exec.deleted_at)
    rows = list(dropped.execute())
    # What was hidden before has been told then.
    gone(EXECS, [(row.seq, row.namespace, row.job_id) for row in rows if row.deleted_at is None])
    if rows:
        _give_back(EXECS)
    return len(rows)


def _give_back(source: Source) -> None:
    """Rows of this table were deleted: SQLite may give the ids of the last ones once more."""
    if _is_sqlite(source):
        last = f"SELECT coalesce(max({source.key}), 0) FROM {source.table}"  # noqa: S608
        text = f"UPDATE tallied SET up_to = min(up_to, ({last})) WHERE source = ?"  # noqa: S608
        sql.execute(source.model, text, source.table)


def candidate(source: Source) -> Candidate | None:
    """None while there is little to add. Not to be asked in a transaction."""
    last = f"SELECT max({source.key}) FROM {source.table}"  # noqa: S608
    text = f"SELECT up_to, ({last}) FROM tallied WHERE source = ?"  # noqa: S608
    ((up_to, newest),) = sql.rows(source.model, text, source.table)
    if newest is None or newest - up_to <= MIN_TAIL:
        return None
    return Candidate(source, newest, _writers(source))


def may_fold(found: Candidate) -> bool:
    """Whether all has ended that was under way then."""
    return not (found.under_way and found.under_way & _writers(found.source))


def fold(found: Candidate) -> bool:
    """Add a batch of rows to the tallies; whether more are left."""
    source = found.source
    have = _alone(source)
    batch = (
        f"SELECT {source.key} AS id FROM {source.table} WHERE {source.key} > ? AND {source.key} <= ? ORDER BY 1 LIMIT ?"  # noqa: S608
    )
    text = f"SELECT max(id) FROM ({batch}) AS batch"  # noqa: S608
    ((to,),) = sql.rows(source.model, text, have, found.up_to, MAX_BATCH)
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
    return to < found.up_to


def check(source: Source) -> bool:
    """Whether all tallies but those of jobs are what the rows are, of one moment."""
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
    """Count anew all that `fold` has added."""
    up_to = _alone(source)
    sql.execute(source.model, "DELETE FROM tallies WHERE subject = ?", source.subject)
    _add(source, source.subject, "namespace", f"{source.key} > 0 AND {source.key} <= ?", up_to)


def check_jobs() -> set[int]:
    """Jobs that need a tally and have none, have one that is wrong, or have one and few execs."""
    there = "SELECT count(*) FROM execs WHERE job_id = CAST(name AS BIGINT) AND deleted_at IS NULL AND seq <= up_to"
    text = f"SELECT name, number, ({there}) FROM tallies, tallied WHERE subject = ? AND source = 'execs'"  # noqa: S608
    large = "SELECT job_id FROM execs WHERE deleted_at IS NULL GROUP BY job_id HAVING count(*) > ?"
    with snapshot(Exec, True):
        kept = {int(name): (known, count) for name, known, count in sql.rows(Exec, text, OF_JOB)}
        wanted = {int(id) for (id,) in sql.rows(Exec, large, MIN_OF_LARGE_JOB)}
    for job, (known, count) in kept.items():
        if known != count:
            log.error("the tally of the execs of job %d was %d, and there are %d", job, known, count)
    return (wanted - kept.keys()) | {
        n for n, (known, count) in kept.items() if known != count or count < MIN_OF_LARGE_JOB / 2
    }


def mend_job(job_id: int) -> None:
    """Count anew what `fold` has added of a job, and keep the number if it is large."""
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
    """Note when the rows of each block were made, and forget blocks that are empty at the beginning."""
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
    """Up to where rows were added, with nobody else who may change that or a tally."""
    text = f"SELECT up_to FROM tallied WHERE source = ?{_locking(source, 'UPDATE')}"  # noqa: S608
    ((up_to,),) = sql.rows(source.model, text, source.table)
    return int(up_to)


def _writers(source: Source) -> frozenset[str]:
    """The transactions that may have drawn an id: whoever does has locked the table before, as all writes do."""
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
