"""/v1/audit"""

from jobd.api import render
from jobd.api.base import Handler
from jobd.api.schemas import AuditQuery
from jobd.store import audit
from jobd.store.audit import AuditFilter


class AuditRecords(Handler):
    queries = {"GET": AuditQuery}

    async def get(self) -> None:
        asked: AuditQuery = self.wanted
        wanted = AuditFilter(asked.namespace, asked.actor, asked.since, asked.until)
        page = await self.services.database.read(audit.listed, self.caller, wanted, asked.page, asked.page_size)
        self.reply_page(page.count, map(render.audit_record, page.rows))
