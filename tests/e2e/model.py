"""What must be true of execs whatever went wrong: the record, the ledger and the engine's events held against it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import psycopg2.extras

from tests.e2e.pair import BODY, OUTPUT

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OWN_CODE = 3
"""Exit code of a job that fails by itself: any other came from outside."""
RETRIED = ("exit_code", "timeout", "oom_killed", "image_pull_failed", "start_failed")


@dataclass(frozen=True)
class Work:
    """A scheduled job of the model: `slots` of them, `period` seconds apart."""

    name: str
    period: int
    body: str
    output: bytes
    values: dict[str, Any] = field(default_factory=dict)
    flood: int = 0
    """Bytes that it writes behind `output`, far more than is kept of a log."""


WORKS = (
    Work("quick", 2, BODY, OUTPUT, {"missed_run_policy": "run_all"}),
    Work("slow", 5, f"sleep 2; {BODY}; sleep 1", OUTPUT, {"concurrency_policy": "forbid"}),
    Work("replaced", 4, f"sleep 3; {BODY}", OUTPUT, {"concurrency_policy": "replace"}),
    Work("retried", 7, f"{BODY}; exit {OWN_CODE}", OUTPUT, {"max_retries": 1, "retry_delay": 1}),
    Work("late", 3, "true", b"", {"missed_run_policy": "skip"}),
    Work("deadline", 6, "sleep 1", b"", {"missed_run_policy": "run_all", "starting_deadline": 5}),
)


def flooding(size: int) -> Work:
    """A job whose output is far larger than what is kept: its beginning is `OUTPUT`, its end too."""
    body = f"{BODY}; yes {'x' * 63} | head -c {size}; {BODY}"
    return Work(
        "flood", 29, body, OUTPUT, {"resource_size": "LARGE", "concurrency_policy": "forbid"}, size + len(OUTPUT)
    )


@dataclass(frozen=True)
class Planned:
    """A work that became a job, with all its slots."""

    work: Work
    job: int
    slots: frozenset[datetime]


def plan(work: Work, start: datetime, seconds: float) -> tuple[str, frozenset[datetime]]:
    """The schedule that fires from `start` on for so long, and its slots."""
    count = int(seconds // work.period) + 1
    text = f"R{count}/{start.isoformat(timespec='milliseconds')}/PT{work.period}S"
    return text, frozenset(start + timedelta(seconds=work.period * number) for number in range(count))


def records(url: str) -> list[dict[str, Any]]:
    """All execs, as the database has them."""
    connection = psycopg2.connect(url, cursor_factory=psycopg2.extras.RealDictCursor)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM execs ORDER BY seq")
        found = [dict(row) for row in cursor.fetchall()]
    connection.close()
    for row in found:
        for instant in ("scheduled_for", "missed_from", "missed_to", "started_at", "ended_at"):
            if row[instant] is not None:
                row[instant] = EPOCH + timedelta(microseconds=row[instant])
    return found


def at_rest(url: str) -> bool:
    """Whether every schedule has fired its last slot and every exec has ended."""
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM jobs WHERE next_fire_at IS NOT NULL), "
            "(SELECT count(*) FROM execs WHERE status IN ('W', 'R'))"
        )
        row = cursor.fetchone()
    connection.close()
    return row == (0, 0)


Counts = dict[str, Counter[str]]
"""By the name of a work."""
TAKING_NOTE = timedelta(seconds=0.5)
"""A dockerd that is killed so soon after a run's end can lose output of it that it has read already."""
ENDS = ("S", "F", "lost", "C", "N", "killed")


def table(counts: Counts) -> str:
    columns = ["slots", "execs", *ENDS]
    # Whatever else there may be has a column, too.
    columns += [*sorted({kind for row in counts.values() for kind in row} - {*columns, "starts"}), "starts"]
    width = {column: max(8, len(column) + 2) for column in columns}
    lines = [f"{'job':10}" + "".join(f"{column:>{width[column]}}" for column in columns)]
    for name, row in counts.items():
        lines.append(f"{name:10}" + "".join(f"{row[column]:>{width[column]}}" for column in columns))
    return "\n".join(lines)


