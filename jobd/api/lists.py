"""Lists: a page as JSON, written in the thread that read it, within a bound of bytes; and where its neighbours are."""

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

from jobd.api.schemas.serialize import Shape
from jobd.errors import InvalidArgs
from jobd.store.db.pages import Page, PageRequest
from jobd.web import cursors, json_text
from jobd.web.handler import Handler
from jobd.web.requests import PageQuery

MAX_PAGE = 8 * 2**20
"""Bytes of a page's entries."""

LARGE = 256 * 2**10
"""Bytes from which on a page waits until no other large one is written."""
_large = threading.Lock()

Listed = tuple[Page, Iterable[Shape]]
"""A page, and the shapes of its rows, made one after the other."""


async def reply(handler: Handler, listed: Callable[..., Listed], *args: Any) -> None:
    """Answer with the page that `listed(*args)` reads. Raises what that raises, and InvalidArgs for one too large."""
    async with handler.services.lists.turn(handler.asked_by):
        data = await handler.services.database.read(_written, handler, listed, args)
    await handler.reply_written(data)


def page_request(handler: Handler) -> PageRequest:
    """Which page is asked for. Raises InvalidArgs."""
    asked: PageQuery = handler.wanted
    query = handler.request.query_arguments
    if asked.after is not None and "page" in query:
        raise InvalidArgs("invalid query", {"after": ["not together with page"]})
    after = cursors.read(handler.request.path, query, asked.after) if asked.after else None
    goes_on = asked.after is not None or (asked.count is not None and "page" not in query)
    return PageRequest(asked.page, asked.page_size, asked.count or "exact", goes_on, after)


def shaped(shape: Callable[[Any], Shape], read: Callable[..., Page], *args: Any) -> Listed:
    """The page that `read(*args)` reads, each row by `shape`."""
    page = read(*args)
    return page, map(shape, page.rows)


def _written(handler: Handler, listed: Callable[..., Listed], args: tuple[Any, ...]) -> bytes:
    page, shapes = listed(*args)
    asked, wanted = handler.wanted, page_request(handler)
    with ExitStack() as turn:
        entries = _entries(shapes, turn, may_be_fewer=wanted.goes_on)
    exactness = {} if asked.count is None else {"count_is_exact": page.is_exact}
    neighbours = {"next": _following(handler, page, wanted, len(entries)), "previous": _before(handler)}
    head = json_text.written({"count": page.count, **exactness, **neighbours})
    return b'%b,"results":[%b]}\n' % (head[:-1], b",".join(entries))


def _entries(shapes: Iterable[Shape], turn: ExitStack, may_be_fewer: bool) -> list[bytes]:
    """Each as JSON. Where they are too many bytes, the first of them if that will do, else it raises InvalidArgs. From
    a size on, one page is written at a time.
    """
    entries: list[bytes] = []
    length = 0
    for shape in shapes:
        # One by one: to write all of them is one call, of which no other thread gets its share.
        entries.append(json_text.written(shape))
        if length <= LARGE < length + len(entries[-1]):
            turn.enter_context(_large)
        length += len(entries[-1]) + 1
        if length > MAX_PAGE and len(entries) > 1:
            if may_be_fewer:
                return entries[:-1]
            message = f"the page would have more than {MAX_PAGE} bytes; the first {len(entries) - 1} of it have less"
            raise InvalidArgs("the page is too large", {"page_size": [message]})
    return entries


def _following(handler: Handler, page: Page, wanted: PageRequest, written: int) -> str | None:
    """Where to go on behind so many of the page's entries."""
    if not page.has_more and written == len(page.rows):
        return None
    if not wanted.goes_on:
        return _url(handler, "page", str(wanted.number + 1))
    request = handler.request
    return _url(handler, "after", cursors.written(request.path, request.query_arguments, page.keys[written - 1]))


def _before(handler: Handler) -> str | None:
    wanted: PageQuery = handler.wanted
    return _url(handler, "page", str(wanted.page - 1)) if wanted.page > 1 else None


def _url(handler: Handler, name: str, value: str) -> str:
    """This list's, with one parameter changed."""
    request = handler.request
    others = [(other, v) for other, values in request.query_arguments.items() for v in values if other != name]
    return f"{request.protocol}://{request.host}{request.path}?{urlencode([*others, (name, value)])}"
