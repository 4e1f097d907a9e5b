"""Lists: a page as JSON, written in the thread that read it, within a bound of bytes; and where its neighbours are."""

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

from jobd.api import json_text
from jobd.api.base import Handler
from jobd.api.render import Shape
from jobd.api.schemas import PageQuery
from jobd.errors import InvalidArgs
from jobd.store.pages import Page

MAX_PAGE = 8 * 2**20
"""Bytes of a page's entries."""

LARGE = 256 * 2**10
"""Bytes from which on a page waits until no other large one is written."""
_large = threading.Lock()

Listed = tuple[Page, Iterable[Shape]]
"""A page, and the shapes of its rows, made one after the other."""


async def reply(handler: Handler, listed: Callable[..., Listed], *args: Any) -> None:
    """Answer with the page that `listed(*args)` reads. Raises what that raises, and InvalidArgs for one too large."""
    async with handler.services.lists:
        data = await handler.services.database.read(_written, handler, listed, args)
    await handler.reply_written(data)


def shaped(shape: Callable[[Any], Shape], read: Callable[..., Page], *args: Any) -> Listed:
    """The page that `read(*args)` reads, each row by `shape`."""
    page = read(*args)
    return page, map(shape, page.rows)


def _written(handler: Handler, listed: Callable[..., Listed], args: tuple[Any, ...]) -> bytes:
    page, shapes = listed(*args)
    with ExitStack() as turn:
        entries = _entries(shapes, turn)
    head = json_text.written({"count": page.count, "next": _following(handler, page), "previous": _before(handler)})
    return b'%b,"results":[%b]}\n' % (head[:-1], b",".join(entries))


def _entries(shapes: Iterable[Shape], turn: ExitStack) -> list[bytes]:
    """Each as JSON. Raises InvalidArgs when they are too many bytes. From a size on, one page is written at a time."""
    entries: list[bytes] = []
    length = 0
    for shape in shapes:
        # One by one: to write all of them is one call, of which no other thread gets its share.
        entries.append(json_text.written(shape))
        if length <= LARGE < length + len(entries[-1]):
            turn.enter_context(_large)
        length += len(entries[-1]) + 1
        if length > MAX_PAGE and len(entries) > 1:
            message = f"the page would have more than {MAX_PAGE} bytes; the first {len(entries) - 1} of it have less"
            raise InvalidArgs("the page is too large", {"page_size": [message]})
    return entries


def _following(handler: Handler, page: Page) -> str | None:
    wanted: PageQuery = handler.wanted
    return _url(handler, wanted.page + 1) if wanted.page * wanted.page_size < page.count else None


def _before(handler: Handler) -> str | None:
    wanted: PageQuery = handler.wanted
    return _url(handler, wanted.page - 1) if wanted.page > 1 else None


def _url(handler: Handler, page: int) -> str:
    request = handler.request
    others = [(name, v) for name, given in request.query_arguments.items() for v in given if name != "page"]
    return f"{request.protocol}://{request.host}{request.path}?{urlencode([*others, ('page', page)])}"
