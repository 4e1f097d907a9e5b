"""Threads for blocking calls, and their answers' way back."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from jobd.threads import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(2, "few")
    yield made
    made.close()


@pytest.mark.gen_test
async def test_answers_come_back_to_who_asked(threads: Threads) -> None:
    assert await asyncio.gather(*(threads.call(pow, n, 2) for n in range(500))) == [n * n for n in range(500)]


@pytest.mark.gen_test
async def test_what_a_call_raises_is_raised_where_it_has_subscribers(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.call(divmod, 1, 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.call(next, iter([]))


@pytest.mark.gen_test
async def test_no_more_calls_run_at_once_than_there_are_threads(threads: Threads) -> None:
    together, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        both.wait(5)
        with lock:
            together -= 1

    both = threading.Barrier(2)
    await asyncio.gather(*(threads.call(work) for _ in range(8)))
    assert most == 2


@pytest.mark.gen_test
async def test_a_call_that_nobody_awaits_any_more_is_not_begun(threads: Threads) -> None:
    gate, begun = threading.Event(), []
    busy = [threads.call(gate.wait) for _ in range(2)]
    unwanted = threads.call(begun.append, "begun")
    unwanted.cancel()
    gate.set()
    await asyncio.gather(*busy)
    await threads.call(int)
    assert not begun


@pytest.mark.gen_test
async def test_closing_waits_for_what_is_queued() -> None:
    threads, done = Threads(1, "one"), []
    for number in range(20):
        threads.call(done.append, number)
    threads.close()
    assert done == list(range(20))
    with pytest.raises(RuntimeError, match="closed"):
        threads.call(int)


@pytest.mark.gen_test
async def test_closing_without_waiting_forgets_what_is_queued() -> None:
    threads, gate = Threads(1, "one"), threading.Event()
    busy, queued = threads.call(gate.wait), threads.call(int)
    while len(threads._calls) != 1:
        await asyncio.sleep(0)
    threads.close(wait=False)
    with pytest.raises(asyncio.CancelledError):
        await queued
    gate.set()
    await busy


def test_threads_outlive_a_loop_and_what_it_left_unanswered() -> None:
    threads, gate = Threads(1, "one"), threading.Event()

    async def leave() -> None:
        threads.call(gate.wait)

    async def ask() -> int:
        return await threads.call(int, "7")

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(leave())
    first.close()
    gate.set()
    assert second.run_until_complete(ask()) == 7
    second.close()
    threads.close()
