"""A real daemon whose clock, or whose database's, is wrong for a moment: schedules go on, and no slot runs twice."""

import re
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clocks import WallClock
from tests.e2e.daemon import Daemon
from tests.e2e.postgres import own_postgres
from tests.services import fresh_postgres

MODES = ("R/2026-01-01T00:00:00Z/PT2S", "R/PT3S", "* * * * *")
SETTINGS = {"region:DRY1": "executor = dry-run", "scheduler": "lease = 3s"}

MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[MakeDaemon]:
    made: list[Daemon] = []

    def make(environ: dict[str, str] | None = None, **settings: str) -> Daemon:
        folder = tmp_path / f"jobd{len(made)}"
        folder.mkdir()
        daemon = Daemon(folder, {**SETTINGS, **settings}, environ)
        ini = daemon.ini.read_text()
        daemon.ini.write_text(ini.replace("[jobd]\n", "[jobd]\ndefault_region = DRY1\n"))
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        if daemon.process is not None:
            daemon.stop()


@pytest.fixture
def wall() -> Iterator[WallClock]:
    with tempfile.TemporaryDirectory(prefix="jobd-clock-") as name:
        # PostgreSQL runs as a user of its own.
        Path(name).chmod(0o755)
        yield WallClock(Path(name) / "clock")


def schedules(daemon: Daemon, **values: Any) -> list[dict[str, Any]]:
    more = {"docker_image_repo": "busybox", "is_schedule_active": True, "execs_kept": 10_000, **values}
    return [daemon.create_job(schedule_mode=mode, **more) for mode in MODES]


