"""The base of all handlers: authenticates and authorizes requests, reads bodies within limits, responds in JSON."""

import asyncio
import logging
import math
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, NoReturn, TypeVar, cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from jobd import daemon_log
from jobd.errors import (
    BadRequest,
    JobdError,
    NotFound,
    PayloadTooLarge,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
)
from jobd.store.callers import Caller
from jobd.store.db.columns import MAX_ID
from jobd.store.db.deadlines import Departure, departure
from jobd.store.namespaces import USERNAME
from jobd.web import authentication, compression, cors, error_responses, json_body, json_text
from jobd.web.permissions import LOCAL, PUBLIC, Rules, Who, check, rule
from jobd.web.proxies import use_forwarded_address
from jobd.web.requests import Body, Nothing, Query, read_body, read_query
from jobd.web.services import Engine, Services
from jobd.web.validation import shown

__all__ = ["Engine", "Handler", "NoSuchPath", "Services"]

log = logging.getLogger(__name__)

B = TypeVar("B", bound=Body)
Result = TypeVar("Result")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
MAX_DROPPED = 64 * 2**20
"""Bytes of a refused request's body that are read and discarded, so that a client that is still sending gets to read
the response; after more than that the connection is closed.
"""
PIECE = 128 * 2**10
"""Bytes of a response that are written to the connection at once, which copies what it is given."""
JSON = "application/json"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


