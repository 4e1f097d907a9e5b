"""What pydantic found wrong, in plain words: field by field, each saying what would be right."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)
Faults = dict[str, list[str]]

PLAIN = {
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "missing": "is required",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}
SHOWN = 60
"""Characters of a name from the request that a message repeats."""


def check(model: type[Model], values: Mapping[str, Any]) -> tuple[Model | None, Faults]:
    """The model of these values, or what is wrong with them; one of both is empty."""
    try:
        return model.model_validate(values), {}
    except ValidationError as error:
        return None, _explain(error, model)


def shown(name: str) -> str:
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}…"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or nothing when nothing is like it."""
    near = difflib.get_close_matches(name[:SHOWN], list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _explain(error: ValidationError, model: type[BaseModel]) -> Faults:
    faults: Faults = {}
    for fault in error.errors(include_url=False, include_input=False):
        field, *inner = (str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            text = f"there is no such field{suggestion(field, model.model_fields)}"
        elif fault["type"] in PLAIN:
            text = PLAIN[fault["type"]].format_map(fault.get("ctx", {}))
        else:
            text = fault["msg"]
        place = "".join(f"{shown(part)}: " for part in inner)
        faults.setdefault(field, []).append(place + text)
    return faults
