"""The life of a run, from create to remove."""

from datetime import UTC, datetime, timedelta

import pytest

from jobd.conformance.bench import MEMORY, Bench, Ends
from jobd.errors import HandleGone, StartFailed
from jobd.executor import Handle, State

NOWHERE = Handle("0123456789abcdef" * 4)


def test_a_check_finds_the_region_healthy_and_identity_is_the_engines(bench: Bench) -> None:
    health = bench.executor.check()
    assert health.ok, health.message
    assert bench.executor.identity() == bench.build("another installation").identity() != ""


def test_create_starts_nothing(bench: Bench) -> None:
    handle = bench.create(bench.shell("echo ran"))
    assert bench.status(handle).state is State.CREATED
    assert 0 < len(handle.id) <= 255


def test_create_again_makes_another(bench: Bench) -> None:
    spec = bench.spec("true")
    handles = [bench.create(spec) for _ in range(3)]
    assert len(set(handles)) == 3
    assert {bench.status(handle).state for handle in handles} == {State.CREATED}


def test_a_run_goes_from_created_over_running_to_ended_and_gone(bench: Bench) -> None:
    handle = bench.create(bench.spec("sleep", "60"))
    assert bench.status(handle).state is State.CREATED
    bench.executor.start(handle)
    assert bench.status(handle).state is State.RUNNING
    bench.executor.stop(handle, 5)
    assert bench.status(handle).state is State.ENDED
    bench.executor.remove(handle, False)
    assert bench.status(handle).state is State.GONE


@pytest.mark.parametrize("code", [0, 1, 3, 42, 255])
def test_the_exit_code_is_the_programs_own(bench: Bench, code: int) -> None:
    _, status = bench.run(bench.shell(f"exit {code}"))
    assert (status.exit_code, status.oom_killed) == (code, False)


def test_times_are_the_regions_with_zone_and_in_order(bench: Bench) -> None:
    _, status = bench.run(bench.spec("sleep", "1"))
    assert status.started_at is not None
    assert status.ended_at is not None
    # An engine may record the start somewhat late.
    assert status.ended_at - status.started_at >= timedelta(seconds=0.2)
    assert abs(status.ended_at.astimezone(UTC) - datetime.now(UTC)) < timedelta(days=1)


def test_a_run_does_not_end_before_it_starts(bench: Bench) -> None:
    for _ in range(3):
        _, status = bench.run(bench.spec("true"))
        assert status.started_at is not None
        assert status.ended_at is not None
        assert status.started_at <= status.ended_at


def test_only_an_ended_run_has_an_exit_code(bench: Bench) -> None:
    handle = bench.create(bench.spec("sleep", "60"))
    assert bench.status(handle).exit_code is None
    bench.executor.start(handle)
    assert bench.status(handle).exit_code is None


def test_start_again_while_it_runs_does_nothing(bench: Bench) -> None:
    handle = bench.start(bench.spec("sleep", "60"))
    started = bench.status(handle).started_at
    bench.executor.start(handle)
    assert bench.status(handle).started_at == started


def test_start_again_after_its_end_does_not_run_it_twice(bench: Bench) -> None:
    handle, status = bench.run(bench.shell("echo once"))
    bench.executor.start(handle)
    assert bench.status(handle) == status
    assert bench.output(handle)["stdout"].count(b"once") == 1


def test_another_instance_finds_and_does_not_restart_what_has_ended(bench: Bench) -> None:
    """As a daemon does after a restart. An executor that keeps runs in memory may have lost them by then."""
    handle, status = bench.run(bench.shell("echo once"))
    later = bench.build(bench.installation)
    status_then = later.statuses([handle])[handle]
    if status_then.state is State.GONE:
        with pytest.raises(HandleGone):
            later.start(handle)
        return
    later.start(handle)
    assert later.statuses([handle])[handle] == status
    later.close()


def test_starting_a_run_that_is_gone_raises_handle_gone(bench: Bench) -> None:
    handle = bench.create(bench.spec("true"))
    bench.executor.remove(handle, False)
    with pytest.raises(HandleGone):
        bench.executor.start(handle)


