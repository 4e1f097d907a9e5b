"""An adapter of `requests` for SSH channels: a pool of HTTP connections, each of which is a channel."""

import time
from collections.abc import Callable
from typing import Any

import requests.adapters
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from jobd_ssh.channels import ChannelSocket

Open = Callable[[], ChannelSocket]

KEPT = 30.0
"""Seconds for which an unused channel is kept: on the remote host it may be a process and one of ten sessions."""
SIZE = 256
"""Maximum number of unused channels; more than a region ever opens."""


class ChannelConnection(HTTPConnection):
    def __init__(self, open: Open, timeout: Any) -> None:
        super().__init__("ssh", timeout=timeout)
        self._open = open
        self.sock: Any = None
        self.unused_since = 0.0

    def connect(self) -> None:
        self.sock = self._open()
        self.sock.settimeout(self.timeout)

    @property
    def is_connected(self) -> bool:
        return self.sock is not None and self.sock.usable


class ChannelPool(HTTPConnectionPool):
    def __init__(self, open: Open) -> None:
        super().__init__("ssh", maxsize=SIZE)
        self._open = open

    def _new_conn(self) -> ChannelConnection:
        return ChannelConnection(self._open, self.timeout.connect_timeout)

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.unused_since = time.monotonic()
        super()._put_conn(conn)
        self._close_unused()

    def _close_unused(self) -> None:
        stack = self.pool
        if stack is None:
            return
        before = time.monotonic() - KEPT
        with stack.mutex:
            old = [conn for conn in stack.queue if conn is not None and conn.unused_since < before]
            # The one put last is taken first, so the old ones are at the bottom.
            stack.queue[:] = [None if conn in old else conn for conn in stack.queue]
        for conn in old:
            conn.close()


class ChannelAdapter(requests.adapters.HTTPAdapter):
    """Sends all requests to the engine that `open` connects to."""

    def __init__(self, open: Open) -> None:
        super().__init__()
        self._pool = ChannelPool(open)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> ChannelPool:
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:
        return request.path_url

    def close(self) -> None:
        super().close()
        self._pool.close()
