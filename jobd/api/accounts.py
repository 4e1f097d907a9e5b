"""/v1/generate-api-token and /v1/auth/profile"""

from collections import Counter
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from jobd.api.schemas.requests import Credentials, ProfileChange
from jobd.errors import BadRequest, InvalidArgs, StateConflict, Unauthorized
from jobd.store.callers import Caller
from jobd.store.people import accounts
from jobd.web.handler import JSON, Handler
from jobd.web.json_body import storage_fault
from jobd.web.requests import read_body

FORM = "application/x-www-form-urlencoded"


class GenerateApiToken(Handler):
    body_types: ClassVar[tuple[str, ...]] = (JSON, FORM)

    async def post(self) -> None:
        credentials = await self._credentials()
        address, database = self.request.remote_ip or "", self.services.database
        await self.services.sign_ins.check(address, credentials.username, credentials.password, database)
        by = Caller(credentials.username, {}, address=address, request_id=self.request_id)
        token = await database.write(accounts.sign_in, credentials.username, by)
        self.reply({"username": credentials.username, "token": token})

    async def _credentials(self) -> Credentials:
        if not self.request.headers.get("Content-Type", "").lower().startswith(FORM):
            return await self.read_body(Credentials)
        return read_body(Credentials, self._form())

    def _form(self) -> dict[str, str]:
        try:
            pairs = parse_qsl(self.received().decode(), keep_blank_values=True, errors="strict", max_num_fields=100)
        except ValueError:
            raise BadRequest("the body is not a form in UTF-8") from None
        form = dict(pairs)
        counts = Counter(name for name, _ in pairs)
        faults = {name: ["must be given once"] for name, count in counts.items() if count > 1}
        faults |= {
            ascii(name)[1:-1]: [fault] for name, text in pairs if (fault := storage_fault(name) or storage_fault(text))
        }
        if faults:
            raise InvalidArgs("invalid form", faults)
        return form


class Profile(Handler):
    async def get(self) -> None:
        self.reply(_shape(self.caller))

    async def put(self) -> None:
        change = await self.read_body(ProfileChange)
        username, database = self.caller.username, self.services.database
        if await database.read(accounts.password_hash, username) is None:
            raise StateConflict("you have no password yet; ask an administrator to set the first one")
        try:
            await self.services.sign_ins.check(self.caller.address, username, change.current_password, database)
        except Unauthorized:
            raise InvalidArgs("invalid request", {"current_password": ["is not your password"]}) from None
        hashed = await self.services.sign_ins.hash(self.caller.address, change.password)
        await database.write(accounts.set_password, username, hashed, self.caller)
        self.reply(_shape(self.caller))


def _shape(caller: Caller) -> dict[str, Any]:
    return {
        "username": caller.username,
        "is_admin": caller.is_admin,
        "namespaces": None if caller.roles is None else dict(sorted(caller.roles.items())),
        "access": "write" if caller.may_change else "read",
    }
