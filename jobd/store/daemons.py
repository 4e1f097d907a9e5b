"""The daemons that share this database, and what they agreed on about regions."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobd.store.db import clock, sql
from jobd.store.db.clock import Reading, now
from jobd.store.db.tables import Daemon, Installation, Region


def installation() -> str:
    """The id of this database, created with its schema."""
    return Installation.get().id


@dataclass(frozen=True)
class Seen:
    """The clocks as daemons last recorded them: `latest` is the latest time of the database that any daemon saw; `own`
    is what this daemon saw of both clocks, None if its machine has rebooted since.
    """

    latest: datetime | None
    own: Reading | None


def last_seen(daemon: str) -> Seen:
    """What daemons saw of the clocks. Call it before `register`, which overwrites this daemon's part."""
    ((latest,),) = sql.rows(Daemon, "SELECT max(seen_at) FROM daemons")
    row = Daemon.get_or_none(Daemon.id == daemon)
    own = None
    if (
        row is not None
        and row.seen_at is not None
        and row.steady_at is not None
        and row.boot_id == clock.boot_id() != ""
    ):
        steady_at = row.steady_at / 1e6
        own = Reading(row.seen_at, steady_at, steady_at)
    return Seen(Daemon.seen_at.python_value(latest), own)


def register(daemon: str, host: str, pid: int, regions: list[str]) -> int:
    """Record a start of this daemon; returns its new term. Whatever an earlier start of it still does under the old
    term has no effect.
    """
    at = now()
    earlier = Daemon.get_or_none(Daemon.id == daemon)
    term = 1 if earlier is None else earlier.term + 1
    values = {"term": term, "host": host, "pid": pid, "regions": regions, "started_at": at, "heartbeat_at": at}
    values |= _clocks(at)
    Daemon.insert(id=daemon, **values).on_conflict(conflict_target=[Daemon.id], update=values).execute()
    return term


def heartbeat(daemon: str, term: int) -> bool:
    """Renew this daemon's lease on all that it owns. Returns False if another start of it has taken its place."""
    at = now()
    beat = Daemon.update(heartbeat_at=at, **_clocks(at))
    return bool(beat.where(Daemon.id == daemon, Daemon.term == term).execute())


def _clocks(at: datetime) -> dict[str, Any]:
    return {"seen_at": at, "steady_at": round(clock.steady() * 1e6), "boot_id": clock.boot_id()}


def leave(daemon: str, term: int) -> None:
    """Record that this daemon stops: others may take over what it leaves running without waiting for its lease."""
    last = Daemon.update(heartbeat_at=None, **_clocks(now()))
    last.where(Daemon.id == daemon, Daemon.term == term).execute()


def alive(lease: float | None) -> list[str]:
    """Ids of the daemons whose last heartbeat is at most `lease` seconds old; with None, of all that have not left."""
    if lease is None:
        return [row.id for row in Daemon.select(Daemon.id).where(Daemon.heartbeat_at.is_null(False))]
    limit: datetime = now() - timedelta(seconds=lease)
    return [row.id for row in Daemon.select(Daemon.id).where(Daemon.heartbeat_at >= limit)]


def bind_region(name: str, identity: str) -> str:
    """Bind a region to the engine that serves it, if it is not bound yet; returns the identity that it is bound to."""
    Region.insert(name=name).on_conflict_ignore().execute()
    Region.update(engine_identity=identity).where(Region.name == name, Region.engine_identity.is_null()).execute()
    return str(Region.get(Region.name == name).engine_identity)
