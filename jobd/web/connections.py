"""Clients' connections: how many there may be, how long an idle one lives, and which gives way to a new one.

A connection is nobody's until a request on it said who asks. Nobody's connections are short of time, and the first to
give way: of the address that has most of them, the one that has done nothing for longest. So whoever takes all that
there are takes them from himself. One whose caller is known gives way only between requests, and only when there is
none of nobody's.
"""

import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from tornado.iostream import IOStream

from jobd.descriptors import MAX_CONNECTIONS

NOBODYS_PATIENCE = 30.0
"""Seconds that nobody's connection has for a whole request, and to take the answer; and that it lives without one."""
IDLE_TIMEOUT = 300.0
"""The same in seconds for a caller's connection, from one answer to the whole head of the next request."""
IPV6_NETWORK = 64
"""Bits of an IPv6 address that tell one customer's network from another's."""

Reason = Literal["idle", "evicted"]


@dataclass(eq=False, slots=True)
class Connection:
    """`since`: when it last made progress, in seconds of the monotonic clock."""

    stream: IOStream
    address: str
    since: float
    is_known: bool = False
    is_busy: bool = False
    """Whether a request of a known caller is under way."""


class _Waiting:
    """Connections that may give way, by address, of each address the one idle for longest first."""

    def __init__(self) -> None:
        self._by_address: dict[str, dict[Connection, None]] = {}
        self.count = 0

    def add(self, connection: Connection) -> None:
        self._by_address.setdefault(connection.address, {})[connection] = None
        self.count += 1

    def remove(self, connection: Connection) -> None:
        """Of one that is not there: nothing."""
        others = self._by_address.get(connection.address, {})
        if connection in others:
            del others[connection]
            self.count -= 1
            if not others:
                del self._by_address[connection.address]

    def first_to_go(self) -> Connection | None:
        if not self._by_address:
            return None
        most = max(self._by_address, key=lambda address: len(self._by_address[address]))
        return next(iter(self._by_address[most]))

    def idle_since(self, instant: float) -> Iterator[Connection]:
        for connections in self._by_address.values():
            for connection in connections:
                if connection.since > instant:
                    break
                yield connection


class Connections:
    """At most `capacity` connections; `on_closed` is told why one was closed here. Used in the loop thread alone."""

    def __init__(
        self,
        capacity: int = MAX_CONNECTIONS,
        on_closed: Callable[[Reason], None] = lambda reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self._on_closed = on_closed
        self._clock = clock
        self._all: dict[IOStream, Connection] = {}
        self._nobodys = _Waiting()
        self._callers = _Waiting()
        """Of known callers, between requests."""

    def __len__(self) -> int:
        return len(self._all)

    @property
    def nobodys(self) -> int:
        """How many of all are nobody's."""
        return self._nobodys.count

    @property
    def is_full(self) -> bool:
        """Whether there is no room, and none can be made, for one more."""
        return len(self._all) >= self.capacity and not self._nobodys.count and not self._callers.count

    def opened(self, stream: IOStream, address: str) -> None:
        """A client connected. If it is one too many, another gives way."""
        if len(self._all) >= self.capacity:
            given_way = self._nobodys.first_to_go() or self._callers.first_to_go()
            if given_way is not None:
                self._close(given_way, "evicted")
        connection = self._all[stream] = Connection(stream, source(address), self._clock())
        self._nobodys.add(connection)

    def closed(self, stream: IOStream) -> None:
        """Of one that is known no more: nothing."""
        connection = self._all.pop(stream, None)
        if connection is not None:
            self._nobodys.remove(connection)
            self._callers.remove(connection)

    def identified(self, stream: IOStream) -> None:
        """The request under way is a known caller's."""
        connection = self._all.get(stream)
        if connection is not None:
            self._nobodys.remove(connection)
            self._callers.remove(connection)
            connection.is_known = connection.is_busy = True

    def waits(self, stream: IOStream) -> None:
        """It was given its answer, or may send its next request."""
        connection = self._all.get(stream)
        if connection is not None:
            connection.is_busy = False
            connection.since = self._clock()
            waiting = self._callers if connection.is_known else self._nobodys
            waiting.remove(connection)
            waiting.add(connection)

    def close_idle(self) -> None:
        """Close those whose time is over."""
        now = self._clock()
        for connection in (
            *self._nobodys.idle_since(now - NOBODYS_PATIENCE),
            *self._callers.idle_since(now - IDLE_TIMEOUT),
        ):
            self._close(connection, "idle")

    def _close(self, connection: Connection, reason: Reason) -> None:
        self.closed(connection.stream)
        self._on_closed(reason)
        connection.stream.close()


def source(address: str) -> str:
    """Whose share a connection counts to: an address, of IPv6 its network."""
    with suppress(ValueError):
        if ":" in address:
            return str(ipaddress.ip_network((address.partition("%")[0], IPV6_NETWORK), strict=False))
    return address
