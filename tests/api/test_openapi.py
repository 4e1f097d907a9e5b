"""/openapi.json: valid, whole, the same every time, and with examples that work."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from jobd.api import routes
from jobd.api.openapi import document, page
from jobd.api.openapi.calls import JSON
from jobd.api.openapi.refusals import REFUSALS
from jobd.config.settings import Jobd
from jobd.store import secrets
from jobd.store.db.database import Database
from jobd.store.db.tables import User
from jobd.store.people import accounts
from jobd.web import error_responses
from tests.api.conftest import USER
from tests.api.server import Api

DOCUMENT = document.build(routes.TABLE)
OPERATIONS = [
    pytest.param(method, path, operation, id=f"{method} {path}")
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def operation_ids() -> list[str]:
    return [param.values[2]["operationId"] for param in OPERATIONS]


def faults(value: Any, schema: dict[str, Any]) -> list[str]:
    """What is wrong with a value by a schema of the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return [
        error.message
        for error in OAS31Validator(whole, format_checker=OAS31Validator.FORMAT_CHECKER).iter_errors(value)
    ]


def test_every_method_of_every_address_has_an_entry_and_no_entry_is_left_over() -> None:
    served = {(method, path) for path, handler in routes.TABLE.items() for method in document.methods(handler)}
    assert not served - document.CALLS.keys(), "to be described in CALLS of a module under jobd/api/openapi/"
    assert not document.CALLS.keys() - served
    described = {(method.upper(), path) for method, path, _ in (param.values for param in OPERATIONS)}
    assert described == served


def test_it_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_it_is_the_same_to_the_last_byte_whenever_it_is_made() -> None:
    assert json.dumps(document.build(routes.TABLE)) == json.dumps(DOCUMENT)
    assert list(DOCUMENT["components"]["schemas"]) == sorted(DOCUMENT["components"]["schemas"])


def test_every_status_of_an_error_is_described() -> None:
    statuses = {status for status, *_ in REFUSALS.values()}
    assert statuses == {*error_responses.STATUS.values(), 500} - {405}
    for status, _, example in REFUSALS.values():
        assert error_responses.STATUS.get(example["errors"][0]["code"], 500) == status


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_is_whole_and_its_examples_are_by_its_schemas(method: str, path: str, operation: Any) -> None:
    assert operation["summary"] and operation["tags"]
    parameters = [*DOCUMENT["paths"][path].get("parameters", []), *operation.get("parameters", [])]
    for parameter in parameters:
        assert parameter.get("description") or parameter["in"] == "path", parameter
        if "example" in parameter:
            assert not faults(parameter["example"], parameter["schema"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        assert content["examples"]
        for example in content["examples"].values():
            assert not faults(example["value"], content["schema"])
    assert any(status.startswith("2") for status in operation["responses"])
    for status, answer in operation["responses"].items():
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
        assert ("content" in answer) == (status not in ("204", "304"))
        for content in answer.get("content", {}).values():
            assert not faults(content["example"], content["schema"])


def test_every_operation_has_a_name_of_its_own() -> None:
    assert len(set(operation_ids())) == len(operation_ids())


def test_an_operation_is_named_as_a_method_of_a_client_would_be() -> None:
    verbs = "list|get|create|update|delete|add|remove|run|rerun|stop|preview|generate|change|revoke|redeliver"
    assert [name for name in operation_ids() if not re.fullmatch(rf"(?:{verbs})(?:_[a-z]+)+", name)] == []
    assert {"list_job_execs", "change_password", "list_hook_deliveries", "get_readiness"} <= set(operation_ids())


def test_an_object_or_a_choice_of_several_words_has_a_schema_with_a_name() -> None:
    """Else each generated client invents a name for it, such as `JobCreateRuntimeVarsType0`."""
    nameless = []
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field, about in schema.get("properties", {}).items():
            for kind in [*about.get("anyOf", [about]), about.get("items", {})]:
                if kind.get("type") == "object" or len(kind.get("enum", [])) > 1:
                    nameless.append(f"{name}.{field}")
    assert not nameless


def test_a_call_without_a_token_says_so() -> None:
    open_calls = {
        path for _, path, operation in (param.values for param in OPERATIONS) if operation.get("security") == []
    }
    assert open_calls == {"/v1/generate-api-token", "/healthz", "/readyz", "/openapi.json", "/docs"}


@pytest.mark.gen_test(timeout=30)
async def test_every_example_of_a_body_works_and_its_answer_is_by_the_schema(
    api: Api, make_api: Callable[..., Api], database: Database, tmp_path: Path
) -> None:
    api = make_api(api.token, jobd=Jobd(data_dir=tmp_path))
    database.write_sync(secrets.begin, api.services.keyring)
    database.write_sync(accounts.set_password, USER, "correct horse battery staple")
    database.write_sync(lambda: User.update(is_admin=True).where(User.username == USER).execute())
    for method, path, operation in (param.values for param in OPERATIONS):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for example in content["examples"].values():
                await _called(api, method, path, operation, example["value"])
            break


async def _called(api: Api, method: str, path: str, operation: Any, body: Any) -> None:
    job = await api.job()
    subject = job
    if path.startswith("/v1/hooks/"):
        hook = {"subject_type": "job", "subject": job["id"], "url": "https://example.com", "events": ["job:fail"]}
        subject = (await api.call("POST", "/v1/hooks", hook)).json
    address = path.replace("{id}", str(subject["id"]))
    address = address.replace("{username}", "lihua").replace("{name}", "team")
    if "{exec_id}" in path:
        address = address.replace("{exec_id}", (await api.exec(job["id"]))["id"])
    if path == "/v1/hooks" and body["subject_type"] == "job":
        body = {**body, "subject": job["id"]}
    answer = await api.call(method.upper(), address, body)
    assert str(answer.status) in operation["responses"], (path, answer.body)
    assert answer.status < 300, (path, answer.body)
    schema = operation["responses"][str(answer.status)]["content"][JSON]["schema"]
    assert not faults(answer.json, schema)


@pytest.mark.gen_test(timeout=30)
async def test_it_is_served_to_everybody_and_again_only_when_it_has_changed(api: Api) -> None:
    first = await api.call("GET", "/openapi.json", token=None)
    assert first.json == DOCUMENT
    assert first.headers["Cache-Control"] == "no-cache"
    again = await api.call("GET", "/openapi.json", headers={"If-None-Match": first.headers["Etag"]}, token=None)
    assert (again.status, again.body) == (304, b"")


@pytest.mark.gen_test(timeout=30)
async def test_the_page_has_every_call_and_needs_nothing_from_elsewhere(api: Api) -> None:
    answer = await api.call("GET", "/docs", token=None)
    text = answer.body.decode()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert [name for name in operation_ids() if f'<article id="{name}">' not in text] == []
    links = re.findall(r'(?:href|src|action)="([^"]*)"', text)
    assert {link for link in links if not link.startswith("#")} == {"openapi.json"}
    assert [link for link in links if link.startswith("#") and f'id="{link[1:]}"' not in text] == []
    assert not re.search(r"<script|\bon\w+=|style=", text)
    policy = answer.headers["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")


def test_the_page_escapes_what_it_shows() -> None:
    hostile = json.loads(json.dumps(DOCUMENT).replace("List jobs", "<script>alert(1)</script>"))
    html, _ = page.render(hostile)
    assert b"<script" not in html
    assert b"&lt;script&gt;" in html
