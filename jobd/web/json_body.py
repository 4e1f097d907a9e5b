"""Strict reading of a request's JSON: what two parsers could read differently is refused."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from jobd.errors import BadRequest, InvalidArgs
from jobd.web.validation import shown

MAX_ANONYMOUS = 16 * 2**10
"""Bytes of a body whose sender is not authenticated."""
MAX_VALUES = 50_000
"""Values, lists and objects in a body; json parses them in one call of some 15 ms in which no other thread runs."""
LIGHT = 2 * 2**10
"""Bytes of a body that may be parsed on the event loop, in about a millisecond."""
_MARKS = b",[{"
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[,[{]', re.DOTALL)


def is_light(data: bytes) -> bool:
    """Whether a body may be parsed and validated on the event loop. One with a schedule may not, since a time zone's
    name is looked up among hundreds; nor one with an escape, in which the word schedule could hide.
    """
    return len(data) <= LIGHT and b"schedule" not in data and b"\\" not in data


def parse(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`. Raises BadRequest for anything else (RFC 8259), and InvalidArgs for text that cannot
    be stored.
    """
    if _has_too_many_values(data):
        raise BadRequest(f"the body must have at most {MAX_VALUES} values, lists and objects in all")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg}, line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError:
        raise BadRequest("the body has a number with too many digits") from None
    if not isinstance(value, dict):
        raise BadRequest('the body must be a JSON object, as in {"name": "test"}')
    _check_texts(value)
    return value


def storage_fault(text: str) -> str | None:
    """What is wrong with text that not every database can store; None if it can be stored."""
    if "\x00" in text:
        return "must not contain the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not contain half a surrogate pair"
    return None


def _has_too_many_values(data: bytes) -> bool:
    """Counts the characters before values: all of them first, which is quick, and only if they are too many without
    those that are inside strings.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) <= MAX_VALUES:
        return False
    marks = (token for token in _TOKEN.finditer(data) if data[token.start()] in _MARKS)
    return next(islice(marks, MAX_VALUES, None), None) is not None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise BadRequest(f"the body has the name {shown(_first_twice(pairs))!a} twice in one object")
    return value


def _first_twice(pairs: list[tuple[str, Any]]) -> str:
    """The first name that is repeated, of pairs in which one is."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    return name


def _no_constant(name: str) -> None:
    raise BadRequest(f"the body is not JSON: {name} is not a number")


def _check_texts(body: dict[str, Any]) -> None:
    faults: dict[str, list[str]] = {}
    for name, value in body.items():
        if storage_fault(name):
            raise BadRequest(f"the name {shown(name)!a} {storage_fault(name)}")
        fault = next(filter(None, map(storage_fault, _texts(value))), None)
        if fault:
            faults[name] = [fault]
    if faults:
        raise InvalidArgs("the body has text that cannot be stored", faults)


def _texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value, names included. Uses a stack: the value may be nested as deeply as the parser
    allows, too deeply for recursion.
    """
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack += [*item, *item.values()]
        elif isinstance(item, list):
            stack += item
