"""What happens to waiting execs: their records say why they wait, and they end if it takes too long."""

from datetime import timedelta
from functools import partial

from peewee import Expression

from jobd.metrics import Metrics
from jobd.statuses import ExecStatus
from jobd.store import execs, outbox
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.tables import Daemon, Exec, Region
from jobd.store.db.text import storable
from jobd.store.db.transaction import count, ended
from jobd.store.queue import claims, transitions
from jobd.store.queue.transitions import MAX_MESSAGE_LENGTH


def regions_waiting() -> list[str]:
    """The regions in which an exec could be claimed now."""
    # Ordered by the index's columns: otherwise a planner without statistics reads all that waits.
    first = (
        "SELECT 1 FROM execs e WHERE e.region_name = regions.name AND e.status = 'W' AND e.owner IS NULL "
        "AND (e.not_before IS NULL OR e.not_before <= ?) ORDER BY e.region_name, e.namespace, e.seq LIMIT 1"
    )
    at = Exec.not_before.db_value(now())
    return [name for (name,) in sql.rows(Region, f"SELECT name FROM regions WHERE ({first}) IS NOT NULL", at)]  # noqa: S608


def explain(daemon: str, region: str, message: str) -> None:
    """Say that this region cannot be reached, on each exec that waits there or that this daemon runs there and that has
    no message yet.
    """
    Exec.update(message=storable(message, MAX_MESSAGE_LENGTH)).where(
        _affected(daemon, region), Exec.message.is_null()
    ).execute()


def clear_explanations(daemon: str, region: str) -> None:
    """Remove these messages: the region answers again."""
    Exec.update(message=None).where(_affected(daemon, region), Exec.message.is_null(False)).execute()


def fail_overdue(queue_deadline: float, limit: int = 1000) -> list[Exec]:
    """End the execs without an owner that have been ready to run for more than `queue_deadline` seconds, in any region,
    whether or not a daemon serves it. In a region that nobody has served for so long, execs that a former daemon still
    owns end as well.
    """
    at = now()
    ready_before = at - timedelta(seconds=queue_deadline)
    is_late = (Exec.created_at < ready_before) & (Exec.not_before.is_null() | (Exec.not_before < ready_before))
    served = {name for daemon in Daemon.select().where(Daemon.heartbeat_at >= ready_before) for name in daemon.regions}
    is_left = Exec.owner.is_null() | Exec.region_name.not_in(sorted(served))
    overdue: list[Exec] = []
    with_subscribers: list[int] = []
    for row in list(Exec.select().where(Exec.status == ExecStatus.WAITING, is_late, is_left).limit(limit)):
        message = storable(row.message, MAX_MESSAGE_LENGTH) or f"the region {row.region_name} could not run it in time"
        # An exec with a handle may have been started.
        reason = "region_unavailable" if row.handle is None else "lost"
        changes = {"status": ExecStatus.FAILED, "reason": reason, "message": message, "ended_at": at}
        applied = transitions.change(row, ExecStatus.WAITING, {**changes, "owner": None, "holds_slot": False})
        if applied is not transitions.Applied.NO:
            count(partial(_count_overdue, row.region_name, reason))
            ended(row)
            overdue.append(row)
        goes_on = (
            applied is not transitions.Applied.NO
            and transitions.is_retried_after(row, reason)
            and transitions.retry(row)
        )
        if applied is transitions.Applied.YES_WITH_SUBSCRIBERS and not goes_on:
            with_subscribers.append(row.seq)
    outbox.enqueue(with_subscribers)
    return overdue


def expire_slots() -> None:
    """Turn scheduled execs that have waited past their starting deadline into slots that did not run."""
    at = now()
    late = (Exec.status == ExecStatus.WAITING) & Exec.owner.is_null() & (Exec.start_before < at)
    slot = {"missed_count": 1, "missed_from": Exec.scheduled_for, "missed_to": Exec.scheduled_for}
    execs.end_all(Exec.update(status=ExecStatus.NOT_RUN, reason="missed", ended_at=at, **slot).where(late))


def _count_overdue(region: str, reason: str, metrics: Metrics) -> None:
    metrics.ended(region, ExecStatus.FAILED, reason, None)


def _affected(daemon: str, region: str) -> Expression:
    waits = (Exec.status == ExecStatus.WAITING) & Exec.owner.is_null()
    runs = (Exec.status == ExecStatus.RUNNING) & (Exec.owner == daemon)
    return claims.live_in(region) & (waits | runs)
