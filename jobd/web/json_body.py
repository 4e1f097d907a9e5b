"""A request's JSON, read strictly: what two parsers could understand differently is refused."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from jobd.errors import BadRequest, InvalidArgs
from jobd.web.validation import shown

MAX_OF_NOBODY = 16 * 2**10
"""Bytes of a body whose sender nobody knows."""
MAX_VALUES = 50_000
"""Values, lists and objects in a body: json makes them in one call that lets no other thread run, in some 15 ms."""
LIGHT = 2 * 2**10
"""Bytes of a body that is read on the loop: a millisecond's work."""
_MARKS = b",[{"
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[,[{]', re.DOTALL)


def is_light(data: bytes) -> bool:
    """Whether reading and judging it is too little work to leave the loop for. A schedule may be much: a zone's name is
    looked for among hundreds. With an escape, a name is not seen here.
    """
    return len(data) <= LIGHT and b"schedule" not in data and b"\\" not in data


def parse(data: bytes) -> dict[str, Any]:
    """The object in `data`. Raises BadRequest when it is none (RFC 8259), InvalidArgs for text no database can hold."""
    if _has_too_many_values(data):
        raise BadRequest(f"the body has too many values, lists and objects: at most {MAX_VALUES} in all are taken")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg}, line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError:
        raise BadRequest("the body holds a number with too many digits") from None
    if not isinstance(value, dict):
        raise BadRequest('the body must be a JSON object, as in {"name": "test"}')
    _check_texts(value)
    return value


def unfit(text: str) -> str | None:
    """What is wrong with a text that not every database can hold; None if nothing is."""
    if "\x00" in text:
        return "must not contain the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not contain half a surrogate pair"
    return None


def _has_too_many_values(data: bytes) -> bool:
    """By the marks before each: at once when there are few, else by looking at which of them are not in a text."""
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
    """The first name that comes a second time, of pairs that have one."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    return name


def _no_constant(name: str) -> None:
    raise BadRequest(f"the body is not JSON: {name} is no number")


def _check_texts(body: dict[str, Any]) -> None:
    faults: dict[str, list[str]] = {}
    for name, value in body.items():
        if unfit(name):
            raise BadRequest(f"the name {shown(name)!a} {unfit(name)}")
        fault = next(filter(None, map(unfit, _texts(value))), None)
        if fault:
            faults[name] = [fault]
    if faults:
        raise InvalidArgs("the body holds text that cannot be stored", faults)


def _texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value, names included; a stack, since it may be nested as deeply as the parser lets."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack += [*item, *item.values()]
        elif isinstance(item, list):
            stack += item
