"""/v1/audit"""

from jobd.api import lists
from jobd.api.schemas import serialize
from jobd.api.schemas.requests import AuditQuery
from jobd.store import audit
from jobd.store.audit import AuditFilter
from jobd.web.handler import Handler


class AuditRecords(Handler):
    queries = {"GET": AuditQuery}

    async def get(self) -> None:
        query: AuditQuery = self.query
        filters = AuditFilter(query.namespace, query.actor, query.since, query.until)
        args = (self.caller, filters, lists.page_request(self))
        await lists.reply(self, lists.shaped, serialize.audit_record, audit.listed, *args)
