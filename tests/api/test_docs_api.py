"""docs/api.md keeps up with the code, and its examples work."""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel

from jobd.api import routes
from jobd.api.schemas import requests
from jobd.store.callers import JOBD
from jobd.store.db.database import Database
from jobd.store.people import users
from jobd.web import error_responses
from tests.api.conftest import USER
from tests.api.server import Api
from tests.services import missing

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
PASSWORD = "a long password"
HOOK = {"subject_type": "namespace", "subject": USER, "url": "https://example.com/", "events": ["job:cancel"]}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def models(base: type[BaseModel]) -> set[type[BaseModel]]:
    """Every one of a kind that a request may have to fit."""
    return {base, *(model for sub in base.__subclasses__() for model in models(sub))}


def examples() -> list[str]:
    """The commands of the page, those that delete last, what is in something before that."""
    blocks = re.findall(r"^```console\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    commands = [
        command
        for block in blocks
        for command in re.findall(r"^\$ (curl .*?)(?=^[$\[{]|\Z)", block, re.MULTILINE | re.DOTALL)
    ]
    return sorted(commands, key=lambda command: ("DELETE" in command, -command.count("/") * ("DELETE" in command)))


def test_every_address_and_method_has_a_section() -> None:
    sections = set(re.findall(r"^### `(\w+ /\S+)`", TEXT, re.MULTILINE))
    served = {
        f"{method} {path}"
        for path, handler in routes.TABLE.items()
        for method in handler.methods()
        if method not in ("HEAD", "OPTIONS")
    }
    assert sections == served


def test_every_section_of_an_address_has_an_example_of_it() -> None:
    for method, path, rest in re.findall(r"^### `(\w+) (/\S+)`\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL):
        url = path.format(id=1, exec_id="$EXEC", name="team", username="lihua", token_id=2, delivery_id=1)
        assert re.search(rf'curl (-X {method} )?"\$JOBD_URL{re.escape(url)}[?"]', rest), f"{method} {path}"


@pytest.mark.parametrize("model", sorted(models(requests.Body), key=str))
def test_every_field_is_named(model: type[requests.Body]) -> None:
    assert [name for name in model.model_fields if f"`{name}`" not in TEXT] == []


@pytest.mark.parametrize("model", sorted(models(requests.Query), key=str))
def test_every_parameter_is_named(model: type[requests.Query]) -> None:
    assert [name for name in model.model_fields if f"`{name}`" not in TEXT] == []


@pytest.mark.gen_test(timeout=30)
async def test_every_field_of_an_answer_is_named(api: Api) -> None:
    job = await api.job()
    exec = await api.exec(job["id"])
    region = (await api.call("GET", "/v1/regions")).json["results"][0]
    hook = (await api.call("POST", "/v1/hooks", HOOK)).json
    assert [name for name in {**job, **exec, **hook} if f"`{name}`" not in TEXT] == []
    assert [name for name in region if f'"{name}"' not in TEXT] == []


def test_every_error_code_that_is_raised_is_named() -> None:
    unused = {"idempotency_mismatch"}
    named = dict(re.findall(r"^\| `(\w+)` \| (\d{3}) \|", TEXT, re.MULTILINE))
    served = {code: str(status) for code, status in error_responses.STATUS.items() if code not in unused}
    assert named == {**served, "unknown_issue": "500"}


@pytest.mark.gen_test(timeout=60)
async def test_every_example_works(api_with_keys: Api, database: Database) -> None:
    api = api_with_keys
    if shutil.which("curl") is None:
        missing("curl")
    database.write_sync(users.update, JOBD, USER, {"is_admin": True}, PASSWORD)
    exec = await api.exec((await api.job())["id"])
    await api.call("POST", "/v1/hooks", HOOK)
    stopped = await api.exec(1)
    await api.call("POST", f"/v1/jobs/1/execs/{stopped['id']}/stop")
    values = {
        "JOBD_URL": api.url,
        "AUTH": f"Authorization: Token {api.token}",
        "JSON": "Content-Type: application/json",
        "PASSWORD": PASSWORD,
        "NEW_PASSWORD": f"{PASSWORD}, a new one",
        "EXEC": exec["id"],
    }
    assert len(examples()) >= 20
    for command in examples():
        ran = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            command.replace("curl ", "curl -sS --fail-with-body ", 1),
            env={**os.environ, **values},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await ran.communicate()
        assert ran.returncode == 0, f"{command}\n{output.decode()}"
