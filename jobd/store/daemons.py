"""The daemons that share this database, and what they agreed on about regions."""

from datetime import datetime, timedelta

from jobd.store.clock import now
from jobd.store.tables import Daemon, Installation, Region


def installation() -> str:
    """The id of this database, made with its schema."""
    return Installation.get().id


def register(daemon: str, host: str, pid: int, regions: list[str]) -> int:
    """This daemon starts; its new term. What an earlier start of it still does under its old term is void."""
    at = now()
    earlier = Daemon.get_or_none(Daemon.id == daemon)
    term = 1 if earlier is None else earlier.term + 1
    values = {"term": term, "host": host, "pid": pid, "regions": regions, "started_at": at, "heartbeat_at": at}
    Daemon.insert(id=daemon, **values).on_conflict(conflict_target=[Daemon.id], update=values).execute()
    return term


def heartbeat(daemon: str, term: int) -> bool:
    """Renew this daemon's lease on all that it owns. False: another start of it has taken its place."""
    return bool(Daemon.update(heartbeat_at=now()).where(Daemon.id == daemon, Daemon.term == term).execute())


def leave(daemon: str, term: int) -> None:
    """This daemon stops: others may take over what it leaves running, without waiting for its lease."""
    Daemon.update(heartbeat_at=None).where(Daemon.id == daemon, Daemon.term == term).execute()


def alive(lease: float) -> list[str]:
    """Ids of the daemons whose last heartbeat is at most `lease` seconds old."""
    limit: datetime = now() - timedelta(seconds=lease)
    return [row.id for row in Daemon.select(Daemon.id).where(Daemon.heartbeat_at >= limit)]


def bind_region(name: str, identity: str) -> str:
    """Bind a region to the engine that serves it, the first time; the identity that it is bound to."""
    Region.insert(name=name).on_conflict_ignore().execute()
    Region.update(engine_identity=identity).where(Region.name == name, Region.engine_identity.is_null()).execute()
    return str(Region.get(Region.name == name).engine_identity)
