"""A queue in which callers take turns: a caller with many items waits behind his own."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """For each caller, first in, first out. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[T]] = {}
        """Items by caller; the caller whose turn is next comes first."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, who: str) -> bool:
        """Whether this caller has an item in the queue."""
        return who in self._waiting

    def put(self, who: str, item: T) -> None:
        with self._lock:
            self._waiting.setdefault(who, deque()).append(item)
            self._count += 1

    def get(self) -> T:
        """The first item of the caller whose turn it is. Raises IndexError if the queue is empty."""
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

    def remove(self, who: str, item: T) -> bool:
        """Take out an item of a caller; returns whether it was in the queue."""
        with self._lock:
            items = self._waiting.get(who, deque())
            try:
                items.remove(item)
            except ValueError:
                return False
            self._count -= 1
            if not items:
                del self._waiting[who]
            return True

    def newest_of_longest(self) -> tuple[str, T]:
        """The caller with the most items, and the newest of them. Raises ValueError if the queue is empty."""
        with self._lock:
            who = max(self._waiting, key=lambda who: len(self._waiting[who]))
            return who, self._waiting[who][-1]

    def drop_first_while(self, is_over: Callable[[T], bool]) -> None:
        """For each caller, drop items from the front while they are over."""
        with self._lock:
            for who, items in [*self._waiting.items()]:
                while items and is_over(items[0]):
                    items.popleft()
                    self._count -= 1
                if not items:
                    del self._waiting[who]
