"""An engine whose clock is set: what is held, for how long, and what is brought back."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobd.engine import clocks
from jobd.engine.clocks import Clocks
from jobd.engine.engine import Engine
from jobd.engine.leases import Lease
from jobd.engine.retention import Retention
from jobd.store import daemons
from jobd.store.daemons import Seen
from jobd.store.db import clock
from jobd.store.db.clock import Reading
from jobd.store.db.tables import Daemon, Exec, IdempotencyKey, Job
from jobd.store.queue import claims, transitions, waiting
from jobd.store.queue.transitions import Result
from tests.engine.conftest import Bench
from tests.store.rows import REGION, make_exec

pytestmark = pytest.mark.gen_test(timeout=30)

LENGTH = 15.0
HOUR = timedelta(hours=1)
NOTHING_SEEN = Seen(None, None)


class Hands:
    """A clock of the database's that a test sets, and the steady one beside it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        self.passed = 0.0
        self._now, self._steady = clock.now, clock.steady
        self.own_ahead = timedelta()
        monkeypatch.setattr(clock, "own_offset", lambda: (self.read(), self.own_ahead - self.ahead))
        monkeypatch.setattr(clock, "read", self.read)
        monkeypatch.setattr(clock, "steady", self.steady)

    def steady(self) -> float:
        return self._steady() + self.passed

    def read(self) -> Reading:
        before = self.steady()
        at = self._now() + self.ahead + timedelta(seconds=self.passed)
        return Reading(at, before, self.steady())

    def wait(self, seconds: float) -> None:
        """Time passes, by both clocks."""
        self.passed += seconds


class Watched:
    """Clocks that are looked at by hand."""

    def __init__(self, bench: Bench, length: float = LENGTH) -> None:
        self.bench = bench
        self.lease = Lease(bench.database, "one", length, lambda: clock.steady())
        self.settled = 0
        self.clocks = Clocks(bench.database, self.lease, self._settle)

    def _settle(self) -> None:
        self.settled += 1

    async def begin(self, seen: Seen = NOTHING_SEEN) -> None:
        await self.lease.begin("host", 1, [])
        await self.clocks.begin(seen)
        self.clocks.stop()
        await self.look()

    async def look(self) -> None:
        await self.clocks._look_and_repair()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.bench.database.metrics.registry.get_sample_value(name, labels)

    def jumps(self) -> tuple[float | None, ...]:
        return tuple(self.metric("jobd_clock_jumps_total", direction=name) for name in ("ahead", "back"))


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def set_ahead(bench: Bench, job: Job) -> None:
    """The job waits for a time three hours after its next."""
    later = job.next_fire_at + 3 * HOUR
    bench.database.write_sync(Job.update(next_fire_at=later).where(Job.id == job.id).execute)


def next_of(bench: Bench, job: Job) -> Any:
    return bench.database.read_sync(Job.get, Job.id == job.id).next_fire_at


def every_minute(bench: Bench) -> Job:
    return bench.job(schedule_mode="R/2026-01-01T00:00:00Z/PT1M", is_schedule_active=True)


async def test_a_clock_that_goes_evenly_is_not_touched(bench: Bench, hands: Hands) -> None:
    watched = Watched(bench)
    await watched.begin()
    for seconds in (2.0, 3600.0, 0.5):
        hands.wait(seconds)
        await watched.look()
    assert (watched.jumps(), watched.settled, watched.clocks.is_held) == ((0, 0), 0, False)


async def test_a_machine_that_slept_is_no_clock_that_jumped(bench: Bench, hands: Hands) -> None:
    """Both the wall clock and the steady one go on in its sleep; `time.monotonic` does not."""
    watched = Watched(bench)
    await watched.begin()
    hands.wait(3 * 3600)
    await watched.look()
    assert not watched.clocks.is_held
    assert watched.lease.ran_out, "others may have taken over what it owned"


