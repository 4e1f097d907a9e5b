"""Containers that somebody starts again with Docker's own means, beside jobd."""

import signal
from collections.abc import Callable
from typing import Any

import docker
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.daemon import Daemon

Containers = Callable[[str], list[dict[str, Any]]]
SCRIPT = "sh -c 'echo ran; sleep 300'"


def running(daemon: Daemon, image: str, **more: Any) -> dict[str, Any]:
    repo, tag = image.rsplit(":", 1)
    job = daemon.create_job(docker_image_repo=repo, docker_image_tag=tag, command=SCRIPT, **more)
    started = daemon.reached(daemon.trigger(job), "R")
    # What is restarted at once has perhaps not written anything.
    daemon.eventually(lambda: daemon.output(started) == b"ran\n", "its first output")
    return started


def assert_ended_by_its_first_end(
    daemon: Daemon, started: dict[str, Any], containers_of: Containers, may_be_forgotten: bool = False
) -> None:
    ended = daemon.ended(started)
    # an engine that others keep busy forgets how it ended, and nobody watched
    told = [("exit_code", 143), ("lost", None)] if may_be_forgotten else [("exit_code", 143)]
    assert (ended["reason"], ended["exit_code"]) in told, ended["message"]
    assert daemon.output(ended) == b"ran\n"
    daemon.eventually(lambda: not containers_of(started["id"]), "its container to be removed")


def test_a_restarted_container_does_not_run_beside_its_retry(
    daemon: Daemon, busybox_image: str, engine: Any, containers_of: Containers
) -> None:
    started = running(daemon, busybox_image, max_retries=1, retry_delay=1)
    engine.restart(containers_of(started["id"])[0]["Id"], timeout=5)
    assert_ended_by_its_first_end(daemon, started, containers_of)

    def the_retry() -> Any:
        found = daemon.call("GET", f"/v1/execs?job={started['job']['id']}", 200)["results"]
        return next((row for row in found if row["trigger_mode"] == "R"), None)

    retry = daemon.eventually(the_retry, "the retry")
    daemon.reached(retry, "R")
    assert containers_of(started["id"]) == []
    daemon.call("POST", f"/v1/jobs/{started['job']['id']}/execs/{retry['id']}/stop", 202)
    daemon.reached(retry, "C")


def test_a_container_restarted_while_jobd_is_down_is_found(
    make_daemon: MakeDaemon, busybox_image: str, engine: Any, containers_of: Containers
) -> None:
    daemon = make_daemon().start()
    started = running(daemon, busybox_image)
    daemon.stop(signal.SIGKILL)
    engine.restart(containers_of(started["id"])[0]["Id"], timeout=5)
    daemon.start()
    assert_ended_by_its_first_end(daemon, started, containers_of, may_be_forgotten=True)


def test_a_restart_policy_set_from_outside_runs_nothing_again(
    daemon: Daemon, busybox_image: str, engine: Any, containers_of: Containers
) -> None:
    started = running(daemon, busybox_image)
    container = containers_of(started["id"])[0]["Id"]
    engine.update_container(container, restart_policy={"Name": "always"})
    engine.exec_start(engine.exec_create(container, ["sh", "-c", "kill -TERM 1"])["Id"])
    assert_ended_by_its_first_end(daemon, started, containers_of)


def test_one_that_is_removed_from_outside_is_lost(
    daemon: Daemon, busybox_image: str, engine: Any, containers_of: Containers
) -> None:
    started = running(daemon, busybox_image)
    engine.remove_container(containers_of(started["id"])[0]["Id"], force=True)
    ended = daemon.ended(started)
    assert (ended["status"], ended["reason"]) == ("F", "lost")
    assert containers_of(started["id"]) == []


def test_a_left_over_that_somebody_starts_is_removed(
    make_daemon: MakeDaemon, busybox_image: str, engine: Any, containers_of: Containers
) -> None:
    """A container that was created beside the exec's own, as a daemon that died between create and commit leaves."""
    daemon = make_daemon().start()
    started = running(daemon, busybox_image)
    own = engine.inspect_container(containers_of(started["id"])[0]["Id"])
    left = engine.create_container(
        busybox_image,
        command=["sleep", "300"],
        labels=own["Config"]["Labels"],
        host_config=engine.create_host_config(network_mode="none"),
    )["Id"]
    engine.start(left)
    daemon.eventually(lambda: [c["Id"] for c in containers_of(started["id"])] == [own["Id"]], "the left-over to go")
    assert daemon.reached(started, "R")["status"] == "R"
    daemon.call("POST", f"/v1/jobs/{started['job']['id']}/execs/{started['id']}/stop", 202)
    with pytest.raises(docker.errors.NotFound):
        engine.inspect_container(left)
    daemon.ended(started)
    daemon.eventually(lambda: not containers_of(started["id"]), "its container to be removed")
