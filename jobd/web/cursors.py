"""Cursors of lists: the position to continue from, as text that is valid only for the list that it came from."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence

from jobd.errors import InvalidArgs
from jobd.store.db.pages import Key
from jobd.web.json_body import storage_fault

VERSION = 1
OF_NO_LIST = frozenset(["page", "page_size", "count", "after"])
"""Query parameters that select a part of a list; all others identify the list."""
MAX_INTEGER = 2**63 - 1


def encoded(path: str, query: Mapping[str, Sequence[bytes]], key: Key) -> str:
    """The cursor that continues after the row with this key, for the list at `path` with the filters in `query`."""
    text = json.dumps([VERSION, _list(path, query), *key], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decoded(path: str, query: Mapping[str, Sequence[bytes]], text: str) -> Key:
    """The key in a cursor. Raises InvalidArgs for what is not a cursor, or is one of another list."""
    try:
        version, _, *parts = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, RecursionError):
        raise _foreign() from None
    key = tuple(part for part in parts if _may_be_a_key(part))
    if not key or len(key) < len(parts) or version != VERSION or encoded(path, query, key) != text:
        raise _foreign()
    return key


def _may_be_a_key(part: object) -> bool:
    return (type(part) is int and abs(part) <= MAX_INTEGER) or (isinstance(part, str) and storage_fault(part) is None)


def _foreign() -> InvalidArgs:
    words = "is not a cursor of this list with these filters; expected the one in `next`, with all else unchanged"
    return InvalidArgs("invalid query", {"after": [words]})


def _list(path: str, query: Mapping[str, Sequence[bytes]]) -> str:
    """Identifies a list by its path and its filters."""
    filters = sorted((name, sorted(values)) for name, values in query.items() if name not in OF_NO_LIST)
    return hashlib.sha256(repr((path.rstrip("/"), filters)).encode()).hexdigest()[:16]
