"""From trigger to record, on an executor that behaves and on some that do not."""

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from jobd.engine import plugin_events
from jobd.errors import RegionUnavailable, RunRefused
from jobd.executor import Handle, RunSpec, State
from jobd.hookspecs import hookimpl
from jobd.output.run_log import as_text, decode
from jobd.store import deletion, execs
from jobd.store.db.tables import Exec, Job
from tests.engine.conftest import Bench
from tests.engine.executors import (
    CrashingExecutor,
    CutStartExecutor,
    DeafExecutor,
    ForgetfulExecutor,
    HangingExecutor,
    LyingExecutor,
    MemoryExecutor,
    SlowExecutor,
    StuckStartExecutor,
)

pytestmark = pytest.mark.gen_test(timeout=30)


async def log_of(bench: Bench, row: Exec) -> bytes:
    _, frames = await bench.database.read(execs.log_of, bench.caller, row.job_id, row.id)
    return as_text(decode(frames)) if frames else b""


async def test_a_run_that_ends_well_is_S_with_its_log_and_leaves_nothing(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, 0, b"hello\n")
    ended = await bench.until(row, "S")
    assert (ended.exit_code, ended.reason, ended.log_bytes) == (0, None, 6)
    assert await log_of(bench, row) == b"hello\n"
    await bench.eventually(lambda: not bench.world.containers, "no container")
    assert bench.world.starts_of(row.id) == 1


@pytest.mark.parametrize(
    ("code", "oom", "reason"), [(3, False, "exit_code"), (137, True, "oom_killed"), (137, False, "exit_code")]
)
async def test_a_run_that_ends_badly_is_F_and_says_why(bench: Bench, code: int, oom: bool, reason: str) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, code, oom_killed=oom)
    ended = await bench.until(row, "F")
    assert (ended.exit_code, ended.reason) == (code, reason)
    assert ended.message


async def test_ends_are_found_without_push(bench: Bench) -> None:
    executor = bench.executor(DeafExecutor)
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, 0)
    await bench.until(row, "S")


async def test_an_absent_image_is_pulled_first(bench: Bench) -> None:
    bench.world.pullable.add("repo:new")
    engine = await bench.engine(bench.executor())
    row = await bench.trigger(engine, docker_image_tag="new")
    await bench.until(row, "R")


async def test_an_image_that_is_nowhere_is_image_not_found(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    ended = await bench.until(await bench.trigger(engine, docker_image_tag="none"), "F")
    assert (ended.reason, ended.message) == ("image_not_found", "no image repo:none")


async def test_what_an_executor_may_not_raise_fails_the_run_and_nothing_else(bench: Bench) -> None:
    engine = await bench.engine(bench.executor(CrashingExecutor), bench.executor(name="OTHER"))
    ended = await bench.until(await bench.trigger(engine), "F")
    assert ended.reason == "start_failed"
    assert "KeyError" in ended.message
    await bench.until(await bench.trigger(engine, bench.job(region_name="OTHER")), "R")


async def test_a_region_that_hangs_holds_up_no_other(bench: Bench) -> None:
    engine = await bench.engine(bench.executor(HangingExecutor), bench.executor(name="OTHER"))
    stuck = await bench.trigger(engine)
    await bench.until(await bench.trigger(engine, bench.job(region_name="OTHER")), "R")
    assert (await bench.until(stuck, "W")).owner is None


async def test_ends_that_did_not_happen_are_not_believed(bench: Bench) -> None:
    executor = bench.executor(LyingExecutor)
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, 0)
    assert (await bench.until(row, "S", "F")).status == "S"


async def test_a_run_that_its_region_forgot_is_lost(bench: Bench) -> None:
    executor = bench.executor(ForgetfulExecutor)
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, 0)
    ended = await bench.until(row, "F")
    assert ended.reason == "lost"
    assert ended.exit_code is None


