"""The cursors of lists: where to go on, as a text that only the list it came from understands."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence

from jobd.errors import InvalidArgs
from jobd.store.db.pages import Key
from jobd.web.json_body import unfit

VERSION = 1
OF_NO_LIST = frozenset(["page", "page_size", "count", "after"])
"""Parameters that choose a part of a list and not which list it is."""
MAX_INTEGER = 2**63 - 1


def written(path: str, query: Mapping[str, Sequence[bytes]], key: Key) -> str:
    """The cursor behind the row with this key, of the list at this address with these filters."""
    text = json.dumps([VERSION, _list(path, query), *key], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(path: str, query: Mapping[str, Sequence[bytes]], text: str) -> Key:
    """Raises InvalidArgs for what is no cursor, or one of another list."""
    try:
        version, _, *parts = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, RecursionError):
        raise _foreign() from None
    key = tuple(part for part in parts if _may_be_a_key(part))
    if not key or len(key) < len(parts) or version != VERSION or written(path, query, key) != text:
        raise _foreign()
    return key


def _may_be_a_key(part: object) -> bool:
    return (type(part) is int and abs(part) <= MAX_INTEGER) or (isinstance(part, str) and unfit(part) is None)


def _foreign() -> InvalidArgs:
    words = "is no cursor of this list with these filters; right: the one that `next` has, with all else as it was"
    return InvalidArgs("invalid query", {"after": [words]})


def _list(path: str, query: Mapping[str, Sequence[bytes]]) -> str:
    """Tells a list from another, its filters included."""
    filters = sorted((name, sorted(values)) for name, values in query.items() if name not in OF_NO_LIST)
    return hashlib.sha256(repr((path.rstrip("/"), filters)).encode()).hexdigest()[:16]
