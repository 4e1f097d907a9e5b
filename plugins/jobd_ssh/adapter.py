"""requests over SSH channels: one pool of HTTP connections, each of them a channel."""

from collections.abc import Callable
from typing import Any

import requests.adapters
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from jobd_ssh.channels import ChannelSocket

Open = Callable[[], ChannelSocket]


class ChannelConnection(HTTPConnection):
    def __init__(self, open: Open, timeout: Any) -> None:
        super().__init__("ssh", timeout=timeout)
        self._open = open
        self.sock: Any = None

    def connect(self) -> None:
        self.sock = self._open()
        self.sock.settimeout(self.timeout)

    @property
    def is_connected(self) -> bool:
        return self.sock is not None and self.sock.usable


class ChannelPool(HTTPConnectionPool):
    def __init__(self, open: Open, size: int) -> None:
        super().__init__("ssh", maxsize=size)
        self._open = open

    def _new_conn(self) -> ChannelConnection:
        return ChannelConnection(self._open, self.timeout.connect_timeout)


class ChannelAdapter(requests.adapters.HTTPAdapter):
    """Sends every request to the one engine that `open` connects to; `size` idle channels are kept."""

    def __init__(self, open: Open, size: int) -> None:
        super().__init__()
        self._pool = ChannelPool(open, size)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> ChannelPool:
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:
        return request.path_url

    def close(self) -> None:
        super().close()
        self._pool.close()
