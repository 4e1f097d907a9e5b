"""What the engine does is measured, and what it logs names the exec that it is about."""

import logging
from collections.abc import Iterator

import pytest

from jobd import daemon_log
from jobd.executor import Handle
from tests.engine.conftest import Bench
from tests.engine.executors import MemoryExecutor

pytestmark = pytest.mark.gen_test(timeout=30)
HERE = {"region": "BEIJING1"}


def value(bench: Bench, name: str, **labels: str) -> float:
    """The sample as it stands now; 0 when there is none yet."""
    return bench.database.metrics.registry.get_sample_value(name, labels) or 0.0


async def test_a_run_is_counted_once_from_its_creation_to_its_end(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    assert value(bench, "jobd_execs_created_total", **HERE, trigger="manual") == 1
    assert value(bench, "jobd_exec_start_delay_seconds_count", **HERE) == 1
    assert value(bench, "jobd_execs_owned") == 1
    executor.end(row.id, 0, b"hello\n")
    await bench.until(row, "S")
    await bench.eventually(lambda: value(bench, "jobd_execs_owned") == 0)
    assert value(bench, "jobd_execs_ended_total", **HERE, status="succeeded", reason="") == 1
    assert value(bench, "jobd_exec_run_duration_seconds_count", **HERE, status="succeeded") == 1
    assert value(bench, "jobd_log_stored_bytes_total", **HERE) == 6
    assert 0 < value(bench, "jobd_exec_start_delay_seconds_sum", **HERE) < 30


async def test_a_failure_and_its_retry_are_told_apart(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine, bench.job(max_retries=1, retry_delay=3600)), "R")
    executor.end(row.id, 3)
    await bench.until(row, "F")
    assert value(bench, "jobd_execs_ended_total", **HERE, status="failed", reason="exit_code") == 1
    assert value(bench, "jobd_execs_created_total", **HERE, trigger="retry") == 1


async def test_a_region_that_goes_down_is_seen_as_long_as_it_is(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    await bench.eventually(lambda: value(bench, "jobd_region_up", **HERE) == 1)
    answered = value(bench, "jobd_region_last_check_timestamp_seconds", **HERE)
    assert answered > 1.7e9
    bench.world.down = True
    await bench.trigger(engine)
    await bench.eventually(lambda: value(bench, "jobd_region_up", **HERE) == 0, "the region to be seen down")
    assert value(bench, "jobd_region_outages_total", **HERE) == 1
    bench.world.down = False
    await bench.eventually(lambda: value(bench, "jobd_region_up", **HERE) == 1, "the region to be seen up")
    assert value(bench, "jobd_region_last_check_timestamp_seconds", **HERE) > answered


async def test_what_a_dead_daemon_ran_is_counted_as_adopted(bench: Bench) -> None:
    first = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(first), "R")
    first.abandon()
    bench.engines.clear()
    second = await bench.engine(bench.executor())
    await bench.eventually(lambda: second.owns(row.id))
    assert value(bench, "jobd_execs_adopted_total", **HERE) == 1


async def test_the_scheduler_tells_when_it_last_looked(bench: Bench) -> None:
    engine = await bench.engine(bench.executor())
    await bench.eventually(lambda: value(bench, "jobd_scheduler_last_tick_timestamp_seconds") > 1.7e9)
    before = engine.scanned_at
    await bench.eventually(lambda: engine.scanned_at > before)


async def test_a_lease_that_ran_out_is_counted_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = await bench.engine(bench.executor(), length=0.3)
    assert value(bench, "jobd_lease_held") == 1
    real = engine._lease._clock
    monkeypatch.setattr(engine._lease, "_clock", lambda: real() + 60)
    assert value(bench, "jobd_lease_held") == 0
    await bench.eventually(lambda: value(bench, "jobd_leases_lost_total") == 1)
    await bench.eventually(lambda: value(bench, "jobd_lease_held") == 1)
    assert value(bench, "jobd_leases_lost_total") == 1


class TalkingExecutor(MemoryExecutor):
    """Logs in the thread that calls it."""

    def start(self, handle: Handle) -> None:
        logging.getLogger("jobd_docker.talking").warning("starting")
        super().start(handle)


@pytest.fixture
def formatted(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What is logged, formatted where it is logged, as the daemon's handler does it."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keep()
    handler.setFormatter(daemon_log.formatter("json", "daemon-1"))
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)


async def test_what_an_executor_logs_in_its_thread_names_the_exec(bench: Bench, formatted: list[str]) -> None:
    engine = await bench.engine(bench.executor(TalkingExecutor))
    row = await bench.until(await bench.trigger(engine), "R")
    (line,) = [line for line in formatted if '"starting"' in line]
    assert f'"exec_id":"{row.id}"' in line
    assert f'"job_id":{row.job_id}' in line
