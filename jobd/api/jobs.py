"""/v1/jobs"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from jobd.api import lists
from jobd.api.lists import Listed
from jobd.api.schemas import job_input, serialize
from jobd.api.schemas.requests import JobFields, JobQuery
from jobd.store import deletion, execs, jobs
from jobd.store.callers import Caller
from jobd.store.db.pages import PageRequest
from jobd.store.db.tables import Exec, Job
from jobd.store.execs import last_of
from jobd.store.jobs import JobFilter
from jobd.web.handler import Handler
from jobd.web.preconditions import require_match


class _Jobs(Handler):
    async def reply_job(self, row: Job, last: Exec | None, status: int = 200) -> None:
        """Respond with the job and its ETag, calculated in a thread unless the job is small."""
        if serialize.is_small(row):
            self.set_header("Etag", version(row))
        else:
            self.set_header("Etag", await self.services.answers.call(self.share_key, version, row))
        await self.reply_with(lambda: serialize.job(row, last), serialize.is_small(row), status)


class Jobs(_Jobs):
    queries = {"GET": JobQuery}

    async def get(self) -> None:
        query: JobQuery = self.query
        filters = JobFilter(query.namespace, query.name, query.region, query.scheduled, query.label)
        await lists.reply(self, _page, self.caller, filters, lists.page_request(self))

    async def post(self) -> None:
        namespace, settings = self.caller.own_namespace, self.services.settings
        values = await self.parse_body(lambda body: job_input.for_create(body, namespace, settings))
        row = await self.services.database.write(jobs.create, self.caller, values, self.services.keyring)
        self.set_header("Location", f"/v1/jobs/{row.id}")
        await self.reply_job(row, None, 201)


class OneJob(_Jobs):
    async def get(self, job_id: str) -> None:
        row, last = await self.services.database.read(_with_last, jobs.get, self.caller, self.number(job_id))
        await self.reply_job(row, last)

    async def put(self, job_id: str) -> None:
        database, number = self.services.database, self.number(job_id)
        current = await database.read(jobs.writable, self.caller, number)
        changes = await self.parse_body(lambda body: job_input.for_update(body, current, self.services.settings))
        row, last = await database.write(
            _with_last, jobs.update, self.caller, number, changes, self._require, self.services.keyring
        )
        await self.reply_job(row, last)

    async def delete(self, job_id: str) -> None:
        await self.services.database.write(deletion.delete_job, self.caller, self.number(job_id), self._require)
        self.services.engine.stop_requested()
        self.set_status(204)

    def _require(self, job: Job) -> None:
        require_match(self.request.headers.get("If-Match"), version(job), f"job {job.id}")


def version(job: Job) -> str:
    """The entity tag of the fields that a user can set; it does not change when the job runs."""
    fields = json.dumps([getattr(job, name) for name in JobFields.model_fields], sort_keys=True)
    return f'"{hashlib.sha256(fields.encode()).hexdigest()[:32]}"'


def _page(caller: Caller, filters: JobFilter, request: PageRequest) -> Listed:
    page = jobs.listed(caller, filters, request)
    last = execs.last_of(row.id for row in page.rows)
    return page, (serialize.job(row, last.get(row.id)) for row in page.rows)


def _with_last(fn: Callable[..., Job], *args: Any) -> tuple[Job, Exec | None]:
    row = fn(*args)
    return row, last_of([row.id]).get(row.id)
