"""What somebody starts from outside: the container of an exec that ended does not run on, and counts while it does."""

import threading

import pytest

from jobd.executor import Handle, State
from tests.engine.conftest import Bench
from tests.engine.executors import MemoryExecutor

pytestmark = pytest.mark.gen_test(timeout=40)


class SlowlyStopped(MemoryExecutor):
    """Stops a run when `released`, not before."""

    def __init__(self, *args, **more) -> None:
        super().__init__(*args, **more)
        self.released = threading.Event()
        self.graces: list[float] = []

    def stop(self, handle: Handle, grace: float) -> None:
        self.graces.append(grace)
        self.released.wait(30)
        super().stop(handle, grace)


async def test_a_run_that_was_started_again_is_stopped_at_once_and_counts_until_then(bench: Bench):
    executor = bench.executor(SlowlyStopped)
    engine = await bench.engine(executor, max_running=1)
    job = bench.job(max_retries=1, retry_delay=0)
    row = await bench.until(await bench.trigger(engine, job), "R")
    executor.restart(row.id, 3)
    await bench.eventually(lambda: executor.graces, "the stop")
    second = await bench.trigger(engine, job)
    assert (await bench.until(row, "R", "F")).status == "R"
    assert (await bench.until(second, "W", "R")).status == "W"
    executor.released.set()
    ended = await bench.until(row, "F")
    assert (ended.reason, ended.exit_code) == ("exit_code", 3)
    assert ended.message == "exit code 3; its container was started again from outside, and was stopped"
    assert executor.graces[0] == 0
    await bench.until(second, "R")
    assert row.id not in {container.spec.exec_id for container in bench.world.containers.values()}


async def test_one_that_was_started_again_while_no_daemon_ran_is_stopped_at_adoption(bench: Bench):
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    engine.abandon()
    executor.listeners.clear()
    executor.restart(row.id, 7)
    await bench.engine(bench.executor())
    ended = await bench.until(row, "F")
    assert (ended.reason, ended.exit_code) == ("exit_code", 7)
    await bench.eventually(lambda: not bench.world.containers, "its container is removed")


async def test_a_success_that_was_started_again_is_a_success(bench: Bench):
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.restart(row.id, 0)
    ended = await bench.until(row, "S", "F")
    assert (ended.status, ended.message) == ("S", "its container was started again from outside, and was stopped")


class Unremoving(MemoryExecutor):
    """Removes nothing at first, as an engine that is just going down."""

    removes = False

    def remove(self, handle: Handle, force: bool) -> None:
        if self.removes:
            super().remove(handle, force)


async def test_a_container_of_an_ended_exec_that_is_started_is_removed_at_once(bench: Bench):
    executor = bench.executor(Unremoving)
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id)
    await bench.until(row, "S")
    executor.removes = True
    assert [container.state for container in bench.world.containers.values()] == [State.ENDED]
    executor.restart(row.id)
    await bench.eventually(lambda: not bench.world.containers, "the left-over is removed")


async def test_a_container_that_is_not_the_execs_own_and_runs_is_removed(bench: Bench):
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    stray = executor.create(bench.world.containers[row.handle].spec)
    with bench.world.lock:
        bench.world.containers[stray.id].state = State.RUNNING
    executor.on_start(stray)
    await bench.eventually(lambda: list(bench.world.containers) == [row.handle], "the stray one is removed")
    assert (await bench.until(row, "R")).handle == row.handle


async def test_what_runs_for_no_exec_is_stopped_before_a_region_starts_anything(bench: Bench):
    former = bench.executor(Unremoving)
    engine = await bench.engine(former)
    job = bench.job()
    row = await bench.until(await bench.trigger(engine, job), "R")
    former.end(row.id)
    await bench.until(row, "S")
    await engine.stop()
    bench.engines.remove(engine)
    former.restart(row.id)
    executor = bench.executor(SlowlyStopped)
    later = await bench.engine(executor)
    await bench.eventually(lambda: executor.graces, "the stop")
    second = await bench.trigger(later, job)
    assert later.regions["BEIJING1"].outage, "nothing is claimed while it runs"
    executor.released.set()
    await bench.until(second, "R")
    assert [container.spec.exec_id for container in bench.world.containers.values()] == [second.id]