def execs(daemon: Daemon, job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.call("GET", f"/v1/execs?job={job['id']}&page_size=100", 200)["results"]
    return [exec_ for exec_ in found if exec_["status"] != "N"]


def has_run(daemon: Daemon, job: dict[str, Any], since: datetime, until: timedelta = timedelta(minutes=5)) -> bool:
    """Whether a slot of these times has run."""
    slots = [datetime.fromisoformat(exec_["scheduled_for"]) for exec_ in execs(daemon, job)]
    return any(since < slot < since + until for slot in slots)


def go_on(daemon: Daemon, jobs: list[dict[str, Any]], since: datetime) -> None:
    """All of these run slots of after `since`, and none of them twice."""
    for job in jobs:
        what = f"`{job['schedule_mode']}` to go on"
        if job["schedule_mode"].startswith("R"):
            daemon.eventually(lambda job=job: has_run(daemon, job, since), what)
        found = daemon.call("GET", f"/v1/jobs/{job['id']}", 200)
        ahead = datetime.fromisoformat(found["next_fire_at"]) - datetime.now(UTC)
        assert ahead < timedelta(seconds=61), f"{what}: its next slot is {ahead} away\n{daemon.evidence()}"
        slots = Counter(exec_["scheduled_for"] for exec_ in execs(daemon, job))
        assert max(slots.values(), default=1) == 1


def metric(daemon: Daemon, sample: str) -> float:
    text = daemon.call("GET", "/metrics", 200)
    return float(re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]


def told(daemon: Daemon, words: str) -> bool:
    return words in daemon.log.read_text(errors="replace")


def test_a_jump_ahead_that_is_put_right_within_a_lease_fires_nothing(make_daemon: MakeDaemon, wall: WallClock) -> None:
    daemon = make_daemon(wall.environ, scheduler="lease = 1h").start()
    jobs = schedules(daemon)
    daemon.eventually(lambda: has_run(daemon, jobs[0], datetime.now(UTC) - timedelta(seconds=30)), "a first run")
    wall.set("+3h")
    daemon.eventually(lambda: metric(daemon, "jobd_scheduler_held") == 1, "the jump to be noticed")
    assert told(daemon, "was set ahead by 3:00:0")
    since = datetime.now(UTC)
    wall.set("+0")
    daemon.eventually(lambda: metric(daemon, "jobd_scheduler_held") == 0, "the clock to be believed again")
    go_on(daemon, jobs, since)
    for job in jobs:
        assert not has_run(daemon, job, since + timedelta(hours=2), timedelta(hours=2))
        assert daemon.call("GET", f"/v1/jobs/{job['id']}", 200)["schedule_error"] is None
    assert metric(daemon, 'jobd_clock_jumps_total{direction="ahead"}') == 1
    assert metric(daemon, "jobd_schedules_rearmed_total") == 0


@pytest.mark.parametrize("how", ["while it runs", "over a restart", "over a kill"])
def test_schedules_go_on_after_a_clock_that_was_ahead(make_daemon: MakeDaemon, wall: WallClock, how: str) -> None:
    daemon = make_daemon(wall.environ).start()
    jobs = schedules(daemon)
    wall.set("+3h")
    ahead = datetime.now(UTC) + timedelta(hours=2)
    # Wrong for longer than a lease, it is believed.
    daemon.eventually(lambda: has_run(daemon, jobs[0], ahead, timedelta(hours=2)), "the wrong time to be believed")
    since = datetime.now(UTC)
    if how == "while it runs":
        wall.set("+0")
    else:
        daemon.stop(signal.SIGTERM if how == "over a restart" else signal.SIGKILL)
        wall.set("+0")
        daemon.start()
    daemon.eventually(lambda: told(daemon, "armed anew"), "the schedules to be armed anew")
    go_on(daemon, jobs, since)
    found = daemon.call("GET", f"/v1/jobs/{jobs[0]['id']}", 200)
    assert found["schedule_error"].startswith("ran ahead of its time")
    assert told(daemon, f"job {jobs[0]['id']}: ")
    assert metric(daemon, 'jobd_clock_jumps_total{direction="back"}') == 1
    assert metric(daemon, 'jobd_schedule_slots_total{outcome="ahead"}') > 0


def test_a_daemon_whose_clock_is_not_the_databases_is_told(make_daemon: MakeDaemon, wall: WallClock) -> None:
    with fresh_postgres() as url:
        right = make_daemon(database=f"url = {url}").start()
        wall.set("+3h")
        wrong = make_daemon(wall.environ, database=f"url = {url}")
        wrong.folder.joinpath("var").mkdir()
        shutil.copy(right.folder / "var" / "admin.token", wrong.folder / "var")
        wrong.start()
        wrong.eventually(lambda: metric(wrong, "jobd_clock_offset_seconds") > 10_000, "the offset")
        assert told(wrong, "the database's clock, by which things come due, and this machine's are apart")
        assert abs(metric(right, "jobd_clock_offset_seconds")) < 5
        jobs = schedules(wrong)
        since = datetime.now(UTC)
        go_on(wrong, jobs, since)
        wall.set("-90")
        wrong.eventually(lambda: metric(wrong, "jobd_clock_offset_seconds") < -80, "the offset")
        go_on(wrong, jobs, datetime.now(UTC))
        wall.set("+0")
        wrong.eventually(lambda: told(wrong, "agree again"), "the clocks to agree")
        for daemon in (right, wrong):
            for direction in ("ahead", "back"):
                assert metric(daemon, f'jobd_clock_jumps_total{{direction="{direction}"}}') == 0


def test_schedules_go_on_after_the_databases_clock_was_ahead(make_daemon: MakeDaemon, wall: WallClock) -> None:
    with own_postgres(wall.environ) as cluster:
        daemons = [make_daemon(database=f"url = {cluster.url}").start()]
        second = make_daemon(database=f"url = {cluster.url}")
        second.folder.joinpath("var").mkdir()
        shutil.copy(daemons[0].folder / "var" / "admin.token", second.folder / "var")
        daemons.append(second.start())
        daemon, jobs = daemons[0], schedules(daemons[0])
        wall.set("+3h")
        ahead = datetime.now(UTC) + timedelta(hours=2)
        daemon.eventually(lambda: has_run(daemon, jobs[0], ahead, timedelta(hours=2)), "the wrong time to be believed")
        for each in daemons:
            # One that still waited would find the clock right again, and no jump back.
            each.eventually(lambda each=each: told(each, "and is believed"), "both to believe it")
        since = datetime.now(UTC)
        wall.set("+0")
        daemon.eventually(
            lambda: sum(metric(each, "jobd_schedules_rearmed_total") for each in daemons) >= len(jobs),
            "the schedules to be armed anew",
        )
        go_on(daemon, jobs, since)
        for each in daemons:
            each.eventually(
                lambda each=each: metric(each, 'jobd_clock_jumps_total{direction="back"}') == 1, "both to notice it"
            )
            assert not told(each, "adopting"), "a daemon that lives was taken for dead"
