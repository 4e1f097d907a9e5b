"""A start whose answer is lost, on engines that carry it through (Docker 20.10) and that cancel it (Docker 26)."""

from pathlib import Path
from typing import Any, get_args

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.ledger import StartWatch
from tests.relay import Fate, relay_to


@pytest.mark.parametrize("fate", get_args(Fate))
def test_an_exec_whose_start_was_cut_off_is_started_once(
    tmp_path: Path, docker_socket: str, busybox_image: str, fate: Fate
) -> None:
    repo, tag = busybox_image.rsplit(":", 1)
    job: dict[str, Any] = {"docker_image_repo": repo, "docker_image_tag": tag, "command": "sh -c 'echo ran; sleep 2'"}
    with relay_to(docker_socket, tmp_path / "docker.sock") as relay, StartWatch(docker_socket) as watch:
        settings = {"region:BEIJING1": f"executor = docker\nsocket = unix://{tmp_path}/docker.sock"}
        daemon = Daemon(tmp_path, settings).start()
        try:
            daemon.run(**job)
            relay.deaf_to, relay.fate = b"/start HTTP", fate
            exec_ = daemon.trigger(daemon.create_job(**job))
            daemon.eventually(lambda: relay.is_cut, "the start to be cut off")
            relay.heal()
            ended = daemon.ended(exec_)
            if (ended["status"], ended["reason"]) != ("F", "lost"):
                assert (ended["status"], ended["exit_code"]) == ("S", 0), ended["message"]
                assert daemon.output(ended) == b"ran\n"
                assert watch.wait_for(exec_["id"]) == 1
            else:
                # the engine's own memory was overrun by others, and so nothing is started a second time
                assert "nothing can tell whether it ran" in ended["message"]
                assert watch.starts()[exec_["id"]] <= 1
        finally:
            assert daemon.stop() == 0, daemon.evidence()