def test_statuses_of_many_come_in_one_call(bench: Bench) -> None:
    created = bench.create(bench.spec("true"))
    running = bench.start(bench.spec("sleep", "60"))
    ended, _ = bench.run(bench.spec("false"))
    gone = bench.create(bench.spec("true"))
    bench.executor.remove(gone, False)
    statuses = bench.executor.statuses([created, running, ended, gone, NOWHERE])
    assert [statuses[handle].state for handle in (created, running, ended, gone, NOWHERE)] == [
        State.CREATED,
        State.RUNNING,
        State.ENDED,
        State.GONE,
        State.GONE,
    ]
    assert statuses[ended].exit_code == 1


def test_statuses_of_none_are_none(bench: Bench) -> None:
    assert bench.executor.statuses([]) == {}


def test_stop_ends_a_running_one_before_it_returns(bench: Bench) -> None:
    handle = bench.start(bench.spec("sleep", "60"))
    bench.executor.stop(handle, 10)
    status = bench.status(handle)
    assert status.state is State.ENDED
    assert status.exit_code not in (0, None)


def test_stopping_a_run_that_is_not_running_does_nothing(bench: Bench) -> None:
    created = bench.create(bench.spec("true"))
    ended, status = bench.run(bench.shell("exit 3"))
    for handle in (created, ended, NOWHERE):
        bench.executor.stop(handle, 1)
    assert bench.status(created).state is State.CREATED
    assert bench.status(ended) == status


def test_a_running_one_is_removed_by_force_only(bench: Bench) -> None:
    handle = bench.start(bench.spec("sleep", "60"))
    with pytest.raises(StartFailed):
        bench.executor.remove(handle, False)
    assert bench.status(handle).state is State.RUNNING
    bench.executor.remove(handle, True)
    assert bench.status(handle).state is State.GONE


def test_removing_a_run_that_is_gone_does_nothing(bench: Bench) -> None:
    handle, _ = bench.run(bench.spec("true"))
    for _ in range(2):
        bench.executor.remove(handle, False)
    bench.executor.remove(NOWHERE, True)
    assert bench.status(handle).state is State.GONE


def test_list_has_every_run_in_any_state_with_its_exec(bench: Bench) -> None:
    specs = [bench.spec("true"), bench.spec("sleep", "60"), bench.spec("true")]
    created, running = bench.create(specs[0]), bench.start(specs[1])
    ended, _ = bench.run(specs[2])
    runs = {run.exec_id: (run.handle, run.state) for run in bench.executor.list()}
    assert runs == {
        specs[0].exec_id: (created, State.CREATED),
        specs[1].exec_id: (running, State.RUNNING),
        specs[2].exec_id: (ended, State.ENDED),
    }


def test_list_has_no_runs_of_another_installation(bench: Bench) -> None:
    bench.create(bench.spec("true"))
    stranger = bench.build("another installation")
    assert bench.installation not in {run.exec_id for run in stranger.list()}
    assert stranger.list() == []
    stranger.close()


def test_was_started_is_never_wrong(bench: Bench) -> None:
    """None, "not known", is always allowed but less useful: the exec becomes `lost` where it could be started again."""
    created = bench.create(bench.spec("true"))
    assert bench.executor.was_started(created) in (False, None)
    bench.executor.remove(created, False)
    assert bench.executor.was_started(created) in (False, None)
    ended, _ = bench.run(bench.spec("true"))
    assert bench.executor.was_started(ended) in (True, None)
    bench.executor.remove(ended, False)
    assert bench.executor.was_started(ended) in (True, None)
    assert bench.executor.was_started(NOWHERE) is None


def test_a_watch_reports_an_end(bench: Bench, ends: Ends) -> None:
    handle = bench.start(bench.shell("sleep 0.2; exit 3"))
    assert ends.include(handle, bench.patience)
    assert bench.end_of(handle).exit_code == 3


def test_a_watch_reports_the_end_of_a_stopped_run(bench: Bench, ends: Ends) -> None:
    handle = bench.start(bench.spec("sleep", "60"))
    bench.executor.stop(handle, 5)
    assert ends.include(handle, bench.patience)


def test_a_size_is_granted(bench: Bench) -> None:
    handle, status = bench.run(bench.spec("true", cpus=0.25, memory=MEMORY // 2))
    assert (status.state, status.exit_code) == (State.ENDED, 0), handle