@pytest.mark.parametrize("seconds", [-50, -3600, 3600])
async def test_a_clock_that_was_set_is_told_once(bench: Bench, hands: Hands, caplog: Any, seconds: int) -> None:
    watched = Watched(bench)
    await watched.begin()
    hands.ahead += timedelta(seconds=seconds)
    await watched.look()
    await watched.look()
    assert watched.jumps() == ((1, 0) if seconds > 0 else (0, 1))
    (line,) = [record.message for record in caplog.records if "was set" in record.message]
    assert f"set {'ahead' if seconds > 0 else 'back'} by" in line
    assert ("nothing fires for 15 s" in line) is (abs(seconds) > 60)


async def test_a_short_jump_holds_nothing(bench: Bench, hands: Hands) -> None:
    watched = Watched(bench)
    await watched.begin()
    hands.ahead += timedelta(seconds=50)
    await watched.look()
    assert (watched.clocks.is_held, watched.jumps()) == (False, (1, 0))


async def test_a_far_jump_holds_for_one_lease(bench: Bench, hands: Hands) -> None:
    watched = Watched(bench)
    await watched.begin()
    hands.ahead += 3 * HOUR
    await watched.look()
    assert watched.clocks.is_held
    assert watched.metric("jobd_scheduler_held") == 1
    hands.wait(LENGTH - 2)
    await watched.look()
    assert (watched.clocks.is_held, watched.settled) == (True, 0)
    hands.wait(2)
    await watched.look()
    assert (watched.clocks.is_held, watched.settled) == (False, 1)
    await watched.look()
    assert watched.jumps() == (1, 0)


async def test_a_jump_that_is_put_right_is_forgotten_at_once(bench: Bench, hands: Hands) -> None:
    watched = Watched(bench)
    await watched.begin()
    hands.ahead += 3 * HOUR
    await watched.look()
    hands.wait(2)
    hands.ahead -= 3 * HOUR
    await watched.look()
    assert (watched.clocks.is_held, watched.settled, watched.jumps()) == (False, 1, (1, 0))


async def test_a_second_jump_is_held_for_a_lease_of_its_own(bench: Bench, hands: Hands) -> None:
    watched = Watched(bench)
    await watched.begin()
    for _ in range(2):
        hands.ahead += 3 * HOUR
        await watched.look()
        hands.wait(LENGTH - 1)
        await watched.look()
        assert watched.clocks.is_held
    hands.wait(1)
    await watched.look()
    assert (watched.clocks.is_held, watched.jumps()) == (False, (2, 0))


@pytest.mark.parametrize("seconds", [50, 3 * 3600])
async def test_schedules_are_armed_anew_after_a_clock_that_goes_back(bench: Bench, hands: Hands, seconds: int) -> None:
    watched = Watched(bench, length=600)
    await watched.begin()
    job = every_minute(bench)
    right = next_of(bench, job)
    set_ahead(bench, job)
    hands.ahead -= timedelta(seconds=seconds)
    await watched.look()
    if seconds > 60:
        assert next_of(bench, job) > right, "the clock may come right again"
        hands.wait(clocks.MAX_UNARMED)
        await watched.look()
        assert watched.clocks.is_held, "armed within a minute, however long the lease is"
    assert next_of(bench, job) <= right + timedelta(minutes=1)
    assert watched.metric("jobd_schedules_rearmed_total") == 1


async def test_what_came_due_while_the_clock_was_not_believed_is_made_up_for(bench: Bench, hands: Hands) -> None:
    watched = Watched(bench)
    await watched.begin()
    since = await bench.database.read(clock.now)
    job = bench.job(schedule_mode=f"R/{since.isoformat()}/PT1S", is_schedule_active=True)
    set_ahead(bench, job)
    hands.ahead -= 3 * HOUR
    await watched.look()
    (wrong,) = [watched.clocks._wrong]
    assert wrong is not None
    assert abs(wrong.since - (since - 3 * HOUR)) < timedelta(seconds=10)  # type: ignore[operator]


