"""/v1/jobs"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from jobd.api import job_values, render
from jobd.api.base import Handler
from jobd.api.schemas import JobFields, JobQuery
from jobd.errors import PreconditionFailed
from jobd.store import deletion, execs, jobs
from jobd.store.callers import Caller
from jobd.store.execs import last_of
from jobd.store.jobs import JobFilter
from jobd.store.pages import Page
from jobd.store.tables import Exec, Job


class Jobs(Handler):
    queries = {"GET": JobQuery}

    async def get(self) -> None:
        wanted: JobQuery = self.wanted
        found = JobFilter(wanted.namespace, wanted.name, wanted.region, wanted.scheduled, wanted.label)
        page, last = await self.services.database.read(
            _page_with_last, self.caller, found, wanted.page, wanted.page_size
        )
        self.reply_page(page.count, [render.job(row, last.get(row.id)) for row in page.rows])

    async def post(self) -> None:
        values = job_values.for_create(self.body(), self.caller.own_namespace, self.services.settings)
        row = await self.services.database.write(jobs.create, self.caller, values, self.services.keyring)
        self.set_header("Location", f"/v1/jobs/{row.id}")
        self.set_header("Etag", version(row))
        self.reply(render.job(row, None), 201)


class OneJob(Handler):
    async def get(self, job_id: str) -> None:
        row, last = await self.services.database.read(_with_last, jobs.get, self.caller, self.number(job_id))
        self.set_header("Etag", version(row))
        self.reply(render.job(row, last))

    async def put(self, job_id: str) -> None:
        database, number = self.services.database, self.number(job_id)
        current = await database.read(jobs.writable, self.caller, number)
        changes = job_values.for_update(self.body(), current, self.services.settings)
        row, last = await database.write(
            _with_last, jobs.update, self.caller, number, changes, self._require, self.services.keyring
        )
        self.set_header("Etag", version(row))
        self.reply(render.job(row, last))

    async def delete(self, job_id: str) -> None:
        await self.services.database.write(deletion.delete_job, self.caller, self.number(job_id))
        self.services.engine.stop_requested()
        self.set_status(204)

    def _require(self, job: Job) -> None:
        """RFC 9110, 13.1.1: strong comparison, so that a weak tag matches nothing."""
        wanted = [tag.strip() for tag in self.request.headers.get("If-Match", "*").split(",")]
        if "*" not in wanted and version(job) not in wanted:
            raise PreconditionFailed(f"job {job.id} is no longer as If-Match has it")


def version(job: Job) -> str:
    """The entity tag of what a user said of the job, whatever became of it since."""
    said = json.dumps([getattr(job, name) for name in JobFields.model_fields], sort_keys=True)
    return f'"{hashlib.sha256(said.encode()).hexdigest()[:32]}"'


def _page_with_last(caller: Caller, wanted: JobFilter, number: int, size: int) -> tuple[Page, dict[int, Exec]]:
    page = jobs.listed(caller, wanted, number, size)
    return page, execs.last_of(row.id for row in page.rows)


def _with_last(fn: Callable[..., Job], *args: Any) -> tuple[Job, Exec | None]:
    row = fn(*args)
    return row, last_of([row.id]).get(row.id)