@stream_request_body
class Handler(RequestHandler):
    """The base of all handlers. A subclass has Tornado's methods, `get`, `post` and so on, and declares the models of
    their query strings in `queries`.

    Whether a request is allowed is decided by its head, before its body is read. If it is refused, its body is read
    and discarded, and the error is sent in place of calling the method.
    """

    queries: ClassVar[dict[str, type[Query]]] = {}
    body_types: ClassVar[tuple[str, ...]] = (JSON,)
    is_limited: ClassVar[bool] = True
    """Whether `[limits] requests_per_minute` applies."""
    _common_headers: Mapping[str, str] = {}
    """Headers of every response, errors included."""

    def initialize(self, services: Services, rules: Rules) -> None:
        """`rules` says who may call which method of this address."""
        use_forwarded_address(self.request, services.settings.jobd.trusted_proxies)
        self.services = services
        self.rules = rules
        self.caller: Caller
        self.query: Any = None
        """The query string, as the model in `queries`."""
        self._received: bytearray | None = bytearray()
        self._length = 0
        self._max_length = json_body.MAX_ANONYMOUS
        self.sent_bytes = 0
        """Bytes of the response's body so far, before compression."""
        self._refusal: BaseException | None = None
        self._departure = Departure()

    async def prepare(self) -> None:
        self.services.requests.begin(self)
        departure.set(self._departure)
        self._departure.who = self.share_key
        daemon_log.bind_log_context(request_id=self.request_id, **_ids_in(self.request.path))
        try:
            await self._check_head()
        except Exception as error:
            self._refuse(error)
            if self.request.headers.get("Expect", "").lower() == "100-continue":
                raise

    async def _check_head(self) -> None:
        if self.services.settings.auth.mode == "none":
            authentication.check_origin(self.request)
        origins = self.services.settings.api.cors_origins
        self._add_headers(cors.allowed(self.request, origins))
        if cors.is_preflight(self.request, origins):
            self._add_headers(cors.preflight(self.methods()))
            return
        method = self.request.method or ""
        who = rule(self.rules, method)
        if who is LOCAL and authentication.is_local(self.request):
            who = PUBLIC
        await self._identify(who)
        most = self.services.settings.limits.max_body
        self._max_length = min(most, json_body.MAX_ANONYMOUS) if who is PUBLIC else most
        if method not in self.methods():
            raise HTTPError(405)
        if who is not PUBLIC:
            check(who, method, self.caller)
        model = self.queries.get("GET" if method == "HEAD" else method, Query)
        self.query = read_query(model, self.request.query_arguments)
        # Tornado refuses a Content-Length that is not a number.
        length = self.request.headers.get("Content-Length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > self._max_length):
            raise self._too_large()

    async def _identify(self, who: Who | None) -> None:
        """Set the caller and count the request against its rate limit; without a caller, against the address's.

        Raises Unauthorized, TooManyRequests.
        """
        by_address = f"address {self.request.remote_ip}"
        if who is PUBLIC:
            self._count(by_address)
            return
        try:
            self.caller = await authentication.identify(self.request, self.request_id, self.services)
        except Unauthorized:
            self._count(by_address)
            raise
        self._departure.who = self.share_key
        self.services.connections.identified(self._stream)
        self._count(authentication.rate_limit_key(self.request, self.caller) or by_address)

    def _count(self, who: str) -> None:
        rate = self.services.rates.take(who) if self.is_limited else None
        if rate is None:
            return
        self._add_headers(rate.headers())
        if rate.wait is not None:
            raise TooManyRequests(f"more than {rate.limit} requests per minute", retry_after=rate.wait)

    def _add_headers(self, headers: Mapping[str, str]) -> None:
        self._common_headers = {**self._common_headers, **headers}
        for name, value in headers.items():
            self.set_header(name, value)

    def data_received(self, chunk: bytes) -> Awaitable[None]:
        self._length += len(chunk)
        try:
            if self._received == b"":
                self._check_type()
            if self._received is not None and self._length > self._max_length:
                raise self._too_large()
        except JobdError as error:
            self._refuse(error)
        if self._received is not None:
            self._received += chunk
        elif self._length > self._max_length + MAX_DROPPED and not self._finished:
            self._send_error(self._refusal)
        # Else Tornado would read on without pause: a megabyte of one client's before anything of another's.
        return asyncio.sleep(0)

    def on_finish(self) -> None:
        self.services.requests.end(self)
        self.services.connections.waits(self._stream)

    def on_connection_close(self) -> None:
        self._departure.leave()
        self.services.requests.end(self)
        super().on_connection_close()

    async def head(self, *args: str) -> None:
        """Like GET; Tornado leaves out the body."""
        await self.get(*args)  # type: ignore[misc]  # `methods` lets HEAD in only where there is a `get`

    def options(self, *args: str) -> None:
        self.set_header("Allow", self._allow())
        self.set_status(204)

    @property
    def _stream(self) -> IOStream:
        return cast(HTTP1Connection, self.request.connection).stream

    @property
    def request_id(self) -> str:
        """The client's X-Request-Id if it is valid, else a new one; the same throughout the request."""
        header = self.request.headers.get("X-Request-Id", "")
        if not REQUEST_ID.fullmatch(header):
            header = self.request.headers["X-Request-Id"] = uuid.uuid4().hex
        return header

    @property
    def share_key(self) -> str:
        """The key by which this request takes turns with those of other callers."""
        return authentication.share_key(self.request, getattr(self, "caller", None))

    async def parse_body(self, parse: Callable[[dict[str, Any]], Result]) -> Result:
        """Call `parse` with the request's JSON object, which is empty for an empty body; in a thread unless that is
        little work. Raises BadRequest, InvalidArgs, TooManyRequests, and what `parse` raises.
        """
        data = self.received()
        if json_body.is_light(data):
            return parse(json_body.parse(data) if data else {})
        return await self.services.bodies.call(self.share_key, lambda: parse(json_body.parse(data)))

    async def read_body(self, model: type[B]) -> B:
        """The request's body as this model. Raises BadRequest, InvalidArgs, TooManyRequests."""
        return await self.parse_body(partial(read_body, model))

    async def no_body(self) -> None:
        """Raises InvalidArgs if the body has any fields."""
        await self.read_body(Nothing)

    def received(self) -> bytes:
        """The request's body as it came; empty if the request was refused."""
        return bytes(self._received or b"")

    def number(self, text: str) -> int:
        """An id from the URL. Raises NotFound for one that no row can have."""
        if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > MAX_ID:
            raise NotFound("there is nothing at this address")
        return int(text)

    def account_name(self, text: str) -> str:
        """A user's or an organization's name from the URL. Raises NotFound for one that none can have."""
        if not USERNAME.fullmatch(text):
            raise NotFound("there is nothing at this address")
        return text

    def exec_id(self, text: str) -> str:
        """An exec's id from the URL. Raises NotFound for one that is not a UUID."""
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text.lower(), re.ASCII):
            raise NotFound("there is nothing at this address")
        return text.lower()

    def write(self, chunk: str | bytes | dict[str, Any]) -> None:
        if self.request.method != "HEAD":
            self.sent_bytes += len(chunk.encode() if isinstance(chunk, str) else chunk)
        super().write(chunk)

    def reply(self, value: Any, status: int = 200) -> None:
        """Respond in JSON, encoded on the event loop: for a value that is small whatever the request."""
        self._reply_written(json_text.line(value), status)

    async def reply_with(self, make: Callable[[], Any], is_small: bool, status: int = 200) -> None:
        """Respond in JSON with what `make` returns; made and encoded in a thread unless it is small."""
        if is_small:
            self.reply(make(), status)
        else:
            written = await self.services.answers.call(self.share_key, lambda: json_text.line(make()))
            await self.reply_written(written, status)

    async def reply_written(self, data: bytes, status: int = 200) -> None:
        """Respond with encoded JSON. A long response is compressed in a thread and sent a piece at a time, as fast as
        the client reads it.
        """
        if len(data) > compression.MAX_AT_ONCE and "Etag" not in self._headers:
            self.add_header("Vary", "Accept-Encoding")
            if compression.accepts_gzip(self.request.headers.get("Accept-Encoding", "")):
                self.set_header("Content-Encoding", "gzip")
                data = await asyncio.to_thread(compression.gzipped, data)
        if len(data) > PIECE:
            self.set_status(status)
            self.set_header("Content-Type", JSON)
            self.set_header("Content-Length", str(len(data)))
            # A client may disconnect in the middle; to log a traceback of each would cost the loop 100 ms.
            with suppress(StreamClosedError):
                for start in range(0, len(data), PIECE):
                    self.write(data[start : start + PIECE])
                    await self.flush()
                self.finish()
        else:
            self._reply_written(data, status)

    def _reply_written(self, data: bytes, status: int) -> None:
        self.set_status(status)
        self.set_header("Content-Type", JSON)
        self.finish(data)

    def set_default_headers(self) -> None:
        self.set_header("Server", "jobd")
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        # A browser must never run a response as a page, nor let another site embed it.
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        for name, value in self._common_headers.items():
            self.set_header(name, value)

    def compute_etag(self) -> None:
        """No ETag made from the response's bytes: responses may not be stored."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else HTTPError(status_code)
        self._send_error(error)

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        if error_responses.status(error_responses.error_to_send(value, "")) >= 500:
            unexpected = not isinstance(value, JobdError) or value.code not in error_responses.STATUS
            exc_info = (typ, value, tb) if unexpected else None
            # That a client has disconnected is not an error, and many may do so at once.
            level = logging.DEBUG if self._departure.is_over and exc_info is None else logging.ERROR
            log.log(level, "request %s: %s", self.request_id, value, exc_info=exc_info)  # type: ignore[arg-type]

    def _send_error(self, error: BaseException | None) -> None:
        answer = error_responses.error_to_send(error, self.request_id)
        if isinstance(answer, TooManyRequests):
            self.set_header("Retry-After", str(math.ceil(answer.retry_after)))
        if isinstance(answer, Unauthorized):
            self.set_header("WWW-Authenticate", 'Token realm="jobd", Bearer realm="jobd"')
        if error_responses.status(answer) == 405:
            self.set_header("Allow", self._allow())
        self.reply(error_responses.body(answer), error_responses.status(answer))

    def _refuse(self, error: BaseException) -> None:
        self._refusal = error
        self._received = None
        # Tornado calls this next, once the body is read: an attribute of the instance hides the class's method.
        setattr(self, str(self.request.method).lower(), self._raise_refusal)

    def _raise_refusal(self, *args: str) -> NoReturn:
        assert self._refusal is not None  # noqa: S101
        raise self._refusal

    def _too_large(self) -> JobdError:
        if self._max_length < self.services.settings.limits.max_body:
            return BadRequest(f"the body of a request without a token must be at most {self._max_length} bytes")
        return PayloadTooLarge(f"the body must be at most {self._max_length} bytes")

    def _check_type(self) -> None:
        coding = self.request.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            # RFC 9110, 15.5.16
            self._add_headers({"Accept-Encoding": "identity"})
            raise UnsupportedMediaType(
                f"the body must not be compressed, and its Content-Encoding is {shown(coding)}; send it uncompressed"
            )
        name, _, parameters = self.request.headers.get("Content-Type", "").partition(";")
        if name.strip().lower() not in self.body_types:
            raise UnsupportedMediaType(f"the body, and its Content-Type, must be {' or '.join(self.body_types)}")
        charset = re.search(r"charset\s*=\s*\"?([^\s\";]+)", parameters, re.IGNORECASE)
        if charset and charset[1].lower() not in ("utf-8", "utf8"):
            raise UnsupportedMediaType("the body must be UTF-8")

    @classmethod
    def methods(cls) -> list[str]:
        """The methods that this address supports, for the Allow header."""
        names = [m for m in METHODS if getattr(cls, m.lower()) is not getattr(RequestHandler, m.lower())]
        if "GET" not in names:
            names.remove("HEAD")
        return [*names, "OPTIONS"]

    def _allow(self) -> str:
        return ", ".join(self.methods())


def _ids_in(path: str) -> dict[str, Any]:
    """The ids of the job and the exec in a path, for the log context."""
    match = re.match(r"/v1/jobs/(\d{1,19})(?:/execs/([0-9a-fA-F-]{36}))?(?:/|$)", path, re.ASCII)
    if match is None:
        return {}
    return {"job_id": int(match[1])} | ({"exec_id": match[2].lower()} if match[2] else {})


class NoSuchPath(Handler):
    """Responds with 404 for every path that no route matches."""

    @classmethod
    def methods(cls) -> list[str]:
        return list(cls.SUPPORTED_METHODS)

    async def _check_head(self) -> None:
        raise HTTPError(404)
