"""Which daemon has which exec: claimed while it waits, taken over from a dead daemon, taken again after a start.

Whoever takes an exec raises its term. Owner and term are the fence of every later transition: a former owner can change
nothing any more.
"""

from typing import Any

from peewee import Expression

from jobd.statuses import LIVE
from jobd.store.db import sql
from jobd.store.db.tables import Exec, Region
from jobd.store.queue import fairness


def claim(daemon: str, region: str, max_running: int, at_most: int, after: str = "") -> list[Exec]:
    """Claim waiting execs of a region, as many as its `max_running` has capacity for.

    Oldest first within a namespace, and the namespaces in turn, beginning with the one after `after`: the one that was
    last (`last_turn`). The region's row is locked, so that `max_running` holds across all daemons.
    """
    _lock_region(region)
    running = "region_name = ? AND status IN ('W', 'R') AND owner IS NOT NULL AND holds_slot"
    free = max_running - sql.count(Exec, running, region)
    seqs = fairness.next_in_turn(region, min(free, at_most), after)
    if not seqs:
        return []
    # The CASE keeps a planner without statistics from reading the whole index of what waits.
    free_still = "CASE WHEN status = 'W' THEN owner IS NULL ELSE false END"
    chosen = f"seq IN ({sql.marks(len(seqs))}) AND {free_still}"
    taken = sql.take(Exec, "term = term + 1, holds_slot = true, owner = ?", chosen, daemon, *seqs)
    return sorted(taken, key=lambda row: row.seq)


def last_turn(taken: list[Exec], after: str) -> str:
    """The last namespace that had its turn in a claim that began after `after`."""
    return max((row.namespace for row in taken), key=lambda name: (name <= after, name), default=after)


def take_over(daemon: str, region: str, owners_alive: list[str]) -> list[Exec]:
    """Take the live execs of a region whose owner is none of `owners_alive`. `owners_alive` does not name this daemon
    when it has just started: then it takes what it owned before.
    """
    _lock_region(region)
    orphaned = live_in(region) & Exec.owner.is_null(False) & Exec.owner.not_in(owners_alive)
    return _take(orphaned, owner=daemon)


def owned(daemon: str, region: str) -> list[Exec]:
    """The live execs of a region that this daemon owns according to their records."""
    return list(Exec.select(Exec.seq, Exec.id).where(live_in(region), Exec.owner == daemon))


def retake(daemon: str, seqs: list[int]) -> list[Exec]:
    """Take execs that this daemon owns already once more, under a new term."""
    return _take(Exec.seq.in_(seqs) & Exec.status.in_(LIVE) & (Exec.owner == daemon))


def stops_requested(daemon: str) -> list[Exec]:
    """This daemon's live execs whose end somebody has requested."""
    query = Exec.select().where(Exec.owner == daemon, Exec.status.in_(LIVE), Exec.stop_requested_at.is_null(False))
    return list(query)


def by_id(exec_ids: list[str]) -> dict[str, Exec]:
    """Those of these execs that are in the database, including deleted ones."""
    return {row.id: row for row in Exec.select().where(Exec.id.in_(exec_ids))}


def _lock_region(region: str) -> None:
    if Region._meta.database.for_update:
        sql.rows(Region, "SELECT 1 FROM regions WHERE name = ? FOR UPDATE", region)


def live_in(region: str) -> Expression:
    return (Exec.region_name == region) & Exec.status.in_(LIVE)


def _take(which: Expression, **changes: Any) -> list[Exec]:
    """Take these execs under a new term; returns them oldest first."""
    taken = Exec.update(term=Exec.term + 1, **changes).where(which).returning(Exec).execute()
    return sorted(taken, key=lambda row: row.seq)
