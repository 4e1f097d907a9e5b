"""One POST to a server that is not ours, about which nothing is assumed.

The connection goes to an address that was checked, not to a name that may stand for another one by then. Redirects are
not followed, proxies of the environment are not used, TLS is verified, and only the beginning of an answer is read.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from jobd.delivery.addresses import Network, may_be_sent_to
from jobd.errors import DeliveryFailed, DeliveryRefused
from jobd.fair_streams import PlainStream, TlsStream
from jobd.loop_turns import Turns

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds for everything: look-up of the name, connection, request and answer."""
CONNECT_PATIENCE = 10.0
"""Seconds for each of a name's addresses."""
MAX_ADDRESSES = 4
MAX_KEPT = 4096
"""The maximum number of bytes of an answer's body that are read and kept."""
MAX_HEADERS = 32 * 2**10
PORTS = {"http": 80, "https": 443}

Lookup = Callable[..., list[Any]]


@dataclass(frozen=True)
class Answer:
    """An answer; `body` is only the beginning of its body."""

    status: int
    headers: HTTPHeaders
    body: bytes


class Poster:
    """`allowed` are networks that may be sent to although they are not public; `lookup` is `socket.getaddrinfo`."""

    def __init__(self, allowed: Iterable[Network], threads: int, lookup: Lookup = socket.getaddrinfo) -> None:
        self._allowed = tuple(allowed)
        self._lookup = lookup
        # As many as there are deliveries at a time: a name that no server resolves occupies its own thread, and no
        # other's.
        self._names = ThreadPoolExecutor(threads, thread_name_prefix="jobd-names")
        self._turns = Turns()
        """Of answers that are being read: one that comes in many small pieces must not occupy the loop."""

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Created in a thread when it is first needed: reading which authorities the machine trusts
        takes some 50 ms.
        """
        return ssl.create_default_context()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, patience: float = PATIENCE) -> Answer:
        """Send the request; returns the answer. Raises DeliveryFailed if there was none."""
        reading = _Reading()
        try:
            async with asyncio.timeout(patience):
                await self._exchange(urlsplit(url), headers, body, reading)
        except TimeoutError:
            if reading.status is None:
                raise DeliveryFailed(f"no answer within {patience:.0f} s") from None
        except (StreamClosedError, HTTPInputError, UnsatisfiableReadError) as error:
            if reading.status is None:
                raise DeliveryFailed(f"the connection broke: {_reason(error)}") from error
        if reading.status is None:
            raise DeliveryFailed("the answer is no HTTP")
        return Answer(reading.status, reading.headers, bytes(reading.body))

    def close(self) -> None:
        self._names.shutdown(wait=False, cancel_futures=True)

    async def _exchange(self, url: SplitResult, headers: Mapping[str, str], body: bytes, reading: "_Reading") -> None:
        stream = await self._connect(url)
        try:
            parameters = HTTP1ConnectionParameters(
                no_keep_alive=True, max_header_size=MAX_HEADERS, max_body_size=2**62, decompress=False
            )
            connection = HTTP1Connection(stream, True, parameters)
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            sent = HTTPHeaders({"Host": url.netloc, **headers, "Content-Length": str(len(body)), "Connection": "close"})
            connection.write_headers(RequestStartLine("POST", path, ""), sent, body)
            connection.finish()
            answered: asyncio.Future[Any] = asyncio.ensure_future(connection.read_response(reading))
            try:
                # A server may answer before it has read everything: that counts as an answer.
                await asyncio.wait([answered, reading.enough], return_when=asyncio.FIRST_COMPLETED)
                if answered.done():
                    answered.result()
            finally:
                answered.cancel()
        finally:
            stream.close()

    async def _connect(self, url: SplitResult) -> IOStream:
        reasons: list[_Reason] = []
        tls = await asyncio.to_thread(lambda: self._tls) if url.scheme == "https" else None
        for family, *_, address in await self._addresses(url):
            connection = socket.socket(family)
            stream = self._stream(connection, tls)
            try:
                async with asyncio.timeout(CONNECT_PATIENCE):
                    return await stream.connect(address, server_hostname=url.hostname if tls else None)
            except TimeoutError:
                reasons.append(_Reason(address[0], "it does not answer"))
            except (OSError, StreamClosedError) as error:
                reasons.append(_Reason(address[0], _reason(error)))
            except BaseException:
                stream.close()
                raise
            stream.close()
        log.info("no connection to %s: %s", url.hostname, "; ".join(f"{one.address}: {one.words}" for one in reasons))
        raise DeliveryFailed(f"no connection: {'; '.join(dict.fromkeys(one.words for one in reasons))}")

    def _stream(self, connection: socket.socket, tls: ssl.SSLContext | None) -> IOStream:
        if tls is None:
            return PlainStream(connection, turns=self._turns)
        return TlsStream(connection, turns=self._turns, ssl_options=tls)

    async def _addresses(self, url: SplitResult) -> list[Any]:
        """All addresses of the URL's host. Raises DeliveryFailed, even if only one of them may not be sent to."""
        port = url.port or PORTS[url.scheme]
        loop = asyncio.get_running_loop()
        try:
            addresses = await loop.run_in_executor(
                self._names, lambda: self._lookup(url.hostname, port, type=socket.SOCK_STREAM)
            )
        except (OSError, UnicodeError) as error:
            raise DeliveryFailed(f"the name {url.hostname} is not known: {_reason(error)}") from error
        for *_, address in addresses:
            if not may_be_sent_to(address[0], self._allowed):
                detail = f"{url.hostname} is {address[0]}, no public address, and [webhooks] allow_networks lacks it"
                raise DeliveryRefused(f"{url.hostname} may not be sent to", detail, _is_address(url.hostname))
        if not addresses:
            raise DeliveryFailed(f"the name {url.hostname} has no address")
        return addresses[:MAX_ADDRESSES]


class _Reason(NamedTuple):
    """Why there was no connection. Only the operator may know which addresses a name has."""

    address: str
    words: str


class _Reading(HTTPMessageDelegate):
    """What has come of an answer so far; `enough` is done once no more of it is needed."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers = HTTPHeaders()
        self.body = bytearray()
        self.enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        assert isinstance(start_line, ResponseStartLine)  # noqa: S101
        if start_line.code >= 200:
            self.status, self.headers = start_line.code, headers

    def data_received(self, chunk: bytes) -> None:
        self.body += chunk[: MAX_KEPT - len(self.body)]
        if len(self.body) == MAX_KEPT:
            self._stop()

    def finish(self) -> None:
        self._stop()

    def on_connection_close(self) -> None:
        self._stop()

    def _stop(self) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):
            self.enough.set_result(None)


def _is_address(host: str | None) -> bool:
    try:
        return bool(ip_address(host or ""))
    except ValueError:
        return False


def _reason(error: BaseException) -> str:
    real = getattr(error, "real_error", None) or error
    return getattr(real, "strerror", None) or str(real) or type(real).__name__