async def test_nothing_is_armed_anew_when_the_clock_comes_right_again(bench: Bench, hands: Hands) -> None:
    watched = Watched(bench)
    await watched.begin()
    job = every_minute(bench)
    right = next_of(bench, job)
    hands.ahead -= 3 * HOUR
    await watched.look()
    hands.ahead += 3 * HOUR
    await watched.look()
    await watched.look()
    assert next_of(bench, job) == right
    assert watched.metric("jobd_schedules_rearmed_total") == 0


async def test_a_start_looks_for_what_was_left(bench: Bench, hands: Hands) -> None:
    """The daemon before was killed between a clock that was put right and its repair."""
    job = every_minute(bench)
    right = next_of(bench, job)
    set_ahead(bench, job)
    watched = Watched(bench)
    await watched.begin()
    assert right <= next_of(bench, job) <= right + timedelta(minutes=1)
    assert watched.jumps() == (0, 0)


@pytest.mark.parametrize("hours", [3, -3])
async def test_a_start_knows_that_the_clock_was_set_since(bench: Bench, hands: Hands, hours: int) -> None:
    await bench.database.write(daemons.register, "one", "host", 1, [])
    seen = await bench.database.read(daemons.last_seen, "one")
    hands.wait(600)
    hands.ahead += hours * HOUR
    watched = Watched(bench)
    await watched.begin(seen)
    assert watched.clocks.is_held
    assert watched.jumps() == ((1, 0) if hours > 0 else (0, 1))
    wrong = (await bench.database.read(hands.read)).at
    assert abs(await watched.clocks.now() - (wrong - hours * HOUR)) < timedelta(seconds=5)


async def test_a_start_of_a_machine_whose_clock_is_behind_what_the_database_saw_waits(
    bench: Bench, hands: Hands
) -> None:
    at = await bench.database.read(clock.now)
    job = every_minute(bench)
    right = next_of(bench, job)
    hands.ahead -= timedelta(days=9000)
    watched = Watched(bench)
    await watched.begin(Seen(at, None))
    assert watched.clocks.is_held
    hands.wait(5)
    hands.ahead += timedelta(days=9000)
    await watched.look()
    assert not watched.clocks.is_held
    assert next_of(bench, job) == right


async def test_a_machine_whose_clock_is_not_the_databases_is_told(bench: Bench, hands: Hands, caplog: Any) -> None:
    caplog.set_level("INFO")
    hands.own_ahead = timedelta(seconds=90)
    watched = Watched(bench)
    await watched.begin()
    assert watched.metric("jobd_clock_offset_seconds") == 90
    (line,) = [record.message for record in caplog.records if "apart" in record.message]
    assert "this machine's is 0:01:30 ahead" in line
    hands.own_ahead = timedelta()
    await watched.look()
    assert "agree again" in caplog.text


async def test_nobody_is_taken_for_dead_by_a_clock_that_was_set(bench: Bench, hands: Hands) -> None:
    await bench.database.write(daemons.register, "other", "host", 1, [])
    old = await bench.database.read(clock.now) - HOUR
    await bench.database.write(Daemon.update(heartbeat_at=old).execute)
    watched = Watched(bench)
    await watched.begin()
    is_sqlite = bench.database.is_sqlite
    assert await watched.lease.others_alive() == []
    hands.ahead += 3 * HOUR
    await watched.look()
    assert not watched.lease.may_take_over
    assert await watched.lease.others_alive() == ([] if is_sqlite else ["other"])


async def held(bench: Bench, hands: Hands) -> Engine:
    """An engine whose clock has just jumped far ahead."""
    engine = await bench.engine(bench.executor())
    hands.ahead += 3 * HOUR
    await engine._clocks.look()
    return engine


