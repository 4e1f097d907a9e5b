"""Builds the OpenAPI 3.1 document from the URL table, each handler's queries, and the `CALLS` of each noun."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

import jobd
from jobd.api.openapi import accounts, execs, jobs, system, webhooks
from jobd.api.openapi.calls import JSON, Answer, Call, Calls, Content
from jobd.api.openapi.refusals import HEADERS, OF_EVERY_CALL, REFUSALS
from jobd.api.rules import RULES
from jobd.api.schemas import responses
from jobd.api.schemas.requests import JobFields
from jobd.web.handler import Handler
from jobd.web.permissions import LOCAL, PUBLIC, Who
from jobd.web.requests import Query

CALLS: Calls = {**jobs.CALLS, **execs.CALLS, **webhooks.CALLS, **accounts.CALLS, **system.CALLS}
"""All calls by method and address, in the order of the page."""
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "id": {"schema": {"type": "integer", "minimum": 1}, "example": 146},
    "delivery_id": {"schema": {"type": "integer", "minimum": 1}, "example": 31},
    "token_id": {"schema": {"type": "integer", "minimum": 1}, "example": 3},
    "username": {"schema": {"type": "string"}, "example": "lihua"},
    "name": {"schema": {"type": "string"}, "example": "team"},
    "exec_id": {"schema": {"type": "string", "format": "uuid"}, "example": "64b2d045-2881-4293-9bcd-bdc04b953115"},
}
"""The variable parts of addresses, by their names in braces."""
SECURITY: list[Mapping[str, list[str]]] = [{"token": []}, {"bearer": []}]
SCHEMA = "#/components/schemas/{model}"
ABOUT = """\
Container jobs: define them, run them now or on a schedule, and read their results and logs.

Every address works with and without a slash at its end. `HEAD` works wherever `GET` does, `OPTIONS` lists the methods.
Bodies are JSON objects in UTF-8; types are strict, and an unknown field or parameter is an error. Text with the
character NUL or half a surrogate pair is refused. Objects that the caller may not see do not exist for it: 404, or an
empty list. `X-Request-Id` is taken from the request or generated, returned, and written to the server's log.
"""

Json = dict[str, Any]
Table = Mapping[str, type[Handler]]
"""The URL table: handlers by address."""


def methods(handler: type[Handler]) -> list[str]:
    """The methods that need a description: `HEAD` and `OPTIONS` are the same everywhere."""
    return [name for name in handler.methods() if name not in ("HEAD", "OPTIONS")]


def build(table: Table) -> Json:
    """The document, always the same for one version of jobd. Calls without a route in `table` are left out."""
    schemas = _schemas(CALLS.values(), [responses.Errors])
    paths: Json = {}
    for (method, path), call in CALLS.items():
        handler = table.get(path)
        if handler is not None and method in methods(handler):
            paths.setdefault(path, _path(path))[method.lower()] = _operation(
                method, call, handler, RULES.get(path, {}).get(method)
            )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jobd",
            "version": jobd.__version__,
            "description": ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": SECURITY,
        "tags": [{"name": name} for name in dict.fromkeys(call.tag for call in CALLS.values())],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {name: _refusal(name) for name in REFUSALS},
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token <token>`",
                },
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


class _Plain(GenerateJsonSchema):
    """Leaves out titles that only repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _schemas(calls: Iterable[Call], more: Iterable[type[BaseModel]]) -> Json:
    models = dict.fromkeys(more)
    for call in calls:
        contents = [content for answer in call.answers.values() for content in answer.content.values()]
        models |= dict.fromkeys(model for content in contents for model in _models(content))
        models |= dict.fromkeys([call.body.model] if call.body else [])
    _, whole = models_json_schema(
        [(model, "validation") for model in models], ref_template=SCHEMA, schema_generator=_Plain
    )
    schemas = {name: _without_noise(schema) for name, schema in sorted(whole["$defs"].items())}
    texts = {name: field.description for name, field in JobFields.model_fields.items()}
    for base in (JobFields, responses.JobAsItIs, responses.AnyExec):
        for model in base.__subclasses__():
            _describe(schemas[model.__name__], texts)
    return schemas


