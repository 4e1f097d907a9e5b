"""A connection that breaks at the worst moment, which a relay in front of the real engine makes it do."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from jobd.conformance.bench import Bench, Ends
from jobd.errors import RegionUnavailable
from jobd.executor import State
from tests.engines import SOCKET
from tests.plugins.conftest import docker_bench
from tests.relay import Fate, Relay, relay_to
from tests.services import wait_for


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with relay_to(SOCKET, tmp_path / "docker.sock") as relay:
        yield relay


@pytest.fixture
def relayed(relay: Relay, bench: Bench) -> Iterator[Bench]:
    """Of the same installation as `bench`, which clears up after both."""
    relayed = docker_bench(bench.image, socket=f"unix://{relay.server_address}")
    relayed.installation = bench.installation
    relayed.executor.close()
    relayed.executor = relayed.build(bench.installation)
    yield relayed
    for run in bench.executor.list():
        bench.executor.remove(run.handle, True)
    relayed.executor.close()


def test_a_follower_is_told_when_the_connection_breaks(relayed: Bench, relay: Relay):
    handle = relayed.start(relayed.shell("echo one; sleep 600"))
    followed = relayed.executor.logs(handle, follow=True)
    assert next(followed).data == b"one\n"
    relay.cut()
    with pytest.raises(RegionUnavailable):
        next(followed)


@pytest.mark.parametrize("fate", get_args(Fate))
def test_a_start_whose_answer_is_lost_is_neither_a_failure_nor_repeated(
    relayed: Bench, relay: Relay, bench: Bench, fate: Fate
):
    handle = relayed.create(relayed.shell("echo ran; sleep 600"))
    relay.deaf_to, relay.fate = b"/start HTTP", fate
    with pytest.raises(RegionUnavailable):
        relayed.executor.start(handle)
    if fate == "carried through":
        bench.wait(handle, State.RUNNING)
    elif fate == "canceled":
        assert (bench.status(handle).state, bench.executor.was_started(handle)) == (State.CREATED, False)
    # else it is one of the two: this engine's way
    relay.heal()
    relayed.executor.start(handle)
    bench.wait(handle, State.RUNNING)
    assert relayed.executor.was_started(handle) is True
    bench.executor.stop(handle, 5)
    assert bench.output(handle)["stdout"] == b"ran\n"
    assert not bench.status(handle).ran_again


def test_a_connection_that_was_idle_while_it_broke_does_no_harm(relayed: Bench, relay: Relay):
    assert relayed.executor.check().ok
    relay.cut()
    assert not relayed.executor.check().ok
    relay.is_cut = False
    assert relayed.executor.check().ok
    assert relayed.run(relayed.shell("exit 3"))[1].exit_code == 3


def test_a_watch_tells_what_ended_while_it_was_cut_off(relayed: Bench, relay: Relay, bench: Bench):
    ends = Ends()
    handle = relayed.start(relayed.spec("sleep", "600"))
    stop = relayed.executor.watch(ends)
    wait_for(lambda: len(relay.open) > 2, "the watch is connected")
    relay.cut()
    bench.executor.stop(handle, 5)
    assert not ends.include(handle, 0.5)
    relay.is_cut = False
    assert ends.include(handle, 60)
    stop()
