"""docs/jobs.zh.md as data: every request with the status and the example that it is promised."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "jobs.zh.md"

_REQUEST = re.compile(r"^`+(GET|POST|PUT|DELETE) ([^`\s]+)`+", re.MULTILINE)
_STATUS = re.compile(r"status code：(\d+)")
_BLOCK = re.compile(r"^```json\n(.*?)^```|^```json\n(.*)\Z", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Call:
    """`example` is None where no body is promised."""

    method: str
    path: str
    body: dict[str, Any] | None
    status: int
    example: dict[str, Any] | None


def calls() -> list[Call]:
    """The calls, in the document's order."""
    sections = re.split(r"^##(?!#)", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [_call(section) for section in sections if _REQUEST.search(section)]


def _call(section: str) -> Call:
    request, promise = section.split("**返回结果示例", 1)
    method, path = _REQUEST.search(request).groups()
    bodies = _blocks(request)
    answers = _blocks(promise)
    # The first block is the body; one that follows explains a single field.
    return Call(
        method,
        path,
        bodies[0] if bodies else None,
        int(_STATUS.search(promise)[1]),
        answers[0] if answers else None,
    )


def _blocks(text: str) -> list[dict[str, Any]]:
    # The last example of the document is cut off: its block is closed after a comma.
    return [_read(found[1] or found[2]) for found in _BLOCK.finditer(text)]


def _read(text: str) -> dict[str, Any]:
    text = re.sub(r",\s*\.\.\.", "", text).rstrip()
    return json.loads(f"{text[:-1]}}}" if text.endswith(",") else text)
