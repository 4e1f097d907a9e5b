"""/v1/orgs and their members"""

from functools import partial

from jobd.api import lists
from jobd.api.schemas import serialize
from jobd.api.schemas.requests import MemberChange, MemberCreate, OrganizationCreate
from jobd.store.people import organizations
from jobd.web.handler import Handler
from jobd.web.requests import PageQuery


class Organizations(Handler):
    queries = {"GET": PageQuery}

    async def get(self) -> None:
        shape = partial(serialize.organization, seen_by=self.caller)
        await lists.reply(self, lists.shaped, shape, organizations.listed, self.caller, lists.page_request(self))

    async def post(self) -> None:
        body = await self.read_body(OrganizationCreate)
        row = await self.services.database.write(
            organizations.create, self.caller, body.name, body.admin or self.caller.username
        )
        self.set_header("Location", f"/v1/orgs/{row.name}")
        self.reply(serialize.organization(row, self.caller), 201)


class OneOrganization(Handler):
    async def get(self, name: str) -> None:
        row = await self.services.database.read(organizations.get, self.caller, self.account_name(name))
        self.reply(serialize.organization(row, self.caller))

    async def delete(self, name: str) -> None:
        await self.services.database.write(organizations.delete, self.caller, self.account_name(name))
        self.set_status(204)


class Members(Handler):
    queries = {"GET": PageQuery}

    async def get(self, name: str) -> None:
        args = (self.caller, self.account_name(name), lists.page_request(self))
        await lists.reply(self, lists.shaped, serialize.member, organizations.members, *args)

    async def post(self, name: str) -> None:
        body = await self.read_body(MemberCreate)
        member = await self.services.database.write(
            organizations.add, self.caller, self.account_name(name), body.username, body.role
        )
        self.set_header("Location", f"/v1/orgs/{name}/members/{member.username}")
        self.reply(serialize.member(member), 201)


class OneMember(Handler):
    async def get(self, name: str, username: str) -> None:
        where = self.account_name(name), self.account_name(username)
        self.reply(serialize.member(await self.services.database.read(organizations.member, self.caller, *where)))

    async def put(self, name: str, username: str) -> None:
        where = self.account_name(name), self.account_name(username)
        body = await self.read_body(MemberChange)
        changed = await self.services.database.write(organizations.change, self.caller, *where, body.role)
        self.reply(serialize.member(changed))

    async def delete(self, name: str, username: str) -> None:
        where = self.account_name(name), self.account_name(username)
        await self.services.database.write(organizations.remove, self.caller, *where)
        self.set_status(204)
