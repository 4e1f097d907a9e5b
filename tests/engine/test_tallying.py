"""What lists tell of their length is brought up to date with the minute's other work, and looked at now and then."""

from typing import Any

import pytest

from jobd.engine import tallying
from jobd.engine.retention import Retention
from jobd.store import execs, tallies
from jobd.store.db import sql
from jobd.store.db.pages import PageRequest
from jobd.store.db.tables import Exec
from jobd.store.execs import ExecFilter
from tests.engine.conftest import Bench
from tests.store.rows import make_exec

pytestmark = pytest.mark.gen_test(timeout=30)


async def told(bench: Bench) -> int | None:
    return (await bench.database.read(execs.listed, bench.caller, ExecFilter(), PageRequest())).count


async def change_tallies(bench: Bench, setting: str) -> None:
    await bench.database.write(sql.execute, Exec, f"UPDATE tallies SET {setting} WHERE subject = 'execs'")


async def test_rows_are_added_up_and_a_wrong_number_is_mended(bench: Bench, monkeypatch: Any) -> None:
    monkeypatch.setattr(tallies, "MIN_TAIL", 0)
    made = Retention(bench.database, bench.settings(), lambda: True)
    job = bench.job()
    for _ in range(3):
        make_exec(bench.database, bench.caller, job)
    await made.retire()
    await change_tallies(bench, "number = 1000")
    assert await told(bench) == 1000
    make_exec(bench.database, bench.caller, job)
    await made.retire()
    assert await told(bench) == 1001
    monkeypatch.setattr(tallying, "CHECK_EVERY", 0.0)
    await made.retire()
    assert await told(bench) == 4
