"""What survives the end of a daemon: everything."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.daemon import Daemon

SCRIPT = "sh -c 'echo begin; sleep 3; echo end; exit 4'"


def start_run(daemon: Daemon, image: str) -> dict[str, Any]:
    repo, tag = image.rsplit(":", 1)
    job = daemon.create_job(docker_image_repo=repo, docker_image_tag=tag, command=SCRIPT)
    return daemon.reached(daemon.trigger(job), "R")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("ends_meanwhile", [True, False])
def test_a_run_outlives_its_daemon(
    make_daemon: MakeDaemon,
    busybox_image: str,
    engine: Any,
    containers_of: Callable[[str], list[dict[str, Any]]],
    number: signal.Signals,
    ends_meanwhile: bool,
) -> None:
    daemon = make_daemon().start()
    running = start_run(daemon, busybox_image)
    assert daemon.stop(number) == (0 if number is signal.SIGTERM else -number)
    (container,) = containers_of(running["id"])
    assert container["State"] == "running"
    if ends_meanwhile:
        engine.wait(container["Id"])
    ended = daemon.start().ended(running)
    assert (ended["status"], ended["exit_code"]) == ("F", 4)
    assert daemon.output(ended) == b"begin\nend\n"
    daemon.eventually(lambda: not containers_of(running["id"]), "the container to be removed")
    starts = engine.events(
        since=0, until=int(time.time()), filters={"event": "start", "label": f"jobd.exec={running['id']}"}, decode=True
    )
    assert len(list(starts)) == 1


def test_a_second_daemon_on_the_same_data_is_refused(make_daemon: MakeDaemon) -> None:
    first, second = make_daemon().start(), make_daemon()
    second.ini.write_text(second.ini.read_text())
    with pytest.raises(AssertionError, match="another jobd"):
        second.start()
    assert first.call("GET", "/healthz", 200)


def test_a_stop_is_quick_when_nothing_is_under_way(make_daemon: MakeDaemon) -> None:
    assert make_daemon().start().stop(signal.SIGTERM) == 0
    assert make_daemon().start().stop(signal.SIGINT) == 0