async def test_nothing_fires_and_nothing_ends_while_the_clock_is_not_believed(bench: Bench, hands: Hands) -> None:
    engine = await held(bench, hands)
    at = await bench.database.read(clock.now)
    job = bench.job(schedule_mode=f"R1/{(at + timedelta(seconds=1)).isoformat()}/PT1H", is_schedule_active=True)
    row = make_exec(bench.database, bench.caller, bench.job(region_name="OTHER"))
    long_ago = at - timedelta(days=3)
    await bench.database.write(Exec.update(created_at=long_ago).execute)
    hands.wait(5)
    await engine.clear()
    assert (await bench.until(row, "W")).status == "W"
    scanned = engine.scanned_at
    await bench.eventually(lambda: engine.scanned_at > scanned + 1.2, "the slot's time to pass")
    assert await bench.database.read(Exec.select().where(Exec.job_id == job.id).count) == 0
    hands.ahead -= 3 * HOUR
    await engine._clocks.look()
    await bench.eventually(
        lambda: bench.database.read_sync(Exec.select().where(Exec.job_id == job.id).count) == 1, "it to fire"
    )
    await engine.clear()
    await bench.until(row, "F")


async def test_an_adopted_run_is_not_over_its_time_by_a_clock_that_was_set_meanwhile(
    bench: Bench, hands: Hands
) -> None:
    engine = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(engine, bench.job(timeout=3600)), "R")
    await engine.stop()
    bench.engines.remove(engine)
    hands.ahead += 3 * HOUR
    again = await bench.engine(bench.executor())
    await bench.eventually(lambda: again.owns(row.id))
    live = again._live.named(row.id)
    await bench.eventually(lambda: live.deadline is not None)
    assert live.deadline - clock.steady() > 3000  # type: ignore[union-attr, operator]


async def test_a_run_that_was_started_ahead_is_over_its_time_no_later(bench: Bench, hands: Hands) -> None:
    engine = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(engine, bench.job(timeout=3600)), "R")
    await engine.stop()
    bench.engines.remove(engine)
    await bench.database.write(Exec.update(started_at=row.started_at + 3 * HOUR).execute)
    again = await bench.engine(bench.executor())
    await bench.eventually(lambda: again.owns(row.id))
    live = again._live.named(row.id)
    await bench.eventually(lambda: live.deadline is not None)
    assert live.deadline - clock.steady() <= 3600  # type: ignore[union-attr, operator]


async def test_nothing_is_deleted_for_its_age_before_the_clock_has_gone_evenly_for_long(
    bench: Bench, hands: Hands
) -> None:
    watched = Watched(bench)
    await watched.begin()
    row = make_exec(bench.database, bench.caller)
    (row,) = await bench.database.write(claims.claim, "a", REGION, 10, 10)
    await bench.database.write(transitions.end, row, Result("S"), None)
    old = row.created_at - timedelta(days=1000)
    await bench.database.write(Exec.update(ended_at=old).execute)
    key = {"username": "a", "job_id": 1, "key": "k", "digest": "d", "exec_id": row.id, "created_at": old}
    await bench.database.write(IdempotencyKey.create, **key)
    retirement = Retention(bench.database, bench.settings(), lambda: watched.clocks.is_even)
    models: list[Any] = [Exec, IdempotencyKey]

    async def left() -> list[int]:
        await retirement.retire()
        return [await bench.database.read(model.select().count) for model in models]

    assert await left() == [1, 1]
    hands.wait(clocks.EVEN_AFTER)
    hands.ahead += timedelta(seconds=30)
    await watched.look()
    assert await left() == [1, 1], "it was set again"
    hands.wait(clocks.EVEN_AFTER)
    await watched.look()
    assert await left() == [0, 0]


async def test_a_daemon_that_slept_is_over_time_with_what_it_watched(bench: Bench, hands: Hands) -> None:
    engine = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(engine, bench.job(timeout=3600)), "R")
    waits: Callable[[], Any] = lambda: engine._live.named(row.id).deadline is not None  # type: ignore[union-attr] # noqa: E731
    await bench.eventually(waits)
    hands.wait(3601)
    assert (await bench.until(row, "F")).reason == "timeout"
    assert bench.database.read_sync(waiting.regions_waiting) == []
