"""The description of one call in the OpenAPI document. `CALLS` in the module of each noun has one for each method and
address.

Query parameters are not described here but in the models in the handler's `queries`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

JSON = "application/json"


@dataclass(frozen=True)
class Content:
    """One media type of a response: a model, or the schema itself, and an example."""

    schema: type[BaseModel] | Mapping[str, Any]
    example: Any


@dataclass(frozen=True)
class Answer:
    """A successful response. `headers` has the descriptions of its important headers."""

    description: str
    content: Mapping[str, Content]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Header:
    """A request header that only some calls have."""

    description: str
    schema: Mapping[str, Any]
    example: str | None = None


@dataclass(frozen=True)
class Body:
    model: type[BaseModel]
    examples: Mapping[str, Any]
    """Examples by their titles."""
    required: bool = True


@dataclass(frozen=True)
class Call:
    """`refusals` has the statuses of errors that are not common to all calls."""

    operation: str
    """The `operationId`. Generated clients name methods by it, so it must not be changed."""
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
    """A response in JSON."""
    return Answer(description, {JSON: Content(schema, example)}, headers)


def empty(description: str) -> Answer:
    """A response without a body."""
    return Answer(description, {}, {})


def page(results: list[Any]) -> dict[str, Any]:
    """An example of a list with a single page."""
    return {"count": len(results), "next": None, "previous": None, "results": results}
