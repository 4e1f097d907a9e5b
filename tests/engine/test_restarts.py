"""What happens to execs when their daemon ends, is killed, or is paused past its lease."""

import asyncio
from datetime import timedelta

import pytest

from jobd.engine import specs
from jobd.engine.engine import Engine
from jobd.errors import HandleGone
from jobd.executor import Handle, State
from jobd.store import daemons, execs
from jobd.store.db.tables import Exec
from jobd.store.queue import claims, transitions
from tests.engine.conftest import Bench
from tests.engine.executors import MemoryExecutor, SlowExecutor

pytestmark = pytest.mark.gen_test(timeout=40)


async def kill(bench: Bench, engine: Engine) -> None:
    """As kill -9 would: nothing more is written, the containers stay."""
    engine.abandon()
    bench.engines.remove(engine)


async def test_a_run_survives_the_restart_of_its_daemon(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(engine), "R")
    await engine.stop()
    bench.engines.remove(engine)
    assert [c.state for c in bench.world.containers.values()] == [State.RUNNING]
    again = bench.executor()
    await bench.engine(again)
    again.end(row.id, 4, b"whole")
    ended = await bench.until(row, "F")
    assert (ended.exit_code, ended.log_bytes) == (4, 5)
    assert bench.world.starts_of(row.id) == 1


async def test_an_adopted_run_has_the_rest_of_its_time_by_the_clock_of_the_database(
    bench: Bench,
) -> None:
    engine = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(engine, bench.job(timeout=3600)), "R")
    await kill(bench, engine)
    long_ago = row.started_at - timedelta(hours=2)
    await bench.database.write(Exec.update(started_at=long_ago).where(Exec.id == row.id).execute)
    await bench.engine(bench.executor())
    assert (await bench.until(row, "F")).reason == "timeout"


