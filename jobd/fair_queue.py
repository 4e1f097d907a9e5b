"""A queue in which callers take turns: who puts in much waits for himself."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Of each caller, first in, first out. For any threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[T]] = {}
        """By caller, the one whose turn is next at the beginning."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, who: str, item: T) -> None:
        with self._lock:
            self._waiting.setdefault(who, deque()).append(item)
            self._count += 1

    def get(self) -> T:
        """Of the caller whose turn it is. IndexError when there is none."""
        with self._lock:
            who = next(iter(self._waiting), None)
            if who is None:
                raise IndexError("the queue is empty")
            items = self._waiting.pop(who)
            item = items.popleft()
            self._count -= 1
            if items:
                self._waiting[who] = items
            return item

    def drop_first_while(self, is_over: Callable[[T], bool]) -> None:
        """Of each caller, what is first and over, until one is not."""
        with self._lock:
            for who, items in [*self._waiting.items()]:
                while items and is_over(items[0]):
                    items.popleft()
                    self._count -= 1
                if not items:
                    del self._waiting[who]
