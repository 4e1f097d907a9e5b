"""A PostgreSQL that throws every connection out, again and again, while execs run."""

import asyncio
import contextlib

import psycopg2
import pytest

from jobd.errors import ServiceUnavailable
from jobd.executor import Handle
from jobd.store import execs
from jobd.store.db.tables import Exec
from tests.engine.conftest import Bench
from tests.engine.executors import MemoryExecutor
from tests.store.rows import ROOM

pytestmark = pytest.mark.gen_test(timeout=60)

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


class BriefExecutor(MemoryExecutor):
    """Its runs end as soon as they are started."""

    def start(self, handle: Handle) -> None:
        super().start(handle)
        self.end(self.world.containers[handle.id].spec.exec_id, 0, b"brief\n")


async def test_connections_that_are_cut_again_and_again_cost_no_exec(bench: Bench, postgres_url: str) -> None:
    engine = await bench.engine(bench.executor(BriefExecutor), length=1.5)
    job = bench.job()
    rows = [await bench.database.write(execs.create, bench.caller, job.id, {}, ROOM) for _ in range(40)]
    cutting = asyncio.create_task(asyncio.to_thread(_cut, postgres_url, 15))

    async def all_well() -> bool:
        await engine.clear()
        with contextlib.suppress(ServiceUnavailable):
            found = await bench.database.read(lambda: list(Exec.select()))
            return cutting.done() and {row.status for row in found} == {"S"} and not bench.world.containers
        return False

    await bench.eventually(all_well, "all to end", patience=40)
    await cutting
    assert [bench.world.starts_of(row.id) for row in rows] == [1] * 40


def _cut(url: str, times: int) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for _ in range(times):
            cursor.execute(CUT, (connection.info.backend_pid,))
            cursor.execute("SELECT pg_sleep(0.1)")
    connection.close()
