"""Lists: pages of limited size, encoded as JSON in the thread that read them, with the next and the previous page's
URL.
"""

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
"""Bytes of all entries of a page."""

LARGE = 256 * 2**10
"""Bytes from which on a page waits until no other large page is being encoded."""
_large = threading.Lock()

Listed = tuple[Page, Iterable[Shape]]
"""A page, and its rows in their JSON form, made one at a time."""


async def reply(handler: Handler, listed: Callable[..., Listed], *args: Any) -> None:
    """Respond with the page that `listed(*args)` reads. Raises what that raises, and InvalidArgs if it is too large."""
    async with handler.services.lists.turn(handler.share_key):
        data = await handler.services.database.read(_written, handler, listed, args)
    await handler.reply_written(data)


def page_request(handler: Handler) -> PageRequest:
    """The page that the query requests. Raises InvalidArgs."""
    query: PageQuery = handler.query
    arguments = handler.request.query_arguments
    if query.after is not None and "page" in arguments:
        raise InvalidArgs("invalid query", {"after": ["must not be given together with page"]})
    after = cursors.decoded(handler.request.path, arguments, query.after) if query.after else None
    goes_on = query.after is not None or (query.count is not None and "page" not in arguments)
    return PageRequest(query.page, query.page_size, query.count or "exact", goes_on, after)


def shaped(shape: Callable[[Any], Shape], read: Callable[..., Page], *args: Any) -> Listed:
    """The page that `read(*args)` reads, and each of its rows as `shape` renders it."""
    page = read(*args)
    return page, map(shape, page.rows)


def _written(handler: Handler, listed: Callable[..., Listed], args: tuple[Any, ...]) -> bytes:
    page, shapes = listed(*args)
    query, request = handler.query, page_request(handler)
    with ExitStack() as turn:
        entries = _entries(shapes, turn, may_be_fewer=request.goes_on)
    exactness = {} if query.count is None else {"count_is_exact": page.is_exact}
    neighbours = {"next": _following(handler, page, request, len(entries)), "previous": _before(handler)}
    head = json_text.encoded({"count": page.count, **exactness, **neighbours})
    return b'%b,"results":[%b]}\n' % (head[:-1], b",".join(entries))


def _entries(shapes: Iterable[Shape], turn: ExitStack, may_be_fewer: bool) -> list[bytes]:
    """Each entry as JSON. If they have too many bytes, returns only the first ones where `may_be_fewer`, else raises
    InvalidArgs. Above LARGE bytes, waits in `turn` until no other page is being encoded.
    """
    entries: list[bytes] = []
    length = 0
    for shape in shapes:
        # One at a time: no other thread could run during a single call for all of them.
        entries.append(json_text.encoded(shape))
        if length <= LARGE < length + len(entries[-1]):
            turn.enter_context(_large)
        length += len(entries[-1]) + 1
        if length > MAX_PAGE and len(entries) > 1:
            if may_be_fewer:
                return entries[:-1]
            message = f"the page would have more than {MAX_PAGE} bytes; the first {len(entries) - 1} of it have less"
            raise InvalidArgs("the page is too large", {"page_size": [message]})
    return entries


def _following(handler: Handler, page: Page, request: PageRequest, written: int) -> str | None:
    """The next page's URL, which continues after the first `written` entries of this one; None on the last page."""
    if not page.has_more and written == len(page.rows):
        return None
    if not request.goes_on:
        return _url(handler, "page", str(request.number + 1))
    path, arguments = handler.request.path, handler.request.query_arguments
    return _url(handler, "after", cursors.encoded(path, arguments, page.keys[written - 1]))


def _before(handler: Handler) -> str | None:
    query: PageQuery = handler.query
    return _url(handler, "page", str(query.page - 1)) if query.page > 1 else None


def _url(handler: Handler, name: str, value: str) -> str:
    """This list's URL with one parameter changed."""
    request = handler.request
    others = [(other, v) for other, values in request.query_arguments.items() for v in values if other != name]
    return f"{request.protocol}://{request.host}{request.path}?{urlencode([*others, (name, value)])}"
