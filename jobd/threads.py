"""Threads for calls that block, and their answers' way back into the loop.

As `loop.run_in_executor`, at a third of its price: whatever was answered until the loop looks comes in one wake-up, and
nothing but the future stands between caller and thread.
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
    """At most `most` threads, made as they are needed. One that hangs does not keep the process from ending."""

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
        """What `fn` answers or raises. In a running loop; a future that is cancelled before its turn is not called."""
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
        """Take no more calls. `wait` until those under way and in the queue are done, or forget what is queued."""
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
                except BaseException as raised:  # whoever waits is to have it, whatever it is
                    error = raised
            answers.add(future, result, error)
            # An idle thread keeps nothing alive.
            del call, answers, future, fn, args, result, error


def gently(steps: Iterable[T]) -> Iterator[T]:
    """The same steps, with pauses between some of them: to be used in a thread with much to do, whose loop would else
    wait for the interpreter's lock for 5 ms each time that it wants it.
    """
    for number, step in enumerate(steps, 1):
        yield step
        if number % STEPS == 0:
            time.sleep(PAUSE)


class _Answers:
    """What threads have to say to one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.awaited = 0
        """Calls without an answer so far."""
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
            self._results.clear()  # the loop is closed: nobody waits

    def _deliver(self) -> None:
        # First: what is added from here on may tell the loop again, but is never left behind.
        self._is_scheduled = False
        while self._results:
            future, result, error = self._results.popleft()
            self.awaited -= 1
            if future.done():
                continue
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            elif error is not None:
                # A future takes no StopIteration.
                future.set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)
            else:
                future.set_result(result)