async def test_a_start_cut_after_it_took_effect_is_adopted(bench: Bench) -> None:
    executor = bench.executor(CutStartExecutor)
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, 0)
    await bench.until(row, "S")
    assert bench.world.starts_of(row.id) == 1


async def test_a_start_cut_before_it_took_effect_is_made_anew(bench: Bench) -> None:
    executor = bench.executor(CutStartExecutor)
    executor.reaches = False
    engine = await bench.engine(executor)
    row = await bench.trigger(engine)
    await bench.eventually(lambda: any(c.state is State.CREATED for c in bench.world.containers.values()))
    executor.reaches = True
    await bench.until(row, "R")
    assert bench.world.starts_of(row.id) == 1


async def test_a_start_of_which_nobody_can_tell_is_lost(bench: Bench) -> None:
    bench.world.forgot_starts = True
    executor = bench.executor(CutStartExecutor)
    executor.reaches = False
    engine = await bench.engine(executor)
    ended = await bench.until(await bench.trigger(engine), "F")
    assert ended.reason == "lost"
    assert ended.message == "connection reset, while it was being started; nothing can tell whether it ran"
    assert bench.world.starts_of(ended.id) == 0


async def test_one_that_a_former_daemon_was_starting_says_that_the_daemon_ended(bench: Bench) -> None:
    bench.world.forgot_starts = True
    executor = bench.executor(StuckStartExecutor)
    engine = await bench.engine(executor)
    row = await bench.trigger(engine)
    await bench.eventually(executor.asked.is_set, "the start is under way")
    engine.abandon()
    bench.world.containers.clear()
    await bench.engine(bench.executor())
    ended = await bench.until(row, "F")
    executor.released.set()
    assert ended.reason == "lost"
    said = "the jobd that had it ended, while it was being started; nothing can tell whether it ran"
    assert ended.message == said


async def test_a_success_with_a_process_killed_for_memory_says_so(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, 0, oom_killed=True)
    ended = await bench.until(row, "S", "F")
    said = "one of its processes was killed, as it used more memory than its size XXS has"
    assert (ended.status, ended.message) == ("S", said)


async def test_no_more_run_at_once_than_the_region_allows(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor, max_running=2)
    job = bench.job()
    rows = [await bench.trigger(engine, job) for _ in range(3)]
    await bench.until(rows[0], "R")
    await bench.until(rows[1], "R")
    assert (await bench.until(rows[2], "W")).owner is None
    executor.end(rows[0].id)
    await bench.until(rows[2], "R")


async def test_a_stop_ends_a_running_exec_as_cancelled(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(engine), "R")
    await bench.stop_exec(engine, row)
    ended = await bench.until(row, "C")
    assert (ended.reason, ended.exit_code) == ("cancelled", 143)
    await bench.eventually(lambda: not bench.world.containers, "no container")


async def test_a_stop_while_it_is_created_never_starts_it(bench: Bench) -> None:
    engine = await bench.engine(bench.executor(SlowExecutor))
    row = await bench.trigger(engine)
    await bench.eventually(lambda: engine.owns(row.id))
    await bench.stop_exec(engine, row)
    await bench.until(row, "C")
    await bench.eventually(lambda: not bench.world.containers, "no container")
    assert bench.world.started == []


