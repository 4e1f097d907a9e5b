"""How much is measured: for the table, for a look, and for the test that the benches run at all."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """`rounds`: how often subject and floor take turns. All else counts what a bench of that name works on."""

    rounds: int
    latency_runs: int
    burst: int
    engine_execs: int
    schedules: int
    due: int
    looks: int
    """How often a short piece of work is timed for one median."""
    late_jobs: int
    late_seconds: int
    idle_seconds: int
    listed: int
    request_seconds: float
    running_dry: int
    running_docker: int
    followers: int
    follow_seconds: float
    unread_followers: int
    unread_lines: int
    starts: int
    hostile_jobs: int
    hostile_at_once: int
    hostile_rounds: int
    growth: int
    """Rows at 1 x; 10 x and 100 x follow."""


FULL = Scale(
    rounds=5,
    latency_runs=30,
    burst=120,
    engine_execs=5000,
    schedules=1_000_000,
    due=50_000,
    looks=50,
    late_jobs=1000,
    late_seconds=60,
    idle_seconds=20,
    listed=100_000,
    request_seconds=5,
    running_dry=1000,
    running_docker=200,
    followers=100,
    follow_seconds=10,
    unread_followers=200,
    unread_lines=300_000,
    starts=7,
    hostile_jobs=100,
    hostile_at_once=40,
    hostile_rounds=3,
    growth=1000,
)
QUICK = Scale(
    rounds=5,
    latency_runs=10,
    burst=24,
    engine_execs=500,
    schedules=50_000,
    due=5000,
    looks=30,
    late_jobs=200,
    late_seconds=10,
    idle_seconds=5,
    listed=20_000,
    request_seconds=1,
    running_dry=300,
    running_docker=20,
    followers=30,
    follow_seconds=4,
    unread_followers=60,
    unread_lines=100_000,
    starts=5,
    hostile_jobs=70,
    hostile_at_once=40,
    hostile_rounds=1,
    growth=300,
)
TINY = Scale(
    rounds=1,
    latency_runs=1,
    burst=2,
    engine_execs=10,
    schedules=100,
    due=20,
    looks=3,
    late_jobs=5,
    late_seconds=1,
    idle_seconds=1,
    listed=50,
    request_seconds=0.2,
    running_dry=5,
    running_docker=2,
    followers=3,
    follow_seconds=1,
    unread_followers=3,
    unread_lines=1_000,
    starts=1,
    hostile_jobs=1,
    hostile_at_once=2,
    hostile_rounds=1,
    growth=5,
)
