"""What every handler does: let a request in or refuse it, read its body within bounds, answer in JSON."""

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
from jobd.store.db.deadlines import Departure, departure
from jobd.store.db.tables import MAX_ID
from jobd.store.namespaces import USERNAME
from jobd.web import authentication, compression, cors, error_responses, json_body, json_text
from jobd.web.permissions import LOCAL, PUBLIC, Rules, Who, check, rule
from jobd.web.proxies import see_through
from jobd.web.requests import Body, Nothing, Query, read_body, read_query
from jobd.web.services import Engine, Services
from jobd.web.validation import shown

__all__ = ["Engine", "Handler", "NoSuchPath", "Services"]

log = logging.getLogger(__name__)

B = TypeVar("B", bound=Body)
Result = TypeVar("Result")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
MAX_DROPPED = 64 * 2**20
"""Bytes of a refused body that are read and dropped so that the client, still sending, gets to read the answer; beyond
them the connection is cut.
"""
PIECE = 128 * 2**10
"""Bytes of an answer that are handed to the connection at once: it makes copies of what it gets."""
JSON = "application/json"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


@stream_request_body
class Handler(RequestHandler):
    """The base of all handlers. A subclass has methods named as tornado wants them, `get`, `post` and so on, and says
    in `queries` what their query strings may hold.

    A request is judged by its head, before its body is read. One that is refused has its body read and dropped, and
    the refusal takes the place of the method.
    """

    queries: ClassVar[dict[str, type[Query]]] = {}
    body_types: ClassVar[tuple[str, ...]] = (JSON,)
    is_limited: ClassVar[bool] = True
    """Whether `[limits] requests_per_minute` counts it."""
    _of_every_answer: Mapping[str, str] = {}
    """Headers that errors have, too."""

    def initialize(self, services: Services, rules: Rules) -> None:
        """`rules`: who may call which method of this address."""
        see_through(self.request, services.settings.jobd.trusted_proxies)
        self.services = services
        self.rules = rules
        self.caller: Caller
        self.wanted: Any = None
        """The query string, as the model that `queries` names."""
        self._received: bytearray | None = bytearray()
        self._length = 0
        self._max_length = json_body.MAX_OF_NOBODY
        self.sent_bytes = 0
        """Of the answer's body so far, before any compression."""
        self._refusal: BaseException | None = None
        self._departure = Departure()

    async def prepare(self) -> None:
        self.services.requests.begin(self)
        departure.set(self._departure)
        self._departure.who = self.asked_by
        daemon_log.bind_log_context(request_id=self.request_id, **_named_in(self.request.path))
        try:
            await self._let_in()
        except Exception as error:
            self._refuse(error)
            if self.request.headers.get("Expect", "").lower() == "100-continue":
                raise

    async def _let_in(self) -> None:
        if self.services.settings.auth.mode == "none":
            authentication.check_origin(self.request)
        origins = self.services.settings.api.cors_origins
        self._keep(cors.allowed(self.request, origins))
        if cors.is_preflight(self.request, origins):
            self._keep(cors.preflight(self.methods()))
            return
        asked = self.request.method or ""
        who = rule(self.rules, asked)
        if who is LOCAL and authentication.is_local(self.request):
            who = PUBLIC
        await self._identify(who)
        most = self.services.settings.limits.max_body
        self._max_length = min(most, json_body.MAX_OF_NOBODY) if who is PUBLIC else most
        if asked not in self.methods():
            raise HTTPError(405)
        if who is not PUBLIC:
            check(who, asked, self.caller)
        method = "GET" if asked == "HEAD" else asked
        self.wanted = read_query(self.queries.get(method, Query), self.request.query_arguments)
        # What is no number here is tornado's to refuse.
        length = self.request.headers.get("Content-Length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > self._max_length):
            raise self._too_large()

    async def _identify(self, who: Who | None) -> None:
        """Raises Unauthorized, TooManyRequests: a caller is counted for itself, nobody by the address."""
        by_address = f"address {self.request.remote_ip}"
        if who is PUBLIC:
            self._count(by_address)
            return
        try:
            self.caller = await authentication.identify(self.request, self.request_id, self.services)
        except Unauthorized:
            self._count(by_address)
            raise
        self._departure.who = self.asked_by
        self.services.connections.identified(self._stream)
        self._count(authentication.counted_as(self.request, self.caller) or by_address)

    def _count(self, who: str) -> None:
        rate = self.services.rates.take(who) if self.is_limited else None
        if rate is None:
            return
        self._keep(rate.headers())
        if rate.wait is not None:
            raise TooManyRequests(f"more than {rate.limit} requests a minute", retry_after=rate.wait)

    def _keep(self, headers: Mapping[str, str]) -> None:
        self._of_every_answer = {**self._of_every_answer, **headers}
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
            self._tell(self._refusal)
        # Else tornado goes on for as long as there is more: a megabyte of one client's before anything of another's.
        return asyncio.sleep(0)

    def on_finish(self) -> None:
        self.services.requests.end(self)
        self.services.connections.waits(self._stream)

    def on_connection_close(self) -> None:
        self._departure.leave()
        self.services.requests.end(self)
        super().on_connection_close()

    async def head(self, *args: str) -> None:
        """As GET; tornado leaves the body out."""
        await self.get(*args)  # type: ignore[misc]  # `methods` lets HEAD in only where there is a `get`

    def options(self, *args: str) -> None:
        self.set_header("Allow", self._allow())
        self.set_status(204)

    @property
    def _stream(self) -> IOStream:
        return cast(HTTP1Connection, self.request.connection).stream

    @property
    def request_id(self) -> str:
        """The client's, if it can be one, else made here; the same for the whole request."""
        given = self.request.headers.get("X-Request-Id", "")
        if not REQUEST_ID.fullmatch(given):
            given = self.request.headers["X-Request-Id"] = uuid.uuid4().hex
        return given

    @property
    def asked_by(self) -> str:
        """Who takes turns with others, as `callers.asked_by` has it."""
        return authentication.asked_by(self.request, getattr(self, "caller", None))

    async def judged(self, judge: Callable[[dict[str, Any]], Result]) -> Result:
        """What `judge` makes of the request's JSON object; of an empty body, an empty one. Away from the loop unless it
        is little work. Raises BadRequest, InvalidArgs, TooManyRequests, and what `judge` raises.
        """
        data = self.received()
        if json_body.is_light(data):
            return judge(json_body.parse(data) if data else {})
        return await self.services.bodies.call(self.asked_by, lambda: judge(json_body.parse(data)))

    async def said(self, model: type[B]) -> B:
        """The request's body, as this model. Raises BadRequest, InvalidArgs, TooManyRequests."""
        return await self.judged(partial(read_body, model))

    async def no_body(self) -> None:
        """Raises InvalidArgs when the body says something."""
        await self.said(Nothing)

    def received(self) -> bytes:
        return bytes(self._received or b"")

    def number(self, text: str) -> int:
        """An id from the URL. Raises NotFound for what no row can have as its id."""
        if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > MAX_ID:
            raise NotFound("there is nothing at this address")
        return int(text)

    def account_name(self, text: str) -> str:
        """A user's or an organization's name from the URL. Raises NotFound for what none can have as its name."""
        if not USERNAME.fullmatch(text):
            raise NotFound("there is nothing at this address")
        return text

    def exec_id(self, text: str) -> str:
        """An exec's id from the URL. Raises NotFound for what is no UUID."""
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text.lower(), re.ASCII):
            raise NotFound("there is nothing at this address")
        return text.lower()

    def write(self, chunk: str | bytes | dict[str, Any]) -> None:
        if self.request.method != "HEAD":
            self.sent_bytes += len(chunk.encode() if isinstance(chunk, str) else chunk)
        super().write(chunk)

    def reply(self, value: Any, status: int = 200) -> None:
        """Answer in JSON with a value that is small, whatever was asked."""
        self._reply_written(json_text.line(value), status)

    async def reply_with(self, make: Callable[[], Any], is_small: bool, status: int = 200) -> None:
        """Answer in JSON with what `make` makes, away from the loop unless it is small."""
        if is_small:
            self.reply(make(), status)
        else:
            written = await self.services.answers.call(self.asked_by, lambda: json_text.line(make()))
            await self.reply_written(written, status)

    async def reply_written(self, data: bytes, status: int = 200) -> None:
        """Answer with JSON that is written already. What is long is compressed away from the loop, and sent piece after
        piece, as the client takes it.
        """
        if len(data) > compression.MAX_AT_ONCE and "Etag" not in self._headers:
            self.add_header("Vary", "Accept-Encoding")
            if compression.is_liked(self.request.headers.get("Accept-Encoding", "")):
                self.set_header("Content-Encoding", "gzip")
                data = await asyncio.to_thread(compression.packed, data)
        if len(data) > PIECE:
            self.set_status(status)
            self.set_header("Content-Type", JSON)
            self.set_header("Content-Length", str(len(data)))
            # A client that goes away in the middle is no fault, and a traceback of each costs the loop 100 ms.
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
        # What is data shall never act as a page, nor be embedded in one of another site.
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        for name, value in self._of_every_answer.items():
            self.set_header(name, value)

    def compute_etag(self) -> None:
        """No tag of the answer's bytes: nothing here may be stored."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else HTTPError(status_code)
        self._tell(error)

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        if error_responses.status(error_responses.explained(value, "")) >= 500:
            unexpected = not isinstance(value, JobdError) or value.code not in error_responses.STATUS
            exc_info = (typ, value, tb) if unexpected else None
            # A client that waits no longer is no fault, and may be one of many.
            level = logging.DEBUG if self._departure.is_over and exc_info is None else logging.ERROR
            log.log(level, "request %s: %s", self.request_id, value, exc_info=exc_info)  # type: ignore[arg-type]

    def _tell(self, error: BaseException | None) -> None:
        said = error_responses.explained(error, self.request_id)
        if isinstance(said, TooManyRequests):
            self.set_header("Retry-After", str(math.ceil(said.retry_after)))
        if isinstance(said, Unauthorized):
            self.set_header("WWW-Authenticate", 'Token realm="jobd", Bearer realm="jobd"')
        if error_responses.status(said) == 405:
            self.set_header("Allow", self._allow())
        self.reply(error_responses.body(said), error_responses.status(said))

    def _refuse(self, error: BaseException) -> None:
        self._refusal = error
        self._received = None
        # The next thing tornado calls, once the body is read; the instance's goes before the class's.
        setattr(self, str(self.request.method).lower(), self._raise_refusal)

    def _raise_refusal(self, *args: str) -> NoReturn:
        assert self._refusal is not None  # noqa: S101
        raise self._refusal

    def _too_large(self) -> JobdError:
        if self._max_length < self.services.settings.limits.max_body:
            return BadRequest(f"where no token is needed, the body must be at most {self._max_length} bytes")
        return PayloadTooLarge(f"the body must be at most {self._max_length} bytes")

    def _check_type(self) -> None:
        coding = self.request.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            # RFC 9110, 15.5.16
            self._keep({"Accept-Encoding": "identity"})
            raise UnsupportedMediaType(
                f"the body must not be compressed, and Content-Encoding says {shown(coding)}; send it as it is"
            )
        name, _, parameters = self.request.headers.get("Content-Type", "").partition(";")
        if name.strip().lower() not in self.body_types:
            raise UnsupportedMediaType(f"the body must be {' or '.join(self.body_types)}, told in Content-Type")
        charset = re.search(r"charset\s*=\s*\"?([^\s\";]+)", parameters, re.IGNORECASE)
        if charset and charset[1].lower() not in ("utf-8", "utf8"):
            raise UnsupportedMediaType("the body must be UTF-8")

    @classmethod
    def methods(cls) -> list[str]:
        """What may be asked of it, as `Allow` says it."""
        names = [m for m in METHODS if getattr(cls, m.lower()) is not getattr(RequestHandler, m.lower())]
        if "GET" not in names:
            names.remove("HEAD")
        return [*names, "OPTIONS"]

    def _allow(self) -> str:
        return ", ".join(self.methods())


def _named_in(path: str) -> dict[str, Any]:
    """The job and the exec that a path is about, by the names that lines of the log give them."""
    match = re.match(r"/v1/jobs/(\d{1,19})(?:/execs/([0-9a-fA-F-]{36}))?(?:/|$)", path, re.ASCII)
    if match is None:
        return {}
    return {"job_id": int(match[1])} | ({"exec_id": match[2].lower()} if match[2] else {})


class NoSuchPath(Handler):
    """Whatever the URL table does not know."""

    @classmethod
    def methods(cls) -> list[str]:
        return list(cls.SUPPORTED_METHODS)

    async def _let_in(self) -> None:
        raise HTTPError(404)
