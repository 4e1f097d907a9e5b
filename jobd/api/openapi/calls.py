"""What the specification says of one call. `CALLS` of each noun's module maps a method and an address to it.

Query parameters are not told here: they are those of the handler's own `queries`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

JSON = "application/json"


@dataclass(frozen=True)
class Content:
    """One media type of an answer: a model, or the schema itself; and an example of it."""

    schema: type[BaseModel] | Mapping[str, Any]
    example: Any


@dataclass(frozen=True)
class Answer:
    """A success. `headers`: what each that matters says."""

    description: str
    content: Mapping[str, Content]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Header:
    """A request header beyond those that every call takes."""

    description: str
    schema: Mapping[str, Any]
    example: str | None = None


@dataclass(frozen=True)
class Body:
    model: type[BaseModel]
    examples: Mapping[str, Any]
    """By what they show."""
    required: bool = True


@dataclass(frozen=True)
class Call:
    """`refusals`: statuses of errors beyond those that every call may answer with."""

    operation: str
    """The `operationId`: what a generated client names its method, and so not to be changed."""
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    description: str = ""
    body: Body | None = None
    headers: Mapping[str, Header] | None = None
    refusals: tuple[int, ...] = ()


Calls = Mapping[tuple[str, str], Call]


def answer(
    description: str, schema: type[BaseModel] | Mapping[str, Any], example: Any, headers: Mapping[str, str] = {}
) -> Answer:
    """One in JSON."""
    return Answer(description, {JSON: Content(schema, example)}, headers)


def empty(description: str) -> Answer:
    return Answer(description, {}, {})


def page(results: list[Any]) -> dict[str, Any]:
    """An example of a list that has one page."""
    return {"count": len(results), "next": None, "previous": None, "results": results}
