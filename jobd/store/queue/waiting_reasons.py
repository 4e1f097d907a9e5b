"""Why execs wait, in words, worked out for each reader: a queue moves too often to keep it in the records."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobd.statuses import ExecStatus, Trigger
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.tables import Daemon, Exec

MAX_COUNTED = 1000
"""How far the place in a queue is counted."""
_RUNNING = (
    "SELECT count(*) FROM (SELECT 1 FROM execs WHERE region_name = ? AND status IN ('W', 'R') AND owner IS NOT NULL "
    "AND holds_slot LIMIT ?) AS running"
)
_LINE = (
    "SELECT seq FROM execs WHERE region_name = ? AND namespace = ? AND status = 'W' AND owner IS NULL "
    "ORDER BY region_name, namespace, seq LIMIT ?"
)


@dataclass(frozen=True)
class Served:
    """A region as this daemon serves it; `outage` says why it cannot be used now."""

    max_running: int
    outage: str | None


def of_execs(rows: Iterable[Exec], served: Mapping[str, Served], lease: float) -> dict[int, str]:
    """What each of these execs that waits is waiting for, by `seq`; left out if its record says so already. `lease`:
    the maximum age, in seconds, of the last heartbeat of a daemon that is alive.
    """
    waiting = [row for row in rows if row.status == ExecStatus.WAITING and not row.message]
    return _Reading(served, lease).of(waiting) if waiting else {}


class _Reading:
    """What is read once for all execs of a page."""

    def __init__(self, served: Mapping[str, Served], lease: float) -> None:
        self._served = served
        self._lease = lease
        self._at = now()
        self._elsewhere: set[str] | None = None
        self._running: dict[str, int] = {}
        self._lines: dict[tuple[str, str], list[int]] = {}

    def of(self, rows: list[Exec]) -> dict[int, str]:
        return {row.seq: self._reason(row) for row in rows}

    def _reason(self, row: Exec) -> str:
        if row.stop_requested_at is not None:
            return "it is being stopped"
        if row.owner is not None:
            return "it is being started"
        if row.not_before is not None and row.not_before > self._at:
            what = "its retry starts" if row.trigger_mode == Trigger.RETRY else "it is tried again"
            return f"{what} at {_second(row.not_before)}"
        region = self._served.get(row.region_name)
        if region is None:
            return self._not_served_here(row)
        if region.outage is not None:
            return f"region {row.region_name} is down: {region.outage}"
        running = self._count_running(row.region_name, region.max_running)
        if running >= region.max_running:
            return f"{self._place(row)}; {row.region_name} runs {running} of {region.max_running}"
        return "it is about to be started"

    def _not_served_here(self, row: Exec) -> str:
        if self._elsewhere is None:
            alive = Daemon.heartbeat_at >= self._at - timedelta(seconds=self._lease)
            self._elsewhere = {name for daemon in Daemon.select(Daemon.regions).where(alive) for name in daemon.regions}
        if row.region_name not in self._elsewhere:
            return no_daemon(row.region_name)
        return f"{self._place(row)}; another daemon serves {row.region_name}"

    def _count_running(self, region: str, limit: int) -> int:
        if region not in self._running:
            ((self._running[region],),) = sql.rows(Exec, _RUNNING, region, limit)
        return self._running[region]

    def _place(self, row: Exec) -> str:
        """The exec's place in the queue of its namespace: namespaces take turns."""
        key = (row.region_name, row.namespace)
        if key not in self._lines:
            self._lines[key] = [seq for (seq,) in sql.rows(Exec, _LINE, *key, MAX_COUNTED)]
        line = self._lines[key]
        ahead = bisect_left(line, row.seq)
        if ahead == MAX_COUNTED:
            return f"more than {MAX_COUNTED:,} of its namespace are before it in line"
        return f"{_ordinal(ahead + 1)} in line in its namespace"


def no_daemon(region: str) -> str:
    return f"no daemon serves the region {region}"


def _second(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
