"""/v1/jobs/{job_id}/execs and /v1/execs"""

import logging
import re
from collections.abc import Iterable
from typing import Any

from jobd.api import lists
from jobd.api.lists import Listed
from jobd.api.schemas import job_input, serialize
from jobd.api.schemas.requests import ExecQuery, StopQuery
from jobd.errors import BadRequest
from jobd.store import deletion, execs, jobs
from jobd.store.db.tables import Exec, Job
from jobd.store.execs import ExecFilter
from jobd.store.queue import waiting_reasons
from jobd.store.queue.waiting_reasons import Served
from jobd.web.handler import Handler
from jobd.web.requests import PageQuery

log = logging.getLogger(__name__)


class _WithReasons(Handler):
    """Finds out why waiting execs wait."""

    def reasons(self, rows: Iterable[Exec]) -> dict[int, str]:
        """Why each waiting exec waits, by `seq`. To be called in a database thread."""
        settings, regions = self.services.settings, self.services.engine.regions
        served = {name: Served(settings.regions[name].max_running, region.outage) for name, region in regions.items()}
        return waiting_reasons.of_execs(rows, served, settings.scheduler.lease)


class _Execs(_WithReasons):
    async def reply_listed(self, filters: ExecFilter) -> None:
        await lists.reply(self, self._listed, self.caller, filters, lists.page_request(self))

    def _listed(self, *args: Any) -> Listed:
        page = execs.listed(*args)
        reasons = self.reasons(page.rows)
        return page, (serialize.exec(row, reasons.get(row.seq)) for row in page.rows)

    async def reply_created(self, row: Exec) -> None:
        self.services.engine.exec_created([row])
        self.set_header("Location", f"/v1/jobs/{row.job_id}/execs/{row.id}")
        reasons: dict[int, str] = {}
        if row.region_name not in self.services.engine.regions:
            reasons = await self.services.database.read(self.reasons, [row])
            log.warning("exec %s waits: %s", row.id, reasons.get(row.seq))
        await self.reply_with(lambda: serialize.exec(row, reasons.get(row.seq)), serialize.is_small(row), 201)


class AllExecs(_Execs):
    queries = {"GET": ExecQuery}

    async def get(self) -> None:
        query: ExecQuery = self.query
        await self.reply_listed(
            ExecFilter(query.namespace, query.job, query.status, query.region, query.since, query.until)
        )


class JobExecs(_Execs):
    queries = {"GET": PageQuery}

    async def get(self, job_id: str) -> None:
        await self.reply_listed(ExecFilter(job=self.number(job_id)))

    async def post(self, job_id: str) -> None:
        database, settings, number = self.services.database, self.services.settings, self.number(job_id)
        job = await database.read(jobs.writable, self.caller, number)
        overrides = await self.parse_body(lambda body: job_input.for_exec(body, job, settings))
        waiting_limit, key = settings.limits.waiting_per_namespace, self._idempotency_key()
        await self.reply_created(await database.write(execs.create, self.caller, number, overrides, waiting_limit, key))

    def _idempotency_key(self) -> str | None:
        """The Idempotency-Key header, if any. Raises BadRequest for a malformed one."""
        key = self.request.headers.get("Idempotency-Key")
        if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
            raise BadRequest("Idempotency-Key must be 1 to 255 visible ASCII characters")
        return key


class OneExec(_WithReasons):
    async def get(self, job_id: str, exec_id: str) -> None:
        row, job, waits_for = await self.services.database.read(
            self._read, self.caller, self.number(job_id), self.exec_id(exec_id)
        )
        is_small = serialize.is_small(row) and serialize.is_small(job)
        await self.reply_with(lambda: serialize.exec_detail(row, job, waits_for), is_small)

    def _read(self, *args: Any) -> tuple[Exec, Job, str | None]:
        row, job = execs.with_job(*args)
        return row, job, self.reasons([row]).get(row.seq)

    async def delete(self, job_id: str, exec_id: str) -> None:
        await self.services.database.write(
            deletion.delete_exec, self.caller, self.number(job_id), self.exec_id(exec_id)
        )
        self.services.engine.stop_requested()
        self.set_status(204)


class Stop(Handler):
    queries = {"POST": StopQuery}

    async def post(self, job_id: str, exec_id: str) -> None:
        await self.no_body()
        database, job = self.services.database, self.number(job_id)
        row = await database.read(execs.writable, self.caller, job, self.exec_id(exec_id))
        region = self.services.engine.regions.get(row.region_name)
        forced = self.query.force and (region is None or region.outage is not None)
        row = await database.write(execs.force_end if forced else execs.stop, self.caller, job, row.id)
        self.services.engine.stop_requested()
        await self.reply_with(lambda: serialize.exec(row), serialize.is_small(row), 202)


class Rerun(_Execs):
    async def post(self, job_id: str, exec_id: str) -> None:
        await self.no_body()
        waiting_limit = self.services.settings.limits.waiting_per_namespace
        row = await self.services.database.write(
            execs.rerun, self.caller, self.number(job_id), self.exec_id(exec_id), waiting_limit
        )
        await self.reply_created(row)
