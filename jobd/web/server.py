"""The HTTP server, with a limit on its connections."""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPConnection, HTTPMessageDelegate
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from jobd.loop_turns import Turns
from jobd.periodic import Periodic
from jobd.web import request_heads
from jobd.web.connections import Connections
from jobd.web.streams import Stream

log = logging.getLogger(__name__)

ACCEPTED_AT_ONCE = 32
"""Connections that are accepted in one iteration of the event loop, which serves others in between. With fewer, a
client that connects after a burst waits longer: after 200 others, 265 ms with 8 and 134 ms with 32.
"""
PAUSE = 0.5
"""Seconds without accepting when no connection is free; new ones meanwhile wait in the kernel's queue."""
CLOSE_IDLE_EVERY = 1.0
"""Seconds between two searches for connections whose timeout has passed."""
WARN_EVERY = 60.0
"""Seconds between two warnings that no connection is free."""
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server(request_heads.Server):
    """Calls `on_pause` when no connection is free; the other arguments are HTTPServer's. Not thread-safe: for the event
    loop only.
    """

    def initialize(  # type: ignore[override]
        self, application: Any, connections: Connections, on_pause: Callable[[], None] = lambda: None, **more: Any
    ) -> None:
        super().initialize(application, **more)
        self._open = connections
        self._on_pause = on_pause
        self._listening: set[socket.socket] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._warned_at = float("-inf")
        self._loop = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
        self._turns = Turns()
        self._closing_idle = Periodic(connections.close_idle, CLOSE_IDLE_EVERY * 1000)

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        for listener in sockets:
            self._listening.add(listener)
            self._listen(listener)
        self._closing_idle.start()

    def stop(self) -> None:
        """Accept no more connections; requests in progress go on."""
        self._closing_idle.stop()
        while self._listening:
            listener = self._listening.pop()
            self._loop.remove_reader(listener)
            if pause := self._pauses.pop(listener, None):
                pause.cancel()
            listener.close()

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        self._open.opened(stream, str(address[0]))
        super().handle_stream(stream, address)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        assert isinstance(request_conn, HTTP1Connection)  # noqa: S101
        self._open.waits(request_conn.stream)
        return super().start_request(server_conn, request_conn)

    def on_close(self, server_conn: Any) -> None:
        self._open.closed(server_conn.stream)
        super().on_close(server_conn)

    def _listen(self, listener: socket.socket) -> None:
        self._pauses.pop(listener, None)
        self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if self._open.is_full:
                self._pause(listener, f"all {len(self._open)} connections are in use")
                return
            try:
                accepted, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._pause(listener, str(error.strerror))
                    return
                # The client has gone again, or its network has failed (accept(2)).
                continue
            stream = Stream(accepted, turns=self._turns, read_chunk_size=self.read_chunk_size)
            self.handle_stream(stream, address)

    def _pause(self, listener: socket.socket, why: str) -> None:
        self._loop.remove_reader(listener)
        self._pauses[listener] = self._loop.call_later(PAUSE, partial(self._listen, listener))
        self._on_pause()
        if time.monotonic() - self._warned_at >= WARN_EVERY:
            self._warned_at = time.monotonic()
            log.warning("new connections have to wait: %s", why)
