"""A daemon that dies, or sleeps past its lease, at a named point of an exec's life, beside one that goes on."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.ledger import StartWatch
from tests.e2e.pair import BODY, LEASE, OUTPUT, Pair, StruckDaemon
from tests.services import fresh_postgres

DIES = (
    "inside claim",
    "after create",
    "after set_handle",
    "after start",
    "inside set_running",
    "inside end",
    "after end",
    "after remove",
)
SLEEPS = (
    "inside claim",  # with the region's row locked
    "after create",
    "before start",  # past the last look at its lease
    "after start",
    "before end",
)
"""Some of all points: script/soak comes to the others."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, docker_socket: str, busybox_image: str) -> Iterator[Pair]:
    settings = {"scheduler": f"lease = {LEASE}\ntick = 0.1"}
    with fresh_postgres() as url:
        pair = Pair(tmp_path_factory.mktemp("pair"), url, docker_socket, busybox_image, settings)
        try:
            yield pair.start()
        finally:
            pair.stop()


@pytest.fixture(scope="module")
def watch(docker_socket: str) -> Iterator[StartWatch]:
    with StartWatch(docker_socket) as watch:
        yield watch


@pytest.fixture
def struck(pair: Pair) -> Iterator[Pair]:
    """The pair, both of them well before and after."""
    for daemon in pair.daemons:
        if daemon.is_dead:
            pair.start_one(daemon)
    yield pair
    pair.disarm()
    for daemon in pair.daemons:
        if not daemon.is_dead:
            daemon.send(signal.SIGCONT)


def the_exec(pair: Pair, daemon: StruckDaemon, job: dict[str, Any]) -> dict[str, Any]:
    """The one exec that was made, at its end."""

    def found() -> Any:
        return daemon.call("GET", f"/v1/jobs/{job['id']}/execs", 200)["results"]

    (row,) = daemon.eventually(found, "the exec in the record")
    return daemon.ended(row)


def ran_once(pair: Pair, watch: StartWatch, daemon: StruckDaemon, ended: dict[str, Any]) -> None:
    """Nothing of the fault is to be seen in the record, the log, the engine or the ledger."""
    assert (ended["status"], ended["exit_code"], ended["reason"]) == ("S", 0, None), (ended, pair.evidence())
    assert daemon.output(ended) == OUTPUT
    assert watch.wait_for(ended["id"]) == 1, pair.evidence()
    assert (pair.ledger.count("start")[ended["id"]], pair.ledger.count("end")[ended["id"]]) == (1, 1)
    daemon.eventually(lambda: not pair.left_containers(), "no container to be left")


@pytest.mark.parametrize("point", DIES)
def test_a_run_survives_the_death_of_its_daemon(struck: Pair, watch: StartWatch, point: str) -> None:
    job = struck.job(BODY)
    struck.arm(point, signal.SIGKILL)
    struck.trigger(job)
    dead = struck.struck()
    survivor = struck.other(dead)
    ended = the_exec(struck, survivor, job)
    struck.start_one(dead)
    ran_once(struck, watch, survivor, ended)


@pytest.mark.parametrize("point", SLEEPS)
def test_a_daemon_that_slept_past_its_lease_starts_nothing_again(struck: Pair, watch: StartWatch, point: str) -> None:
    job = struck.job(BODY)
    struck.arm(point, signal.SIGSTOP)
    struck.trigger(job)
    asleep = struck.struck()
    other = struck.other(asleep)
    ended = the_exec(struck, other, job)
    asleep.send(signal.SIGCONT)
    # Its stop waits for all that it has begun.
    assert asleep.stop() == 0, asleep.evidence()
    struck.start_one(asleep)
    ran_once(struck, watch, other, ended)