def _describe(schema: Json, texts: Mapping[str, str | None]) -> None:
    """Add the descriptions of `texts`, those of requests, to fields that have none."""
    for name, field in schema["properties"].items():
        if "description" not in field and texts.get(name):
            field["description"] = texts[name]


def _models(content: Content) -> list[type[BaseModel]]:
    if isinstance(content.schema, Mapping):
        return [value for value in content.schema.values() if isinstance(value, type)]
    return [content.schema]


def _without_noise(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_noise(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    if isinstance(kept.get("title"), str):
        del kept["title"]
    return {name: _without_noise(value) for name, value in kept.items()}


def _path(path: str) -> Json:
    names = re.findall(r"\{(\w+)\}", path)
    parameters = [{"name": name, "in": "path", "required": True, **PARAMETERS[name]} for name in names]
    return {"parameters": parameters} if parameters else {}


def _operation(method: str, call: Call, handler: type[Handler], who: Who | None) -> Json:
    parameters = [*_query(handler.queries.get(method, Query)), *_headers(call)]
    statuses = sorted({*OF_EVERY_CALL, *([] if who is PUBLIC else [401]), *call.refusals})
    operation: Json = {
        "operationId": call.operation,
        "tags": [call.tag],
        "summary": call.summary,
    }
    if call.description:
        operation["description"] = call.description
    if parameters:
        operation["parameters"] = parameters
    if call.body:
        content = {
            "schema": {"$ref": SCHEMA.format(model=call.body.model.__name__)},
            "examples": {name: {"value": value} for name, value in call.body.examples.items()},
        }
        types = dict.fromkeys(handler.body_types, content)
        operation["requestBody"] = {"required": call.body.required, "content": types}
    successes = {str(status): _answer(answer) for status, answer in call.answers.items()}
    names = {status: name for name, (status, *_) in REFUSALS.items()}
    refusals = {str(status): {"$ref": f"#/components/responses/{names[status]}"} for status in statuses}
    operation["responses"] = {**successes, **refusals}
    if who in (PUBLIC, LOCAL):
        operation["security"] = [] if who is PUBLIC else [{}, *SECURITY]
    return operation


def _query(model: type[Query]) -> list[Json]:
    schema = _without_noise(model.model_json_schema(ref_template=SCHEMA, schema_generator=_Plain))
    parameters = []
    for name, field in schema.get("properties", {}).items():
        parameter: Json = {"name": name, "in": "query"}
        if name in schema.get("required", []):
            parameter["required"] = True
        if "description" in field:
            parameter["description"] = field.pop("description")
        # A query has no null; the parameter is left out instead.
        kinds = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"}]
        shape = {**kinds[0], **field} if len(kinds) == 1 else {**field, **({"anyOf": kinds} if kinds else {})}
        if isinstance(shape.get("default"), bool):
            shape["default"] = str(shape["default"]).lower()
        parameters.append({**parameter, "schema": shape})
    return parameters


def _headers(call: Call) -> list[Json]:
    return [
        {
            "name": name,
            "in": "header",
            "description": header.description,
            "schema": dict(header.schema),
            **({"example": header.example} if header.example else {}),
        }
        for name, header in (call.headers or {}).items()
    ]


def _answer(answer: Answer) -> Json:
    shape: Json = {"description": answer.description}
    if answer.headers:
        shape["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
        }
    if answer.content:
        shape["content"] = {
            name: {"schema": _schema(content.schema), "example": content.example}
            for name, content in answer.content.items()
        }
    return shape


def _schema(schema: Any) -> Any:
    """The schema, with references in place of models."""
    if isinstance(schema, type):
        return {"$ref": SCHEMA.format(model=schema.__name__)}
    return {name: _schema(value) if isinstance(value, type | Mapping) else value for name, value in schema.items()}


def _refusal(name: str) -> Json:
    status, description, example = REFUSALS[name]
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.get(status, {}).items()
    }
    return {
        "description": description,
        **({"headers": headers} if headers else {}),
        "content": {JSON: {"schema": _schema(responses.Errors), "example": example}},
    }
