"""The API's floor: Tornado, a pool of threads and peewee, doing the one statement of each address.

`python -m tests.bench.web_floor DATABASE-URL PORT`
"""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import peewee
from playhouse.pool import PooledPostgresqlDatabase, PooledSqliteDatabase
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from jobd.store.db.tables import Job
from tests.bench.rows import JOB

CONNECTIONS = 8


class Base(RequestHandler):
    def initialize(self, database: peewee.Database, readers: ThreadPoolExecutor, writers: ThreadPoolExecutor) -> None:
        self.database, self.readers, self.writers = database, readers, writers

    async def on_thread(self, pool: ThreadPoolExecutor, work: Any, *args: Any) -> Any:
        def connected() -> Any:
            with self.database.connection_context():
                return work(*args)

        return await asyncio.get_running_loop().run_in_executor(pool, connected)

    def reply(self, value: Any) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(value, default=str))


class OneJob(Base):
    async def get(self, number: str) -> None:
        self.reply(await self.on_thread(self.readers, _read, int(number)))


class Jobs(Base):
    async def get(self) -> None:
        count, page = await self.on_thread(self.readers, _page)
        self.reply({"count": count, "results": page})

    async def post(self) -> None:
        number = await self.on_thread(self.writers, self._create, json.loads(self.request.body))
        self.set_status(201)
        self.reply({"id": number})

    def _create(self, given: dict[str, Any]) -> int:
        at = datetime.now(UTC)
        row = {**JOB, **given, "namespace": "bench", "created_by": "bench", "created_at": at, "updated_at": at}
        with self.database.atomic():
            return int(Job.insert(**row).execute())


def _read(number: int) -> dict[str, Any]:
    return dict(Job.get_by_id(number).__data__)


def _page() -> tuple[int, list[dict[str, Any]]]:
    live = Job.select().where(Job.deleted_at.is_null())
    return live.count(), list(live.order_by(Job.id.desc()).limit(20).dicts())


async def main(url: str, port: int) -> None:
    is_sqlite = url.startswith("sqlite:")
    if is_sqlite:
        pragmas = {"journal_mode": "wal", "synchronous": "full", "busy_timeout": 10_000}
        database = PooledSqliteDatabase(url.removeprefix("sqlite:///"), pragmas=pragmas, check_same_thread=False)
    else:
        database = PooledPostgresqlDatabase(url, max_connections=CONNECTIONS + 2)
    database.bind([Job])
    readers = ThreadPoolExecutor(CONNECTIONS)
    given = {"database": database, "readers": readers, "writers": ThreadPoolExecutor(1) if is_sqlite else readers}
    HTTPServer(Application([(r"/v1/jobs", Jobs, given), (r"/v1/jobs/(\d+)", OneJob, given)])).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
