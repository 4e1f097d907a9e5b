"""Threads for blocking calls, and the way of their results back into the loop.

This does what `loop.run_in_executor` does at a third of the cost: all results that come before the loop looks need only
one wake-up, and there is nothing but the future between caller and thread.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from jobd.fair_queue import FairQueue

T = TypeVar("T")

STEPS = 100
"""Steps of work that a thread does without a pause, in less than a millisecond."""
PAUSE = 0.0002
"""Seconds."""

_Call = tuple["_Answers", "asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Threads:
    """At most `most` threads, started when they are needed. A thread that hangs does not keep the
    process from ending.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._calls: FairQueue[_Call] = FairQueue()
        self._signals: SimpleQueue[bool] = SimpleQueue()
        """True for each call that was put into the queue, False for each thread that is to end."""
        self._threads: list[threading.Thread] = []
        self._answers: _Answers | None = None
        self._closed = False

    def call(self, fn: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """Call `fn` in a thread; the future has its result or error. Needs a running loop. If the future is cancelled
        before its turn, `fn` is not called.
        """
        return self.call_for("", fn, *args)

    def call_for(self, who: str, fn: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """The same for one of several callers, who take turns."""
        if self._closed:
            raise RuntimeError(f"{self._name}: closed")
        loop = asyncio.get_running_loop()
        answers = self._answers
        if answers is None or answers.loop is not loop:
            answers = self._answers = _Answers(loop)
        future = loop.create_future()
        answers.awaited += 1
        self._calls.put(who, (answers, future, fn, args))
        self._signals.put(True)
        if len(self._threads) < min(answers.awaited, self._most):
            thread = threading.Thread(target=self._work, name=f"{self._name}_{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def close(self, wait: bool = True) -> None:
        """Accept no more calls. With `wait`, wait until those in progress and in the queue are done; without, drop what
        is queued.
        """
        self._closed = True
        if not wait:
            self._forget()
        for _ in self._threads:
            self._signals.put(False)
        if wait:
            for thread in self._threads:
                thread.join()

    def _forget(self) -> None:
        while True:
            try:
                is_call = self._signals.get_nowait()
            except Empty:
                return
            if is_call:
                answers, future, _, _ = self._calls.get()
                answers.add(future, None, asyncio.CancelledError())

    def _work(self) -> None:
        while self._signals.get():
            call = self._calls.get()
            answers, future, fn, args = call
            result, error = None, None
            if not future.cancelled():
                try:
                    result = fn(*args)
                except BaseException as raised:  # raised where the result is awaited, whatever it is
                    error = raised
            answers.add(future, result, error)
            # An idle thread must not keep these objects alive.
            del call, answers, future, fn, args, result, error


def gently(steps: Iterable[T]) -> Iterator[T]:
    """The same steps, with short pauses: for a thread with much to do. Otherwise its loop would wait 5 ms for the
    interpreter's lock each time that it needs it.
    """
    for number, step in enumerate(steps, 1):
        yield step
        if number % STEPS == 0:
            time.sleep(PAUSE)


class _Answers:
    """The results that threads have for one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.awaited = 0
        """Calls that have no result yet."""
        self._results: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._is_scheduled = False

    def add(self, future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        self._results.append((future, result, error))
        if self._is_scheduled:
            return
        self._is_scheduled = True
        try:
            self.loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            self._results.clear()  # the loop is closed, so nobody waits

    def _deliver(self) -> None:
        # First of all: what is added from now on may wake the loop again, but is never left behind.
        self._is_scheduled = False
        while self._results:
            future, result, error = self._results.popleft()
            self.awaited -= 1
            if future.done():
                continue
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            elif error is not None:
                # A future does not accept StopIteration.
                future.set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)
            else:
                future.set_result(result)
