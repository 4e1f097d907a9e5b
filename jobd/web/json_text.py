"""Encodes responses as JSON."""

import json
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def encoded(value: Any) -> bytes:
    """`value` as compact JSON in UTF-8."""
    return _ENCODER.encode(value).encode()


def line(value: Any) -> bytes:
    """The same with a newline at its end, so that a terminal's prompt begins on a new line."""
    return encoded(value) + b"\n"
