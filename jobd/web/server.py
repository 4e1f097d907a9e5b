"""The HTTP server, which accepts no more connections than there is room for."""

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
"""Connections that are accepted in one round of the loop, which serves everybody else in between. With few, whoever
connects behind a burst waits longer: 8 made it 265 ms behind 200, 32 make it 134.
"""
PAUSE = 0.5
"""Seconds without accepting when there is no room; who comes meanwhile waits in the kernel's queue."""
LOOK_EVERY = 1.0
"""Seconds between two looks for connections whose time is over."""
TELL_EVERY = 60.0
"""Seconds between two lines of the log about a want of room."""
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server(request_heads.Server):
    """`on_pause` is told when there is no room for a connection; the others are HTTPServer's. Used in the loop."""

    def initialize(  # type: ignore[override]
        self, application: Any, connections: Connections, on_pause: Callable[[], None] = lambda: None, **more: Any
    ) -> None:
        super().initialize(application, **more)
        self._open = connections
        self._on_pause = on_pause
        self._listening: set[socket.socket] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._told_at = float("-inf")
        self._loop = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
        self._turns = Turns()
        self._looking = Periodic(connections.close_idle, LOOK_EVERY * 1000)

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        for listener in sockets:
            self._listening.add(listener)
            self._listen(listener)
        self._looking.start()

    def stop(self) -> None:
        """Accept no more; what is under way goes on."""
        self._looking.stop()
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
                if error.errno in NO_ROOM:
                    self._pause(listener, str(error.strerror))
                    return
                # Of a client that is gone again, or of its network (accept(2)).
                continue
            stream = Stream(accepted, turns=self._turns, read_chunk_size=self.read_chunk_size)
            self.handle_stream(stream, address)

    def _pause(self, listener: socket.socket, why: str) -> None:
        self._loop.remove_reader(listener)
        self._pauses[listener] = self._loop.call_later(PAUSE, partial(self._listen, listener))
        self._on_pause()
        if time.monotonic() - self._told_at >= TELL_EVERY:
            self._told_at = time.monotonic()
            log.warning("no room for new connections, they have to wait: %s", why)
