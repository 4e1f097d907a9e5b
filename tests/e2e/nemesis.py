"""Random faults for a `Site`, the same for the same seed: each does harm, and undoes it when it is resumed."""

import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import docker
import requests

from tests.e2e.clocks import WallClock
from tests.e2e.pair import LEASE, Pair, StruckDaemon
from tests.e2e.postgres import Cluster
from tests.engines import OwnEngine

POINTS = [
    f"{moment} {name}"
    for name in ("claim", "set_handle", "set_running", "end", "requeue", "fire_due", "fire_armed", "take_over")
    for moment in ("before", "inside", "after")
] + [f"{moment} {name}" for name in ("create", "start", "remove", "stop") for moment in ("before", "after")]


@dataclass
class Site:
    """All that can be hurt. `clock` is the database's."""

    pair: Pair
    cluster: Cluster
    engine: OwnEngine
    clock: WallClock


Fault = Callable[["Nemesis"], Iterator[str]]
"""Yields what it has done: the harm, then its end."""


class Nemesis:
    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.began = time.monotonic()
        self.history: list[str] = []
        self.outages: list[tuple[datetime, datetime]] = []
        """From when to when there was no dockerd."""
        self.restarted: Counter[str] = Counter()
        """How often the container of each exec was restarted from outside."""

    def note(self, what: str) -> None:
        self.history.append(f"{time.monotonic() - self.began:7.1f} s  {what}")

    def rage(self, seconds: float) -> None:
        """One fault after another, one in four together with one of another part, then everything is whole again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            parts = self.random.sample(range(len(FAULTS)), 2 if self.random.random() < 0.25 else 1)
            # A daemon starts only where its database is.
            under_way = [self.random.choice(FAULTS[part])(self) for part in sorted(parts)]
            for fault in under_way:
                self.note(next(fault))
            time.sleep(self.random.uniform(0.1, LEASE + 2))
            for fault in under_way:
                for said in fault:
                    self.note(said)
            time.sleep(self.random.uniform(0.5, 3))
        self.mend()

    def mend(self) -> None:
        """Both daemons run, whatever a strike did to them meanwhile."""
        # A kill by the last fault may have ended what another was about to heal.
        self.site.cluster.start()
        self.site.pair.disarm()
        for daemon in self.site.pair.daemons:
            self.revive(daemon)
        self.note("all is whole")

    def revive(self, daemon: StruckDaemon) -> None:
        if not daemon.is_dead:
            daemon.send(signal.SIGCONT)
        if daemon.is_dead:
            self.site.pair.start_one(daemon)

    def one_daemon(self) -> StruckDaemon:
        return self.random.choice(self.site.pair.daemons)


def daemon_killed(nemesis: Nemesis) -> Iterator[str]:
    daemon = nemesis.one_daemon()
    _kill(daemon)
    yield f"daemon {daemon.folder.name} killed"
    nemesis.revive(daemon)
    yield f"daemon {daemon.folder.name} started"


def both_daemons_killed(nemesis: Nemesis) -> Iterator[str]:
    for daemon in nemesis.site.pair.daemons:
        _kill(daemon)
    yield "both daemons killed"
    for daemon in nemesis.site.pair.daemons:
        nemesis.revive(daemon)
    yield "both daemons started"


def daemon_asleep(nemesis: Nemesis) -> Iterator[str]:
    daemon = nemesis.one_daemon()
    if not daemon.is_dead:
        daemon.send(signal.SIGSTOP)
    yield f"daemon {daemon.folder.name} asleep"
    nemesis.revive(daemon)
    yield f"daemon {daemon.folder.name} awake"


def daemon_struck(nemesis: Nemesis) -> Iterator[str]:
    point = nemesis.random.choice(POINTS)
    number = nemesis.random.choice([signal.SIGKILL, signal.SIGSTOP])
    pair = nemesis.site.pair
    pair.arm(point, number)
    yield f"{number.name} armed {point}"
    is_armed = pair.disarm()
    for daemon in pair.daemons:
        nemesis.revive(daemon)
    yield "nobody came to that point" if is_armed else f"{number.name} {point}, and over"


def postgres_killed(nemesis: Nemesis) -> Iterator[str]:
    nemesis.site.cluster.kill()
    yield "PostgreSQL killed"
    nemesis.site.cluster.start()
    yield "PostgreSQL started"


def backend_killed(nemesis: Nemesis) -> Iterator[str]:
    hit = nemesis.site.cluster.kill_backend(nemesis.random.randrange(1000))
    yield "a PostgreSQL backend killed" if hit else "PostgreSQL had no backend to kill"


def table_locked(nemesis: Nemesis) -> Iterator[str]:
    table = nemesis.random.choice(["execs", "jobs", "daemons"])
    with nemesis.site.cluster.locked(table):
        yield f"the table {table} locked"
    yield f"the table {table} free again"


def disk_full(nemesis: Nemesis) -> Iterator[str]:
    nemesis.site.cluster.fill_disk()
    yield "PostgreSQL's disk full"
    nemesis.site.cluster.free_disk()
    yield "PostgreSQL's disk free again"


def database_clock_wrong(nemesis: Nemesis) -> Iterator[str]:
    ahead = nemesis.random.choice([-90, -5, 5])
    nemesis.site.clock.set(f"{ahead:+}")
    yield f"PostgreSQL's clock {ahead:+} s"
    nemesis.site.clock.set("+0")
    yield "PostgreSQL's clock right again"


def daemon_clock_wrong(nemesis: Nemesis) -> Iterator[str]:
    daemon, ahead = nemesis.one_daemon(), nemesis.random.choice([-7200, -30, 30, 7200])
    assert daemon.clock is not None
    daemon.clock.set(f"{ahead:+}")
    yield f"the clock of daemon {daemon.folder.name} {ahead:+} s"
    daemon.clock.set("+0")
    yield f"the clock of daemon {daemon.folder.name} right again"


def descriptors_used_up(nemesis: Nemesis) -> Iterator[str]:
    """No new connection, file or pipe: neither to the database nor to Docker, nor from a client."""
    daemon = nemesis.one_daemon()
    if daemon.is_dead:
        yield f"daemon {daemon.folder.name} is not there"
        return
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    in_use = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (in_use, before[1]))
    yield f"daemon {daemon.folder.name} without descriptors beyond its {in_use}"
    if not daemon.is_dead:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
    yield f"daemon {daemon.folder.name} with descriptors again"


def container_restarted(nemesis: Nemesis) -> Iterator[str]:
    client = docker.APIClient(nemesis.site.engine.socket, version="auto", timeout=30)
    try:
        running = client.containers(filters={"label": "jobd.exec"})
        if running:
            container = nemesis.random.choice(sorted(running, key=lambda one: one["Id"]))
            nemesis.restarted[container["Labels"]["jobd.exec"]] += 1
            client.restart(container["Id"], timeout=0)
            yield f"the container of exec {container['Labels']['jobd.exec']} restarted from outside"
        else:
            yield "no container to restart"
    except (docker.errors.APIError, requests.RequestException) as error:
        yield f"a container not to be restarted: {error}"
    finally:
        client.close()


def engine_restarted(nemesis: Nemesis) -> Iterator[str]:
    began = datetime.now(UTC)
    nemesis.site.engine.stop()
    yield "dockerd stopped"
    nemesis.site.engine.start()
    nemesis.outages.append((began, datetime.now(UTC)))
    yield "dockerd started"


def engine_killed(nemesis: Nemesis) -> Iterator[str]:
    began = datetime.now(UTC)
    nemesis.site.engine.kill()
    yield "dockerd killed"
    nemesis.site.engine.start()
    nemesis.outages.append((began, datetime.now(UTC)))
    yield "dockerd started"


def engine_asleep(nemesis: Nemesis) -> Iterator[str]:
    nemesis.site.engine.send(signal.SIGSTOP)
    yield "dockerd asleep"
    nemesis.site.engine.send(signal.SIGCONT)
    yield "dockerd awake"


def _kill(daemon: StruckDaemon) -> None:
    if not daemon.is_dead:
        with suppress(ProcessLookupError):
            daemon.send(signal.SIGKILL)
        daemon.stop(signal.SIGKILL)


FAULTS: tuple[tuple[Fault, ...], ...] = (
    (postgres_killed, backend_killed, table_locked, disk_full, database_clock_wrong),
    (container_restarted,),
    (engine_restarted, engine_killed, engine_asleep),
    (daemon_killed, both_daemons_killed, daemon_asleep, daemon_struck, daemon_clock_wrong, descriptors_used_up),
)
"""By the part that they hurt, in the order in which the parts are healed."""
