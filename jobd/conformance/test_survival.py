"""Runs that outlive jobd (`--survives`): started by one process, observed and ended by another."""

from collections.abc import Callable

import pytest

from jobd.conformance.bench import Bench, Ends, collect
from jobd.executor import Handle, RunSpec, State

pytestmark = pytest.mark.survives
Start = Callable[[RunSpec], Handle]


def test_a_run_goes_on_though_the_process_that_started_it_was_killed(bench: Bench, start_elsewhere: Start) -> None:
    spec = bench.shell("echo before; sleep 2; echo after $GREETING; exit 3")
    handle = start_elsewhere(spec)
    assert bench.status(handle).state is State.RUNNING
    assert [(run.exec_id, run.handle) for run in bench.executor.list()] == [(spec.exec_id, handle)]
    assert bench.executor.was_started(handle) in (True, None)
    assert collect(bench.executor.logs(handle, follow=True))["stdout"] == b"before\nafter hello\n"
    assert bench.end_of(handle).exit_code == 3


def test_an_end_that_no_process_saw_is_found_with_its_code_and_output(bench: Bench, start_elsewhere: Start) -> None:
    handle = start_elsewhere(bench.shell("echo alone; exit 7"))
    assert bench.end_of(handle).exit_code == 7
    assert bench.output(handle)["stdout"] == b"alone\n"
    bench.executor.start(handle)
    assert bench.output(handle)["stdout"] == b"alone\n"


def test_another_process_is_notified_of_the_end(bench: Bench, ends: Ends, start_elsewhere: Start) -> None:
    handle = start_elsewhere(bench.shell("sleep 2"))
    assert ends.include(handle, bench.patience)


def test_another_process_stops_and_removes_it(bench: Bench, start_elsewhere: Start) -> None:
    handle = start_elsewhere(bench.spec("sleep", "60"))
    bench.executor.stop(handle, 5)
    assert bench.status(handle).state is State.ENDED
    bench.executor.remove(handle, False)
    assert bench.status(handle).state is State.GONE
