"""Limits of a request's head, checked before it is parsed: Tornado makes an object of each header line and several of
each parameter, on the event loop and before the caller is known.
"""

from collections.abc import Awaitable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import Application

from jobd.errors import BadRequest
from jobd.web import json_text
from jobd.web.handler import Handler

MAX_LINES = 100
"""Header lines of a request; common servers and proxies have this limit, too."""
MAX_PARAMETERS = 100
"""Parameters of a query string."""
MAX_PATH = 2000
"""Characters of a path, since every pattern of the URL table is matched against it."""
_ERROR = {"source": "jobd", "code": "bad_request", "message": f"the request has more than {MAX_LINES} header lines"}
_WORDS = json_text.line({"errors": [_ERROR]})
_TOO_MANY_LINES = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_WORDS), _WORDS)
)


class Server(HTTPServer):
    """Refuses requests with too many header lines (431, RFC 6585) and closes the connection."""

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        read = stream.read_until_regex

        async def bounded(regex: bytes, max_bytes: int | None = None) -> bytes:
            head = await read(regex, max_bytes=max_bytes)
            if head.count(b"\n") > MAX_LINES + 2:
                await stream.write(_TOO_MANY_LINES)
                stream.close()
                raise StreamClosedError
            return head

        # Tornado calls this method for heads only.
        stream.read_until_regex = bounded  # type: ignore[method-assign]
        super().handle_stream(stream, address)


class BoundedApplication(Application):
    """Responds to a request with too long a path or too many parameters itself, without parsing them."""

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return _Requests(self, super().start_request(server_conn, request_conn), server_conn, request_conn)


class TooManyParameters(Handler):
    async def _check_head(self) -> None:
        raise BadRequest(f"the query has more than {MAX_PARAMETERS} parameters")


class PathTooLong(Handler):
    async def _check_head(self) -> None:
        raise BadRequest(f"the path has more than {MAX_PATH} characters")


class _Requests(HTTPMessageDelegate):
    def __init__(
        self, application: Application, usual: HTTPMessageDelegate, server_conn: object, request_conn: HTTPConnection
    ) -> None:
        self._application = application
        self._delegate = usual
        self._connections = {"server_connection": server_conn, "connection": request_conn}

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)  # noqa: S101
        path, _, query = start_line.path.partition("?")
        if len(path) > MAX_PATH:
            self._respond_with(PathTooLong, start_line._replace(path="/"), headers)
        elif query.count("&") >= MAX_PARAMETERS:
            self._respond_with(TooManyParameters, start_line._replace(path=path), headers)
        return self._delegate.headers_received(start_line, headers)

    def _respond_with(self, handler: type[Handler], start_line: RequestStartLine, headers: HTTPHeaders) -> None:
        request = HTTPServerRequest(start_line=start_line, headers=headers, **self._connections)  # type: ignore[arg-type]
        arguments = self._application.settings["default_handler_args"]
        self._delegate = self._application.get_handler_delegate(request, handler, arguments)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()