async def test_a_run_that_ended_while_no_daemon_ran_keeps_code_and_log(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    await kill(bench, engine)
    executor.end(row.id, 3, b"last words")
    await bench.engine(bench.executor())
    ended = await bench.until(row, "F")
    assert (ended.exit_code, ended.log_bytes) == (3, 10)


async def test_an_exec_killed_between_claim_and_create_runs_once(bench: Bench) -> None:
    row = await _claimed(bench)
    await bench.engine(bench.executor())
    await bench.until(row, "R")
    assert bench.world.starts_of(row.id) == 1


async def test_an_exec_killed_between_create_and_its_commit_runs_once(bench: Bench) -> None:
    row = await _claimed(bench)
    await _create(bench, row)
    engine = await bench.engine(bench.executor())
    await bench.until(row, "R")
    assert bench.world.starts_of(row.id) == 1

    async def swept() -> bool:
        # The first sweep may come while the exec is between claim and handle, and then leaves both alone.
        await engine.clear()
        return len(bench.world.containers) == 1

    await bench.eventually(swept, "the orphan to be swept")


async def test_an_exec_killed_between_commit_and_start_runs_once(bench: Bench) -> None:
    row = await _claimed(bench)
    handle = await _create(bench, row)
    assert await bench.database.write(transitions.set_handle, row, handle)
    await bench.engine(bench.executor())
    await bench.until(row, "R")
    assert bench.world.starts_of(row.id) == 1
    assert handle.id not in bench.world.containers


async def test_an_exec_killed_between_start_and_its_commit_is_adopted(bench: Bench) -> None:
    row = await _claimed(bench)
    handle = await _create(bench, row)
    assert await bench.database.write(transitions.set_handle, row, handle)
    executor: MemoryExecutor = bench.executor()
    executor.start(handle)
    engine = await bench.engine(executor)
    await bench.until(row, "R")
    executor.end(row.id, 0)
    await bench.until(row, "S")
    assert bench.world.starts_of(row.id) == 1
    assert engine.regions["BEIJING1"].outage is None


async def test_a_container_left_by_an_ended_exec_is_swept(bench: Bench) -> None:
    row = await _claimed(bench)
    handle = await _create(bench, row)
    assert await bench.database.write(transitions.set_handle, row, handle)
    bench.executor().start(handle)
    await bench.database.write(transitions.end, row, transitions.Result("F", "lost"), None)
    await bench.engine(bench.executor())
    await bench.eventually(lambda: not bench.world.containers, "the left-over to be swept")


async def test_what_the_database_never_knew_is_left_alone_while_it_runs(bench: Bench) -> None:
    row = await _claimed(bench)
    handle = await _create(bench, row)
    executor = bench.executor()
    executor.start(handle)
    await bench.database.write(Exec.delete().execute)
    engine = await bench.engine(executor)
    await bench.until(await bench.trigger(engine), "R")
    assert handle.id in bench.world.containers


async def test_a_daemon_that_stopped_beating_is_taken_over(bench: Bench) -> None:
    executor = bench.executor()
    first = await bench.engine(executor, daemon="one", length=1.5)
    row = await bench.until(await bench.trigger(first), "R")
    await kill(bench, first)
    other = bench.executor()
    await bench.engine(other, daemon="two", length=1.5)
    if not bench.database.is_sqlite:
        assert (await bench.until(row, "R")).owner == "one"

    async def taken() -> bool:
        return (await bench.until(row, "R")).owner == "two"

    await bench.eventually(taken, "the takeover")
    other.end(row.id, 0)
    await bench.until(row, "S")
    assert bench.world.starts_of(row.id) == 1


async def test_a_paused_daemon_does_not_start_a_second_container(bench: Bench) -> None:
    """It created, was paused past its lease, and wakes to find its exec taken over and run by another."""
    row = await _claimed(bench, daemon="paused")
    handle = await _create(bench, row)
    assert await bench.database.write(transitions.set_handle, row, handle)
    await bench.engine(bench.executor(), daemon="two", length=1.5)
    await bench.until(row, "R")
    with pytest.raises(HandleGone):
        bench.executor().start(handle)
    assert bench.world.starts_of(row.id) == 1
    assert not await bench.database.write(transitions.set_running, row, None)


async def test_a_second_start_of_a_daemon_ends_the_first(bench: Bench) -> None:
    await bench.engine(bench.executor(), daemon="one", length=0.6)
    await bench.database.write(daemons.register, "one", "host", 1, [])
    await bench.eventually(lambda: bench.lost_place, "the first to notice")


async def test_a_graceful_stop_finishes_what_it_began(bench: Bench) -> None:
    engine = await bench.engine(bench.executor(SlowExecutor))
    row = await bench.trigger(engine)
    await bench.eventually(lambda: engine.owns(row.id))
    await engine.stop()
    bench.engines.remove(engine)
    assert (await bench.until(row, "R", "W")).status == "R"


async def test_an_exec_claimed_without_an_answer_is_found_again(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    await bench.eventually(lambda: engine.regions["BEIJING1"].outage is None)
    row = await _claimed(bench, daemon="one")
    for _ in range(2):
        await engine.clear()
    await bench.until(row, "R")
    assert bench.world.starts_of(row.id) == 1


async def test_a_region_that_is_another_engine_now_is_refused(bench: Bench) -> None:
    await bench.database.write(daemons.bind_region, "BEIJING1", "another engine")
    engine = await bench.engine(bench.executor())
    row = await bench.trigger(engine)
    await bench.eventually(lambda: "another engine" in (engine.regions["BEIJING1"].outage or ""))
    assert (await bench.until(row, "W")).owner is None
    assert bench.world.started == []


async def _claimed(bench: Bench, daemon: str = "one") -> Exec:
    """An exec that a daemon claimed just before it was killed."""
    await bench.database.write(daemons.bind_region, "BEIJING1", bench.world.identity)
    job = await asyncio.to_thread(bench.job)
    await bench.database.write(execs.create, bench.caller, job.id, {}, 100)
    (row,) = await bench.database.write(claims.claim, daemon, "BEIJING1", 10, 10)
    return row


async def _create(bench: Bench, row: Exec) -> Handle:
    installation = await bench.database.read(daemons.installation)
    return bench.executor().create(specs.build(row, bench.settings(), installation, "one", {}))
