"""/v1/users"""

from jobd.api import lists
from jobd.api.schemas import serialize
from jobd.api.schemas.requests import UserChange, UserCreate
from jobd.store.people import accounts, users
from jobd.store.people.accounts import PasswordHash
from jobd.web.handler import Handler
from jobd.web.requests import PageQuery


class _Users(Handler):
    async def hashed(self, password: str | None) -> PasswordHash | None:
        return None if password is None else await self.services.sign_ins.hash(self.caller.address, password)


class Users(_Users):
    queries = {"GET": PageQuery}

    async def get(self) -> None:
        await lists.reply(self, lists.shaped, serialize.user, users.listed, lists.page_request(self))

    async def post(self) -> None:
        body = await self.read_body(UserCreate)
        hashed = await self.hashed(body.password)
        row = await self.services.database.write(
            accounts.create_user, body.username, hashed, bool(body.is_admin), self.caller
        )
        self.set_header("Location", f"/v1/users/{row.username}")
        self.reply(serialize.user(row), 201)


class OneUser(_Users):
    async def get(self, username: str) -> None:
        self.reply(serialize.user(await self.services.database.read(accounts.user, self.account_name(username))))

    async def put(self, username: str) -> None:
        body = await self.read_body(UserChange)
        flags = body.model_dump(include=set(users.FLAGS), exclude_none=True)
        hashed = await self.hashed(body.password)
        row = await self.services.database.write(users.update, self.caller, self.account_name(username), flags, hashed)
        self.reply(serialize.user(row))

    async def delete(self, username: str) -> None:
        await self.services.database.write(users.delete, self.caller, self.account_name(username))
        self.set_status(204)
