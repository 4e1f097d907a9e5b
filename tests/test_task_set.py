"""Tasks that nobody awaits."""

import asyncio

import pytest

from jobd.task_set import TaskSet

pytestmark = pytest.mark.gen_test


async def test_tasks_that_others_start_are_waited_for_too() -> None:
    tasks, done = TaskSet(), []

    async def work(left: int) -> None:
        await asyncio.sleep(0)
        done.append(left)
        if left:
            tasks.spawn(work(left - 1))

    tasks.spawn(work(3))
    await tasks.wait()
    assert (done, len(tasks)) == ([3, 2, 1, 0], 0)


async def test_a_wait_ends_in_time_and_what_is_cancelled_is_over() -> None:
    tasks = TaskSet()
    endless = tasks.spawn(asyncio.Event().wait())
    await tasks.wait(0.01)
    assert len(tasks) == 1
    tasks.cancel()
    await tasks.wait()
    assert endless.cancelled()


async def test_what_one_raises_reaches_no_other() -> None:
    tasks = TaskSet()

    async def fails() -> None:
        raise RuntimeError("no")

    failed = tasks.spawn(fails())
    well = tasks.spawn(asyncio.sleep(0, "well"))
    await tasks.wait()
    assert (await well, str(failed.exception())) == ("well", "no")
