"""Pydantic's validation errors in plain words: by field, each saying what is expected."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
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
    "too_long": "must be given at most {max_length} times",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}
SHOWN = 60
"""Characters of a request's name that a message repeats."""
MAX_FAULTS = 20
"""Faults that an error lists; of the others it gives the number."""
MAX_SUGGESTIONS = 5
"""Unknown names of one request for which a similar one is searched, in some 0.1 ms each."""


def check(model: type[Model], values: Mapping[str, Any]) -> tuple[Model | None, Faults]:
    """The model of these values and no faults, or None and what is wrong with them."""
    known = model.model_fields
    unknown = [name for name in values if name not in known]
    faults: Faults = {}
    for number, name in enumerate(unknown):
        like = suggestion(name, known) if number < MAX_SUGGESTIONS else ""
        faults[name] = [f"there is no such field{like}"]
    # Without the unknown names: pydantic would take a second to make an error of each of a million.
    try:
        parsed = model.model_validate({name: value for name, value in values.items() if name in known})
    except ValidationError as error:
        return None, {**_explain(error), **faults}
    return (None, faults) if faults else (parsed, {})


def shown(name: str) -> str:
    """A name from a request, shortened for a message."""
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}…"


def few(texts: Sequence[str], separator: str = "; ") -> str:
    """The first of these texts, and the number of the others."""
    rest = len(texts) - MAX_FAULTS
    return separator.join([*texts[:MAX_FAULTS], f"and {rest} more"] if rest > 0 else texts)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or an empty text if no known name is similar."""
    near = difflib.get_close_matches(name, list(known), n=1) if len(name) <= SHOWN else []
    return f"; did you mean {near[0]}?" if near else ""


def _explain(error: ValidationError) -> Faults:
    faults: Faults = {}
    for fault in error.errors(include_url=False, include_input=False):
        field, *inner = (str(part) for part in fault["loc"])
        plain = PLAIN.get(fault["type"])
        text = fault["msg"] if plain is None else plain.format_map(fault.get("ctx", {}))
        place = "".join(f"{shown(part)}: " for part in inner)
        faults.setdefault(field, []).append(place + text)
    return faults
