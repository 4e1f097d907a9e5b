"""What the engine itself remembers of a container, and a watch that outlives the engine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import pytest

from jobd.conformance.bench import Bench, Ends
from jobd.errors import RegionUnavailable
from jobd.executor import State
from jobd_docker.events import Watch
from jobd_docker.first_runs import FirstRuns
from tests.engines import OwnEngine, import_busybox, started_engine
from tests.plugins.conftest import docker_bench

TRIES = 30


@pytest.fixture
def own_bench(own_engine: OwnEngine) -> Iterator[Bench]:
    with bench_on(own_engine) as bench:
        yield bench


@contextmanager
def bench_on(engine: OwnEngine) -> Iterator[Bench]:
    client = docker.APIClient(engine.socket, version="auto")
    image = import_busybox(client, "jobd-test")
    client.close()
    bench = docker_bench(image, socket=engine.socket, network="none")
    yield bench
    bench.clear()


def test_a_watch_outlives_the_engine(own_bench: Bench, own_engine: OwnEngine):
    ends = Ends()
    stop = own_bench.executor.watch(ends)
    before = own_bench.start(own_bench.spec("true"))
    assert ends.include(before, 60)
    under_way = own_bench.start(own_bench.spec("sleep", "600"))

    own_engine.stop()
    with pytest.raises(RegionUnavailable):
        own_bench.status(under_way)
    assert not own_bench.executor.check().ok
    own_engine.start()

    assert ends.include(under_way, 60), "the end that came while the engine was away"
    assert own_bench.status(under_way).state is State.ENDED
    after = own_bench.start(own_bench.spec("true"))
    assert ends.include(after, 60)
    stop()


class SlowToClearUp(docker.APIClient):
    """An engine that has told ends but not yet cleared up: nothing is listed as exited."""

    def containers(self, *args: Any, **more: Any) -> list[dict[str, Any]]:
        return [] if more.get("filters", {}).get("status") == "exited" else super().containers(*args, **more)


def test_an_end_is_told_to_a_watch_that_began_while_the_engine_cleared_up(bench: Bench, docker_socket: str):
    handle = bench.start(bench.spec("true"))
    assert bench.end_of(handle).exit_code == 0
    ends = Ends()
    clients: list[docker.APIClient] = []

    def client() -> docker.APIClient:
        clients.append(SlowToClearUp(docker_socket, version="auto"))
        return clients[-1]

    installation = bench.executor.region.installation
    watch = Watch(client, installation, FirstRuns(), ends, lambda handle: None, "clearing-up")
    assert ends.include(handle, 60)
    watch.stop()
    for each in clients:
        each.close()


def test_the_engines_identity_outlives_it(own_bench: Bench, own_engine: OwnEngine):
    identity = own_bench.executor.identity()
    own_engine.stop()
    own_engine.start()
    assert own_bench.executor.identity() == identity


def test_a_watch_that_is_stopped_while_the_engine_is_away_ends(own_bench: Bench, own_engine: OwnEngine):
    stop = own_bench.executor.watch(Ends())
    own_engine.stop()
    stop()
    stop()


def test_a_code_that_an_engine_made_up_is_not_believed():
    with started_engine("--live-restore") as engine, bench_on(engine) as bench:
        for _ in range(TRIES):
            handle = bench.start(bench.spec("sh", "-c", "exit 3"))
            # An engine that is killed while it takes note of an end writes down a code of its own when it is back.
            time.sleep(0.03)
            engine.kill()
            engine.start()
            ended = bench.end_of(handle)
            # 0 is one that nobody can tell from a program's own, as docs/executors.md says.
            assert ended.exit_code in (3, None, 0)
            if ended.exit_code is None:
                assert "was not running" in ended.message
                return
        pytest.fail(f"the engine saw all of {TRIES} ends")


def test_a_program_that_ends_with_255_ended_with_255(own_bench: Bench):
    assert own_bench.end_of(own_bench.start(own_bench.spec("sh", "-c", "exit 255"))).exit_code == 255


def test_what_was_removed_is_known_by_the_engines_events(own_bench: Bench):
    created = own_bench.create(own_bench.spec("true"))
    own_bench.executor.remove(created, False)
    assert own_bench.executor.was_started(created) is False
    ended, _ = own_bench.run(own_bench.spec("true"))
    own_bench.executor.remove(ended, False)
    assert own_bench.executor.was_started(ended) is True


def test_an_engine_that_restarted_meanwhile_cannot_tell(own_bench: Bench, own_engine: OwnEngine):
    created = own_bench.create(own_bench.spec("true"))
    kept = own_bench.create(own_bench.spec("true"))
    own_bench.executor.remove(created, False)
    own_engine.stop()
    own_engine.start()
    assert own_bench.executor.was_started(created) is None
    assert own_bench.executor.was_started(kept) is False


def test_an_engine_that_saw_too_much_since_cannot_tell(own_bench: Bench):
    created = own_bench.create(own_bench.spec("true"))
    own_bench.executor.remove(created, False)
    for _ in range(130):
        own_bench.executor.remove(own_bench.executor.create(own_bench.spec("true")), False)
    assert own_bench.executor.was_started(created) is None


def test_a_watch_hears_nothing_of_other_installations(bench: Bench):
    mine, theirs = Ends(), docker_bench(bench.image)
    stop = bench.executor.watch(mine)
    try:
        stranger, _ = theirs.run(theirs.spec("true"))
        own = bench.start(bench.spec("true"))
        assert mine.include(own, 60)
        assert not mine.include(stranger, 0)
    finally:
        stop()
        theirs.clear()


def test_a_listener_that_fails_does_not_end_the_watch(bench: Bench):
    ends = Ends()

    def listener(handle):
        ends(handle)
        raise RuntimeError("the listener's own fault")

    stop = bench.executor.watch(listener)
    try:
        for _ in range(2):
            assert ends.include(bench.start(bench.spec("true")), 60)
    finally:
        stop()