class Verdict:
    """`logs` maps the ids of execs to their stored output; `outages` are the times without a dockerd: what a container
    writes then stays in a pipe, and is lost if the container ends first; and what dockerd lost the end of, it calls an
    exit with code 0. So such a success may be none, which nobody can tell; the table counts these as doubtful.
    `restarted`: how often somebody else started the container of an exec again: so many more starts it may have, and
    its first end was not its own.
    """

    def __init__(
        self,
        planned: list[Planned],
        rows: list[dict[str, Any]],
        starts: Counter[str],
        ends: Counter[str],
        started: Counter[str],
        logs: dict[str, bytes],
        outages: list[tuple[datetime, datetime]],
        restarted: Counter[str],
    ) -> None:
        self.planned = planned
        self.rows = rows
        self.starts, self.ends, self.started = starts, ends, started
        self.logs = logs
        self.outages = outages
        self.restarted = restarted

    def violations(self) -> list[str]:
        return [*self._of_slots(), *self._of_execs(), *self._of_strangers()]

    def counts(self) -> Counts:
        """How the execs of each job ended."""
        counts: Counts = {}
        for planned in self.planned:
            rows = [row for row in self.rows if row["job_id"] == planned.job]
            started = sum(self.started[row["id"]] for row in rows)
            doubtful = sum(self._is_doubtful(row) for row in rows)
            totals = {"slots": len(planned.slots), "execs": len(rows), "starts": started, "doubtful": doubtful}
            counts[planned.work.name] = Counter(_kind(row) for row in rows) + Counter(totals)
        return counts

    def _of_slots(self) -> Iterator[str]:
        for planned in self.planned:
            rows = [row for row in self.rows if row["job_id"] == planned.job and row["trigger_mode"] == "S"]
            ran = Counter(row["scheduled_for"] for row in rows if row["status"] != "N")
            unrun = [row for row in rows if row["status"] == "N"]
            name = planned.work.name
            yield from (f"{name}: the slot {slot} has {count} execs" for slot, count in ran.items() if count > 1)
            yield from (f"{name}: {slot} is no slot" for slot in ran if slot not in planned.slots)
            said = {slot for slot in planned.slots for row in unrun if row["missed_from"] <= slot <= row["missed_to"]}
            yield from (f"{name}: the slot {slot} is nowhere" for slot in sorted(planned.slots - ran.keys() - said))
            counted = sum(row["missed_count"] for row in unrun)
            if counted != len(planned.slots) - len(ran):
                yield f"{name}: {len(planned.slots)} slots, {len(ran)} with an exec, {counted} said to be missed"

    def _of_execs(self) -> Iterator[str]:
        jobs = {planned.job: planned.work for planned in self.planned}
        retried = {row["retry_of"] for row in self.rows}
        for row in self.rows:
            for fault in self._faults(row, jobs[row["job_id"]], row["id"] in retried):
                told = ("status", "reason", "exit_code", "message", "handle", "term")
                short = {
                    **{key: row[key] for key in told},
                    **{key: str(row[key]) for key in ("started_at", "ended_at")},
                }
                yield f"{jobs[row['job_id']].name}: exec {row['id']} {fault}: {short}"

    def _faults(self, row: dict[str, Any], work: Work, is_retried: bool) -> Iterator[str]:
        kind, exec_id = _kind(row), row["id"]
        starts, ends, started = self.starts[exec_id], self.ends[exec_id], self.started[exec_id]
        allowed = 1 + self.restarted[exec_id]
        if starts > allowed or started > allowed:
            yield f"started {starts} times by the ledger, {started} times by the engine"
        if kind in "WR" or row["owner"] is not None or row["holds_slot"]:
            yield "has not ended"
        if row["ended_at"] is None:
            return  # of what has no end yet, nothing else can be said
        doubtful = self._is_doubtful(row)
        spoilt = self._without_engine(row) or exec_id in self.restarted
        if kind == "S" and (starts, ends) != (1, 1) and not doubtful and exec_id not in self.restarted:
            yield f"succeeded with {starts} starts and {ends} ends"
        if kind == "F" and not 1 <= starts <= allowed:
            yield f"failed by itself with {starts} starts"
        if work.flood:
            yield from self._faults_of_flood(row, work, kind, spoilt)
        else:
            yield from self._faults_of_log(row, work, kind, spoilt)
        if kind == "killed" and not spoilt:
            yield "was killed by nobody"
        if kind in ("N", "start_failed", "region_unavailable") and starts:
            yield "ran, though its record says that it never did"
        if kind == "C" and row["stop_reason"] != "replaced":
            yield "was cancelled by nobody"
        wants_retry = row["status"] == "F" and row["reason"] in RETRIED and row["attempt"] <= row["max_retries"]
        if wants_retry != is_retried:
            yield "was not retried" if wants_retry else "was retried"

    def _faults_of_log(self, row: dict[str, Any], work: Work, kind: str, spoilt: bool) -> Iterator[str]:
        log = self.logs.get(row["id"], b"")
        if kind in ("S", "F") and log != work.output and not spoilt:
            yield f"has {len(log)} of {len(work.output)} bytes of its log"
        # Where nobody saw the first run's end, nobody can tell where the second one's words begin.
        written = work.output * (1 + self.restarted[row["id"]])
        if not written.startswith(log) and not (spoilt and b"[jobd: " in log):
            yield "has a log that it did not write"

    def _faults_of_flood(self, row: dict[str, Any], work: Work, kind: str, spoilt: bool) -> Iterator[str]:
        """Of far more than is kept, beginning and end are there, the cut is marked, and the size is true; where
        something may be missing, the record says so.
        """
        log, size = self.logs.get(row["id"], b""), len(work.output) + work.flood
        is_whole = (
            log.startswith(work.output)
            and log.endswith(work.output)
            and log.count(b"[jobd: ") == 1
            and row["log_bytes"] == size
        )
        is_told = row["log_may_lack_output"] or (spoilt and (row["message"] or b"[jobd: " in log))
        if kind == "S" and not is_whole and not is_told:
            yield f"has a log of {row['log_bytes']} bytes where it wrote {size}, {log[:20]!r} to {log[-20:]!r}"

    def _is_doubtful(self, row: dict[str, Any]) -> bool:
        """A success that did not come to its end, in a time without a dockerd."""
        ran = (self.starts[row["id"]], self.ends[row["id"]])
        return row["status"] == "S" and ran == (1, 0) and self._without_engine(row)

    def _without_engine(self, row: dict[str, Any]) -> bool:
        """Whether a part of its run, or of what dockerd wrote down of it, fell into a time without a dockerd."""
        if row["started_at"] is None:
            return False
        written = row["ended_at"] + TAKING_NOTE
        return any(row["started_at"] <= until and written >= since for since, until in self.outages)

    def _of_strangers(self) -> Iterator[str]:
        known = {row["id"] for row in self.rows}
        for exec_id in sorted((self.starts | self.started).keys() - known):
            yield f"something ran as exec {exec_id}, which no record names"


def _kind(row: dict[str, Any]) -> str:
    """How it ended; `killed` is a run that the engine's own end took with it."""
    if row["status"] != "F":
        return str(row["status"])
    if row["reason"] != "exit_code":
        return str(row["reason"])
    return "F" if row["exit_code"] == OWN_CODE else "killed"
