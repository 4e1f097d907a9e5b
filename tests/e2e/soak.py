"""Scheduled jobs under random faults, held against the model: `python -m tests.e2e.soak MINUTES [SEED]`.

Everything is real and its own: two daemons, a PostgreSQL, a Docker engine. script/soak runs it.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker

from tests.e2e.clocks import WallClock
from tests.e2e.ledger import StartWatch
from tests.e2e.model import WORKS, Counts, Planned, Verdict, Work, at_rest, flooding, plan, records, table
from tests.e2e.nemesis import Nemesis, Site
from tests.e2e.pair import LEASE, Pair
from tests.e2e.postgres import own_postgres
from tests.engines import import_busybox, started_engine

SETTINGS = {
    "scheduler": f"lease = {LEASE}\ntick = 0.1\nlate_after = 4",
    "execs": "kept = 1000000\nstop_grace = 1\nmax_log = 1MB",
    "sizes": "SMALL = 0.25 cpu, 64 MB\nLARGE = 2 cpu, 256 MB",
}
FLOOD = 300_000_000
"""Bytes."""
DISK = 512 * 2**20
"""Bytes of PostgreSQL's disk."""
PATIENCE = 120.0
"""Seconds in which all must have come to rest once the faults are over."""


@dataclass(frozen=True)
class Outcome:
    seed: int
    live_restore: bool
    history: list[str]
    violations: list[str]
    counts: Counts
    evidence: str

    def __str__(self) -> str:
        engine = "with" if self.live_restore else "without"
        told = [f"seed {self.seed}, dockerd {engine} --live-restore, {len(self.history)} lines of history"]
        if self.violations:
            told += ["history:", *self.history, "violations:", *self.violations, self.evidence]
        return "\n".join([*told, table(self.counts)])


def soak(seed: int, seconds: float, live_restore: bool, flood: int) -> Outcome:
    """Faults for so many seconds, then the verdict; `flood` is how many bytes the job writes that writes most."""
    with _site(live_restore) as site, StartWatch(site.engine.socket) as watch:
        planned = _schedule(site.pair, seconds, [*WORKS, flooding(flood)])
        nemesis = Nemesis(site, seed)
        violations: list[str] = []
        try:
            nemesis.rage(seconds)
            if not _within(PATIENCE, lambda: at_rest(site.cluster.url)):
                violations.append(f"not at rest {PATIENCE:.0f} s after the last fault")
            violations += _restart(site.pair)
            if not _within(30, lambda: not site.pair.left_containers()):
                violations.append(f"left behind: {site.pair.left_containers()}")
        except AssertionError as error:
            violations.append(f"after {nemesis.history[-1:]}: {error}")
        verdict = _judge(site, planned, watch, nemesis)
        violations += verdict.violations()
        return Outcome(seed, live_restore, nemesis.history, violations, verdict.counts(), site.pair.evidence())


@contextmanager
def _site(live_restore: bool) -> Iterator[Site]:
    with ExitStack() as stack:
        clock = WallClock(Path(stack.enter_context(_open_folder())) / "clock")
        cluster = stack.enter_context(own_postgres(clock.environ, DISK))
        engine = stack.enter_context(started_engine(*(["--live-restore"] if live_restore else [])))
        client = docker.APIClient(engine.socket, version="auto")
        image = import_busybox(client, "jobd-soak")
        client.close()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobd-soak-")))
        pair = Pair(folder, cluster.url, engine.socket, image, SETTINGS, with_clocks=True)
        stack.callback(pair.stop)
        yield Site(pair.start(), cluster, engine, clock)


@contextmanager
def _open_folder() -> Iterator[str]:
    """One that PostgreSQL's user may enter."""
    with tempfile.TemporaryDirectory(prefix="jobd-clock-") as name:
        Path(name).chmod(0o755)
        yield name


def _schedule(pair: Pair, seconds: float, works: Iterable[Work]) -> list[Planned]:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    planned = []
    for work in works:
        text, slots = plan(work, start, seconds)
        job = pair.job(work.body, name=work.name, schedule_mode=text, is_schedule_active=True, **work.values)
        planned.append(Planned(work, job["id"], slots))
    return planned


def _restart(pair: Pair) -> list[str]:
    """An ordered restart: each daemon stops cleanly, and its start sweeps what is left of the faults."""
    faults = [f"{one.folder.name} stopped with {code}" for one in pair.daemons if (code := one.stop()) != 0]
    for one in pair.daemons:
        pair.start_one(one)
    return faults


def _judge(site: Site, planned: list[Planned], watch: StartWatch, nemesis: Nemesis) -> Verdict:
    rows = records(site.cluster.url)
    daemon = site.pair.daemons[0]
    logs = {
        row["id"]: daemon.output({"id": row["id"], "job": {"id": row["job_id"]}})
        for row in rows
        if row["status"] in ("S", "F", "C")
    }
    ledger = site.pair.ledger
    ran = (ledger.count("start"), ledger.count("end"), watch.starts())
    return Verdict(planned, rows, *ran, logs, nemesis.outages, nemesis.restarted)


def _within(seconds: float, condition: object) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def main(arguments: list[str]) -> int:
    """Rounds of three minutes, each with its own seed, until the minutes are over; 1 if any found a violation."""
    until = time.monotonic() + 60 * float(arguments[0])
    seeds = random.Random(int(arguments[1])) if len(arguments) > 1 else random.SystemRandom()
    bad = rounds = 0
    total: Counts = {work.name: Counter() for work in [*WORKS, flooding(FLOOD)]}
    while time.monotonic() < until:
        seed = int(arguments[1]) if rounds == 0 and len(arguments) > 1 else seeds.randrange(2**31)
        seconds = max(30.0, min(180.0, until - time.monotonic()))
        outcome = soak(seed, seconds, live_restore=seed % 2 == 0, flood=FLOOD)
        print(outcome, flush=True)
        rounds, bad = rounds + 1, bad + bool(outcome.violations)
        for name, counts in outcome.counts.items():
            total[name] += counts
    print(f"all in all: {rounds} rounds, {bad} with violations", table(total), sep="\n", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
