"""Clients' connections: how many there may be, how long an idle one lives, and which one is closed for a new one.

A connection is anonymous until a request on it was authenticated. Anonymous connections have a short timeout and are
evicted first: of the address that has most of them, the one that was idle for longest. So a client that opens too many
closes its own. A connection with a known caller is evicted only between requests, and only when no anonymous one is
left.
"""

import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from tornado.iostream import IOStream

from jobd.descriptors import MAX_CONNECTIONS

ANONYMOUS_TIMEOUT = 30.0
"""Seconds that an anonymous connection has to send a whole request and to take the response, and may be idle."""
IDLE_TIMEOUT = 300.0
"""Seconds that a known caller's connection may take from a response to the complete head of the next request."""
IPV6_NETWORK = 64
"""Bits of an IPv6 address that identify one customer's network."""

Reason = Literal["idle", "evicted"]


@dataclass(eq=False, slots=True)
class Connection:
    """`since` is when it last made progress, in seconds of the monotonic clock."""

    stream: IOStream
    address: str
    since: float
    is_known: bool = False
    is_busy: bool = False
    """Whether a known caller's request is in progress."""


class _Evictable:
    """Connections that may be closed for a new one, by address; of each address the one idle for longest first."""

    def __init__(self) -> None:
        self._by_address: dict[str, dict[Connection, None]] = {}
        self.count = 0

    def add(self, connection: Connection) -> None:
        self._by_address.setdefault(connection.address, {})[connection] = None
        self.count += 1

    def remove(self, connection: Connection) -> None:
        """Does nothing for a connection that is not there."""
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
    """At most `capacity` connections; `on_closed` is called with the reason for closing one. Not thread-safe: for the
    event loop only.
    """

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
        self._anonymous = _Evictable()
        self._idle = _Evictable()
        """Of known callers, between requests."""

    def __len__(self) -> int:
        return len(self._all)

    @property
    def anonymous(self) -> int:
        """The number of anonymous connections."""
        return self._anonymous.count

    @property
    def is_full(self) -> bool:
        """Whether all connections are in use and none may be evicted."""
        return len(self._all) >= self.capacity and not self._anonymous.count and not self._idle.count

    def opened(self, stream: IOStream, address: str) -> None:
        """A client connected. If that is one too many, another connection is closed."""
        if len(self._all) >= self.capacity:
            evicted = self._anonymous.first_to_go() or self._idle.first_to_go()
            if evicted is not None:
                self._close(evicted, "evicted")
        connection = self._all[stream] = Connection(stream, source(address), self._clock())
        self._anonymous.add(connection)

    def closed(self, stream: IOStream) -> None:
        """A connection ended. Does nothing for one that was closed here."""
        connection = self._all.pop(stream, None)
        if connection is not None:
            self._anonymous.remove(connection)
            self._idle.remove(connection)

    def identified(self, stream: IOStream) -> None:
        """The request in progress has a known caller."""
        connection = self._all.get(stream)
        if connection is not None:
            self._anonymous.remove(connection)
            self._idle.remove(connection)
            connection.is_known = connection.is_busy = True

    def waits(self, stream: IOStream) -> None:
        """The response was sent, or the next request may come."""
        connection = self._all.get(stream)
        if connection is not None:
            connection.is_busy = False
            connection.since = self._clock()
            waiting = self._idle if connection.is_known else self._anonymous
            waiting.remove(connection)
            waiting.add(connection)

    def close_idle(self) -> None:
        """Close the connections whose timeout has passed."""
        now = self._clock()
        for connection in (
            *self._anonymous.idle_since(now - ANONYMOUS_TIMEOUT),
            *self._idle.idle_since(now - IDLE_TIMEOUT),
        ):
            self._close(connection, "idle")

    def _close(self, connection: Connection, reason: Reason) -> None:
        self.closed(connection.stream)
        self._on_closed(reason)
        connection.stream.close()


def source(address: str) -> str:
    """What counts as one client: an IPv4 address, or the network of an IPv6 address."""
    with suppress(ValueError):
        if ":" in address:
            return str(ipaddress.ip_network((address.partition("%")[0], IPV6_NETWORK), strict=False))
    return address
