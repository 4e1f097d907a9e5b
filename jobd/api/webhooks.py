"""/v1/hooks"""

from collections.abc import Mapping
from typing import Any

from jobd.api import lists
from jobd.api.lists import Listed
from jobd.api.schemas import fields, serialize
from jobd.api.schemas.requests import HOOK_READ_ONLY, HookChange, HookCreate, HookQuery
from jobd.errors import InvalidArgs
from jobd.output.masking import MASK
from jobd.store import webhooks
from jobd.store.callers import Caller
from jobd.store.db.columns import MAX_ID
from jobd.store.db.pages import PageRequest
from jobd.store.db.tables import Hook
from jobd.web import json_text
from jobd.web.handler import Handler
from jobd.web.requests import PageQuery, read_body
from jobd.web.validation import check


class Hooks(Handler):
    queries = {"GET": HookQuery}

    async def get(self) -> None:
        query: HookQuery = self.query
        subject = subject_of(query.subject_type, query.subject)
        await self.reply_written(await self.services.database.read(_listed, self.caller, subject))

    async def post(self) -> None:
        hook = await self.parse_body(lambda body: read_body(HookCreate, _writable(body)))
        if hook.secret == MASK:
            raise InvalidArgs("invalid request", {"secret": [f"{MASK} stands for a hidden value; expected the secret"]})
        subject = subject_of(hook.subject_type, hook.subject)
        values = {
            "name": hook.name,
            "url": hook.url,
            "events": hook.events,
            "secret": hook.secret,
            "is_active": hook.is_active is not False,
        }
        row = await self.services.database.write(webhooks.create, self.caller, subject, values, self.services.keyring)
        self.set_header("Location", f"/v1/hooks/{row.id}")
        self.reply(serialize.hook(row), 201)


class OneHook(Handler):
    async def get(self, hook_id: str) -> None:
        row = await self.services.database.read(webhooks.get, self.caller, self.number(hook_id))
        self.reply(serialize.hook(row))

    async def put(self, hook_id: str) -> None:
        database, number = self.services.database, self.number(hook_id)
        current = await database.read(webhooks.get, self.caller, number)
        changes = await self.parse_body(lambda body: _changes(body, current))
        row = await database.write(webhooks.update, self.caller, number, changes, self.services.keyring)
        self.reply(serialize.hook(row))

    async def delete(self, hook_id: str) -> None:
        await self.services.database.write(webhooks.delete, self.caller, self.number(hook_id))
        self.set_status(204)


class Deliveries(Handler):
    queries = {"GET": PageQuery}

    async def get(self, hook_id: str) -> None:
        await lists.reply(self, _deliveries, self.caller, self.number(hook_id), lists.page_request(self))


class Redeliver(Handler):
    async def post(self, hook_id: str, delivery_id: str) -> None:
        await self.no_body()
        row = await self.services.database.write(
            webhooks.redeliver, self.caller, self.number(hook_id), self.number(delivery_id)
        )
        self.reply(serialize.delivery(row, []), 201)


def subject_of(subject_type: str, subject: str) -> int | str:
    """A job's id or a namespace's name. Raises InvalidArgs."""
    if subject_type == "job":
        if subject.isascii() and subject.isdigit() and len(subject) <= 19 and int(subject) <= MAX_ID:
            return int(subject)
        raise InvalidArgs("invalid request", {"subject": ["must be a job's id"]})
    if not fields.is_namespace(subject):
        raise InvalidArgs("invalid request", {"subject": ["must be a namespace's name"]})
    return subject


def _listed(caller: Caller, subject: int | str) -> bytes:
    """All hooks as JSON, encoded in the thread that read them, since there may be many with long URLs."""
    return json_text.line([serialize.hook(row) for row in webhooks.listed(caller, subject)])


def _deliveries(caller: Caller, hook_id: int, request: PageRequest) -> Listed:
    page, attempts = webhooks.deliveries(caller, hook_id, request)
    return page, (serialize.delivery(row, attempts[row.id]) for row in page.rows)


def _writable(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in HOOK_READ_ONLY}


def _changes(body: Mapping[str, Any], current: Hook) -> dict[str, Any]:
    """The columns that a request changes. Raises InvalidArgs with every fault."""
    shown, values = serialize.hook(current), _writable(body)
    parsed, faults = check(HookChange, values)
    for name in ("subject_type", "subject"):
        if name in values and str(values[name]) != str(shown[name]):
            faults[name] = ["cannot be changed"]
    for name in ("url", "events"):
        if name in values and values[name] is None:
            faults[name] = ["is required"]
    if parsed is None or faults:
        raise InvalidArgs("invalid request", faults)
    changes = parsed.model_dump(exclude_unset=True, exclude={"subject_type", "subject"})
    if changes.get("secret") == MASK:
        del changes["secret"]
    if "is_active" in changes:
        changes["is_active"] = changes["is_active"] is not False
    return changes