async def test_a_run_over_its_timeout_is_stopped(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    ended = await bench.until(await bench.trigger(engine, bench.job(timeout=1)), "F")
    assert ended.reason == "timeout"


async def test_a_region_that_goes_down_is_waited_for(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    running = await bench.until(await bench.trigger(engine), "R")
    bench.world.down = True
    waiting = await bench.trigger(engine)
    await bench.eventually(lambda: engine.regions["BEIJING1"].outage, "the region to be seen down")

    async def waits_and_says_why() -> bool:
        found = await bench.until(waiting, "W")
        return found.owner is None and "the world is down" in (found.message or "")

    await bench.eventually(waits_and_says_why)
    never_tried = await bench.trigger(engine)

    async def says_why() -> bool:
        return (await bench.until(never_tried, "W")).message == "region BEIJING1 is down: the world is down"

    await bench.eventually(says_why)

    async def running_says_why() -> bool:
        return (await bench.until(running, "R")).message == "region BEIJING1 is down: the world is down"

    await bench.eventually(running_says_why)
    bench.world.down = False

    async def running_says_no_more() -> bool:
        return (await bench.until(running, "R")).message is None

    await bench.eventually(running_says_no_more)
    executor.end(running.id, 0)
    await bench.until(running, "S")
    assert (await bench.until(waiting, "R")).message is None
    await bench.until(never_tried, "R")


async def test_a_deleted_exec_is_stopped_and_purged(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(engine), "R")
    await bench.database.write(deletion.delete_job, bench.caller, row.job_id)
    engine.stop_requested()

    async def purged() -> bool:
        return await bench.database.read(Exec.get_or_none, Exec.id == row.id) is None

    await bench.eventually(purged, "the record to be purged")
    await bench.eventually(lambda: not bench.world.containers, "no container")


async def test_hooks_see_the_life_of_an_exec_and_one_that_raises_breaks_nothing(bench: Bench) -> None:
    seen: list[str] = []

    class Watcher:
        @hookimpl
        def jobd_exec_created(self, exec: Any, job: Any) -> None:
            seen.append(f"created {job.name}")

        @hookimpl
        def jobd_exec_ended(self, exec: Any) -> None:
            seen.append(f"ended {exec.status}")

    class Raiser:
        @hookimpl(tryfirst=True)
        def jobd_exec_created(self) -> None:
            raise RuntimeError("no")

    bench.plugins.register(Watcher())
    bench.plugins.register(Raiser())
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, 0)
    await bench.eventually(lambda: seen == ["created test", "ended S"], "the hooks")


async def test_a_plugin_sees_the_events_of_an_exec_in_their_order_however_slow_the_database(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    held = threading.Event()
    reads: list[Any] = []

    class Watcher:
        @hookimpl
        def jobd_exec_created(self) -> None:
            seen.append("created")

        @hookimpl
        def jobd_exec_ended(self) -> None:
            seen.append("ended")

    def slow_at_first(*query: Any) -> Job | None:
        reads.append(query)
        if len(reads) == 1:
            held.wait(60)
        return Job.get_or_none(*query)

    monkeypatch.setattr(plugin_events, "Job", SimpleNamespace(get_or_none=slow_at_first, id=Job.id))
    bench.plugins.register(Watcher())
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, 0)
    await bench.until(row, "S")
    await bench.eventually(lambda: len(reads) == 2, "the job to be read for the end, too")
    held.set()
    await bench.eventually(lambda: seen == ["created", "ended"], "the hooks")


async def test_a_plugin_may_change_or_refuse_a_run(bench: Bench) -> None:
    class Gate:
        @hookimpl
        def jobd_prepare_run(self, spec: RunSpec) -> RunSpec:
            if spec.argv == ("no",):
                raise RunRefused("not on a Friday")
            return replace(spec, memory=7)

    bench.plugins.register(Gate())
    engine = await bench.engine(bench.executor())
    refused = await bench.until(await bench.trigger(engine, command="no"), "F")
    assert (refused.reason, refused.message) == ("start_failed", "not on a Friday")
    await bench.until(await bench.trigger(engine), "R")
    assert [container.spec.memory for container in bench.world.containers.values()] == [7]


async def test_an_executor_that_is_told_of_an_unknown_handle_says_it_is_gone(bench: Bench) -> None:
    executor: MemoryExecutor = bench.executor()
    assert executor.statuses([Handle("x")])[Handle("x")].state is State.GONE
    bench.world.down = True
    with pytest.raises(RegionUnavailable):
        executor.statuses([])
