"""How long a call may wait for the database. One that has waited too long is refused, and then never done."""

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar

MAX_WAIT = 10.0
"""The maximum time in seconds that a call waits for its turn and for locks held by others."""


class Claim:
    """The right to do one call: either the thread that does the call takes it, or whoever waits
    refuses it, never both.
    """

    def __init__(self, patience: float | None = None) -> None:
        """`patience` in seconds; None: `MAX_WAIT`."""
        self.until = time.monotonic() + (MAX_WAIT if patience is None else patience)
        self._lock = threading.Lock()
        self._is_open = True
        self.is_refused = False

    def take(self) -> bool:
        """From now on the call is being done, unless the database itself refuses it. False if it was taken or refused
        before.
        """
        with self._lock:
            was_open, self._is_open = self._is_open, False
            return was_open

    def refuse(self) -> bool:
        """From now on the call will not be done. False if it was taken or refused before."""
        with self._lock:
            was_open, self._is_open = self._is_open, False
            self.is_refused |= was_open
            return was_open

    def hold(self) -> bool:
        """Like `take`, but also True if the call was taken before."""
        return self.take() or not self.is_refused

    @property
    def may_wait(self) -> bool:
        """Whether somebody still waits for the call."""
        return not self.is_refused and time.monotonic() < self.until


class _Here(threading.local):
    claim: Claim | None = None
    """The claim of the call that this thread is doing."""


here = _Here()


class Departure:
    """Drops a request's queued calls when its client goes away."""

    def __init__(self, who: str = "") -> None:
        """`who` is the caller who takes turns with others."""
        self.who = who
        self.is_over = False
        self._waiting: set[Callable[[], None]] = set()

    def follow(self, give_up: Callable[[], None]) -> None:
        """Call `give_up` when the client goes away, or now if it has gone."""
        self._waiting.add(give_up)
        if self.is_over:
            give_up()

    def forget(self, give_up: Callable[[], None]) -> None:
        self._waiting.discard(give_up)

    def leave(self) -> None:
        """The client has gone away."""
        self.is_over = True
        for give_up in [*self._waiting]:
            give_up()


departure: ContextVar[Departure | None] = ContextVar("departure", default=None)
"""That of the request which a task answers. None if it answers no request, or several that share one answer."""
