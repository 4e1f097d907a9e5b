"""Containers that somebody starts again, or first, from outside: what is told of the run that jobd started."""

from collections.abc import Callable, Iterator

import docker
import pytest

from jobd.conformance.bench import Bench, Ends, collect
from jobd.executor import Executor, Handle, State
from tests.engines import started_engine
from tests.plugins.test_docker_events import bench_on
from tests.services import wait_for

SCRIPT = "trap 'echo first end; exit 5' TERM; echo ran; while true; do sleep 0.1; done"


@pytest.fixture
def starts(bench: Bench) -> Iterator[Ends]:
    """The starts by others that are told; ends are watched, too."""
    told = Ends()
    bench.executor.watch_starts(told)
    stop = bench.executor.watch(Ends())
    yield told
    stop()


def running(bench: Bench, script: str = SCRIPT) -> Handle:
    handle = bench.start(bench.shell(script))
    assert next(bench.executor.logs(handle, follow=True)).data == b"ran\n"
    return handle


def restart(engine: docker.APIClient, handle: Handle) -> None:
    engine.restart(handle.id, timeout=5)


def stop_and_start(engine: docker.APIClient, handle: Handle) -> None:
    engine.stop(handle.id, timeout=5)
    engine.start(handle.id)


def by_policy(engine: docker.APIClient, handle: Handle) -> None:
    engine.update_container(handle.id, restart_policy={"Name": "always"})
    # not `docker kill`, after which a policy starts nothing again
    engine.exec_start(engine.exec_create(handle.id, ["sh", "-c", "kill -TERM 1"])["Id"])
    wait_for(lambda: engine.inspect_container(handle.id)["RestartCount"] > 0, "the policy's start")


def renamed_and_restarted(engine: docker.APIClient, handle: Handle) -> None:
    engine.rename(handle.id, f"renamed-{handle.id[:12]}")
    engine.restart(handle.id, timeout=5)


def restarted_and_paused(engine: docker.APIClient, handle: Handle) -> None:
    engine.restart(handle.id, timeout=5)
    engine.pause(handle.id)


WAYS = [restart, stop_and_start, by_policy, renamed_and_restarted, restarted_and_paused]


def assert_first_run(executor: Executor, handle: Handle) -> None:
    status = executor.statuses([handle])[handle]
    assert (status.state, status.exit_code, status.ran_again) == (State.ENDED, 5, True), status
    assert collect(executor.logs(handle))["stdout"] == b"ran\nfirst end\n"


@pytest.mark.parametrize("start_again", WAYS)
def test_the_first_run_is_what_is_told_of_a_container_that_was_started_again(
    bench: Bench, engine: docker.APIClient, starts: Ends, start_again: Callable[[docker.APIClient, Handle], None]
):
    handle = running(bench)
    start_again(engine, handle)
    assert starts.include(handle, 30)
    assert_first_run(bench.executor, handle)
    bench.executor.stop(handle, 0)
    assert engine.inspect_container(handle.id)["State"]["Running"] is False
    assert_first_run(bench.executor, handle)


@pytest.mark.parametrize("is_stopped", [False, True])
def test_what_was_started_again_while_nobody_watched_is_found(is_stopped: bool):
    # an engine that nobody else keeps busy, so that it remembers
    with started_engine() as own, bench_on(own) as bench:
        handle = running(bench)
        client = docker.APIClient(own.socket, version="auto")
        restart(client, handle)
        if is_stopped:
            client.kill(handle.id)
        client.close()
        later = bench.build(bench.installation)
        try:
            assert_first_run(later, handle)
        finally:
            later.close()


def test_it_is_found_among_many_that_run(bench: Bench, engine: docker.APIClient):
    others = [bench.start(bench.spec("sleep", "60")) for _ in range(4)]
    handle = running(bench)
    restart(engine, handle)
    later = bench.build(bench.installation)
    try:
        statuses = later.statuses([*others, handle])
        assert [statuses[other].state for other in others] == [State.RUNNING] * 4
        assert statuses[handle].ran_again
    finally:
        later.close()


def test_a_follower_gets_nothing_of_the_second_run(bench: Bench, engine: docker.APIClient, starts: Ends):
    handle = bench.start(bench.shell(SCRIPT))
    followed = bench.executor.logs(handle, follow=True)
    assert next(followed).data == b"ran\n"
    restart(engine, handle)
    assert starts.include(handle, 30)
    assert b"".join(chunk.data for chunk in followed) == b"first end\n"
    again = bench.executor.logs(handle, follow=True)
    assert b"".join(chunk.data for chunk in again) == b"ran\nfirst end\n"


def test_a_first_start_by_somebody_else_is_told_and_is_the_runs_one_start(
    bench: Bench, engine: docker.APIClient, starts: Ends
):
    handle = bench.create(bench.shell(SCRIPT))
    engine.start(handle.id)
    assert starts.include(handle, 30)
    bench.executor.start(handle)
    assert bench.status(handle).state is State.RUNNING
    bench.executor.stop(handle, 5)
    assert (bench.status(handle).exit_code, bench.status(handle).ran_again) == (5, False)
    assert bench.output(handle)["stdout"] == b"ran\nfirst end\n"


def test_our_own_starts_are_not_told(bench: Bench, starts: Ends):
    ours = [bench.run(bench.spec("true"))[0] for _ in range(3)]
    assert not any(starts.include(handle, 0.2) for handle in ours)


def test_what_is_paused_and_goes_on_is_in_its_first_run(bench: Bench, engine: docker.APIClient, starts: Ends):
    handle = running(bench)
    engine.pause(handle.id)
    assert bench.status(handle).state is State.RUNNING
    engine.unpause(handle.id)
    assert bench.status(handle).state is State.RUNNING
    engine.pause(handle.id)
    bench.executor.stop(handle, 5)
    assert (bench.status(handle).state, bench.status(handle).exit_code) == (State.ENDED, 5)


def test_an_engine_that_started_it_again_by_itself_and_forgot_how_it_ended():
    with started_engine() as engine, bench_on(engine) as bench:
        handle = running(bench)
        client = docker.APIClient(engine.socket, version="auto")
        client.update_container(handle.id, restart_policy={"Name": "always"})
        engine.stop()
        engine.start()
        wait_for(lambda: client.inspect_container(handle.id)["State"]["Running"], "the engine starts it")
        wait_for(lambda: client.logs(handle.id).count(b"ran\n") == 2, "it writes again")
        client.close()
        status = bench.status(handle)
        assert (status.state, status.ran_again, status.exit_code) == (State.ENDED, True, None)
        assert bench.output(handle)["stdout"] == b"ran\nfirst end\n"


def test_a_run_that_outlives_its_engine_is_in_its_first_run():
    with started_engine("--live-restore") as engine, bench_on(engine) as bench:
        handle = running(bench)
        engine.kill()
        engine.start()
        status = bench.status(handle)
        assert (status.state, status.ran_again) == (State.RUNNING, False)
        bench.executor.stop(handle, 5)
        assert (bench.status(handle).exit_code, bench.status(handle).ran_again) == (5, False)
