"""Requests as pydantic models: bodies with strict JSON types, queries from text."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from jobd.errors import InvalidArgs
from jobd.web import json_body
from jobd.web.validation import check

Q = TypeVar("Q", bound="Query")
B = TypeVar("B", bound="Body")


class Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True)


class Nothing(Body):
    """The body of a request that takes none."""


def _digits(text: Any) -> Any:
    if isinstance(text, str):
        if not re.fullmatch(r"[0-9]{1,19}", text):
            raise ValueError("must be a whole number")
        return int(text)
    return text


def _flag(text: Any) -> Any:
    if isinstance(text, str):
        if text not in ("true", "false", "1", "0"):
            raise ValueError("must be true or false")
        return text in ("true", "1")
    return text


def _instant(text: Any) -> Any:
    if not isinstance(text, str):
        raise ValueError("must be a time as a string, as in 2015-12-28T14:31:07Z")
    try:
        # An unescaped + in an offset arrives as a blank.
        instant = datetime.fromisoformat(text.replace(" ", "+"))
        if instant.tzinfo is None:
            raise ValueError
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time with an offset, as in 2015-12-28T14:31:07Z") from None


Digits = BeforeValidator(_digits)
"""Comes after the bounds in an annotation, so that they apply to the number and the schema has them."""
Flag = Annotated[
    bool, BeforeValidator(_flag), WithJsonSchema({"type": "string", "enum": ["true", "false", "1", "0"]}, "validation")
]
Instant = Annotated[datetime, BeforeValidator(_instant)]


class Query(BaseModel):
    """A query string. Every parameter may be given once, except those declared as tuples."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class PageQuery(Query):
    page: Annotated[int, Field(ge=1, le=10**9), Digits] = 1
    """The number of the page, from 1."""
    page_size: Annotated[int, Field(ge=1, le=100), Digits] = 20
    """The number of entries on a page."""
    count: Literal["exact", "bounded", "none"] | None = None
    """`bounded` counts up to 10,000, `none` does not count; with either, `next` continues after the last entry."""
    after: Annotated[str, Field(max_length=512)] | None = None
    """Continue from this cursor, which `next` has, or from the beginning if it is empty; not together with `page`."""


def read_body(model: type[B], values: Mapping[str, Any]) -> B:
    """The body as this model. Raises InvalidArgs with every fault."""
    parsed, faults = check(model, values)
    if parsed is None:
        raise InvalidArgs("invalid request", faults)
    return parsed


def read_query(model: type[Q], arguments: Mapping[str, Sequence[bytes]]) -> Q:
    """The query as this model. Raises InvalidArgs with every fault: unknown or repeated parameters, wrong values."""
    values: dict[str, Any] = {}
    faults: dict[str, list[str]] = {}
    for name, raw in arguments.items():
        try:
            texts = [value.decode() for value in raw]
        except UnicodeDecodeError:
            faults[name] = ["must be UTF-8"]
            continue
        fault = next(filter(None, map(json_body.storage_fault, [name, *texts])), None)
        many = name in model.model_fields and str(model.model_fields[name].annotation).startswith("tuple")
        if fault:
            faults[ascii(name)[1:-1]] = [fault]
        elif len(texts) > 1 and not many:
            faults[name] = ["must be given once"]
        else:
            values[name] = tuple(texts) if many else texts[0]
    parsed, more = check(model, values)
    if parsed is None or faults:
        raise InvalidArgs("invalid query", {**more, **faults})
    return parsed
