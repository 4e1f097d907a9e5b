"""The OpenAPI document as an HTML page without scripts and external resources, for the strictest policy."""

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tornado.escape import xhtml_escape
from tornado.template import Template

Json = dict[str, Any]

_HERE = Path(__file__).parent
_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} of them",
    "maxProperties": "at most {} of them",
    "format": "{}",
    "default": "by default {}",
}
_LONE = {"minLength": 1, "maximum": 2**63 - 1}
"""Bounds that are left out, since they are obvious."""


def render(document: Json) -> tuple[bytes, str]:
    """The page, and the Content-Security-Policy to serve it with."""
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    template = Template((_HERE / "page.html").read_text(encoding="utf-8"), name="page.html")
    calls = [
        (method, path, item.get("parameters", []), operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]
    page = template.generate(
        document=document,
        style=style,
        groups={tag["name"]: [c for c in calls if tag["name"] in c[3]["tags"]] for tag in document["tags"]},
        curl=curl,
        kind=kind,
        prose=prose,
        pretty=pretty,
        slug=slug,
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return page, f"{policy}; frame-ancestors 'none'"


def prose(text: str) -> str:
    """Text with `code` and paragraphs, as HTML."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", xhtml_escape(text.strip()))
    return "".join(f"<p>{paragraph}</p>" for paragraph in marked.split("\n\n") if paragraph)


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def pretty(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, ensure_ascii=False, indent=2)


def kind(schema: Mapping[str, Any]) -> str:
    """A schema's type and bounds, in a few words of HTML."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(kind(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        words = " ".join(f"<code>{xhtml_escape(str(v))}</code>" for v in schema.get("enum", [schema.get("const")]))
    elif schema.get("type") == "array":
        words = f"list of {kind(schema.get('items', {}))}"
    elif schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        words = f"object of {kind(schema['additionalProperties'])}"
    else:
        words = str(schema.get("type", "anything"))
    bounds = [text.format(xhtml_escape(str(schema[name]))) for name, text in _BOUNDS.items() if _says(schema, name)]
    return ", ".join([words, *bounds])


def _says(schema: Mapping[str, Any], name: str) -> bool:
    return name in schema and schema[name] != _LONE.get(name) and schema[name] not in ([], {})


def curl(method: str, path: str, parameters: list[Json], operation: Json, body: Any = None) -> str:
    """A command line that makes the call, with an example of a body if there is one."""
    for parameter in parameters:
        path = path.replace(f"{{{parameter['name']}}}", str(parameter.get("example", parameter["name"])))
    implied = method == "get" or (method == "post" and body is not None)
    line = f'curl {"" if implied else f"-X {method.upper()} "}"$JOBD_URL{path}"'
    if operation.get("security") != []:
        line += ' -H "Authorization: Token $JOBD_TOKEN"'
    if body is not None:
        line += f' -H "Content-Type: application/json" \\\n  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}'
    return line
