"""/v1/tokens"""

from jobd.api import lists
from jobd.api.schemas import serialize
from jobd.api.schemas.requests import TokenCreate, TokenQuery
from jobd.errors import NotFound
from jobd.store.people import accounts, tokens
from jobd.store.people.tokens import Owned
from jobd.web.handler import Handler


class Tokens(Handler):
    queries = {"GET": TokenQuery}

    async def get(self) -> None:
        query: TokenQuery = self.query
        username = self.caller.username if query.username is None else query.username
        if username != self.caller.username and not self.caller.is_admin:
            raise NotFound(f"no user {username!r}")
        await lists.reply(self, lists.shaped, serialize.token, tokens.listed, username, lists.page_request(self))

    async def post(self) -> None:
        body = await self.read_body(TokenCreate)
        username, access = self.caller.username, body.access or "write"
        row, text = await self.services.database.write(
            accounts.issue_token, username, body.name, body.namespace, access, body.expires_at, self.caller
        )
        self.set_header("Location", f"/v1/tokens/{row.id}")
        self.reply({**serialize.token(Owned(row, username)), "token": text}, 201)


class OneToken(Handler):
    async def get(self, token_id: str) -> None:
        self.reply(serialize.token(await self.services.database.read(tokens.get, self.caller, self.number(token_id))))

    async def delete(self, token_id: str) -> None:
        await self.services.database.write(tokens.revoke, self.caller, self.number(token_id))
        self.set_status(204)
