"""Executors that fail for good, or hang: the rest goes on, and what they had to do comes to an end."""

import subprocess
import sys
import time

import pytest
from tornado.ioloop import IOLoop

from jobd.engine import regions
from jobd.executor import Handle
from jobd.periodic import Periodic
from jobd.store import daemons
from jobd.store.db.tables import Daemon
from tests.engine.conftest import Bench
from tests.engine.executors import BrokenStartExecutor, MemoryExecutor, StuckExecutor, UnreadableExecutor
from tests.services import ROOT

pytestmark = pytest.mark.gen_test(timeout=40)


async def test_a_start_that_took_effect_is_no_failure_whatever_it_raises(bench: Bench) -> None:
    executor = bench.executor(BrokenStartExecutor)
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine, bench.job(max_retries=1, retry_delay=0)), "R", "F")
    executor.end(row.id, 0)
    assert (await bench.until(row, "S", "F")).status == "S"
    assert len(bench.world.started) == 1


async def test_a_run_that_has_ended_when_its_start_raises_is_what_it_was(bench: Bench) -> None:
    class ShortRunExecutor(BrokenStartExecutor):
        def start(self, handle: Handle) -> None:
            try:
                super().start(handle)
            finally:
                (run,) = self.list()
                self.end(run.exec_id, 0)

    engine = await bench.engine(bench.executor(ShortRunExecutor))
    row = await bench.trigger(engine, bench.job(max_retries=1, retry_delay=0))
    assert (await bench.until(row, "S", "F")).status == "S"
    assert len(bench.world.started) == 1


async def test_an_exec_whose_log_cannot_be_read_ends_and_says_so(bench: Bench) -> None:
    executor = bench.executor(UnreadableExecutor)
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, 3)

    async def ended() -> bool:
        engine.regions["BEIJING1"].ask_at = 0.0
        found = await bench.until(row, "R", "F")
        return (found.exit_code, found.message) == (3, "exit code 3; its log could not be read")

    await bench.eventually(ended, "its end")
    assert engine.regions["BEIJING1"].outage is None
    await bench.eventually(lambda: not bench.world.containers, "no container")


async def test_an_exit_code_that_no_column_holds_ends_its_exec(bench: Bench) -> None:
    """As of a Windows container: 0xC0000005."""
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, 0xC0000005)
    await bench.until(row, "F")
    await bench.eventually(lambda: not bench.world.containers, "no container")


async def test_a_command_that_cannot_be_split_fails_its_exec(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    ended = await bench.until(await bench.trigger(engine, command='echo "'), "F")
    assert (ended.reason, ended.message) == ("start_failed", "ValueError: No closing quotation")


async def test_a_region_that_hangs_while_it_is_taken_over_costs_no_heartbeat(bench: Bench) -> None:
    executor = bench.executor(StuckExecutor)
    engine = await bench.engine(executor, length=0.9)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.stuck = True
    await bench.database.write(lambda: type(row).update(owner="dead").execute())

    async def is_taken() -> bool:
        return (await bench.until(row, "R")).owner == "one"

    await bench.eventually(is_taken, "the takeover")
    await bench.eventually(executor.asked.is_set, "the region to hang")
    before = await bench.database.read(lambda: Daemon.get().heartbeat_at)

    async def beats() -> bool:
        return (await bench.database.read(lambda: Daemon.get().heartbeat_at)) > before

    await bench.eventually(beats, "the next heartbeat")
    executor.stuck = False
    executor.released.set()


async def test_an_executor_that_does_not_close_does_not_keep_the_daemon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "CLOSE_TIMEOUT", 0.1)
    executor = bench.executor(StuckExecutor)
    engine = await bench.engine(executor)
    executor.stuck = True
    await engine.stop()
    bench.engines.remove(engine)
    assert not executor.released.is_set()
    assert await bench.database.read(daemons.alive, 15) == []
    executor.released.set()


async def test_what_is_due_now_and_then_goes_on_when_the_wall_clock_is_set_back(
    io_loop: IOLoop, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[float] = []

    def call() -> None:
        calls.append(time.monotonic())
        monkeypatch.setattr(IOLoop.current(), "time", lambda: time.time() - 3600)

    periodic = Periodic(call, 10)
    periodic.start()
    await bench.eventually(lambda: len(calls) >= 3, "the third call")
    periodic.stop()


async def test_an_engine_that_could_not_scan_stops_all_the_same(bench: Bench) -> None:
    executor: MemoryExecutor = bench.executor()
    engine = await bench.engine(executor)
    scheduler = engine._scheduler
    scheduler._on_fired = lambda rows: 1 / 0
    scheduler._scan()
    await engine.stop()
    bench.engines.remove(engine)
    assert await bench.database.read(daemons.alive, 15) == []


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    program = (
        "import threading, time; from jobd.app import leave_stuck_threads;"
        "threading.Thread(target=time.sleep, args=(60,), name='hung').start();"
        "leave_stuck_threads(3, 0.1)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, cwd=ROOT)
    assert (ended.returncode, b"hung" in ended.stderr) == (3, True)
