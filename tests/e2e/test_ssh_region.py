"""A daemon whose region is Docker behind a real sshd."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeDaemon
from tests.plugins.sshd import Sshd


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = Sshd(folder).start()
    yield server
    server.stop()


def test_a_run_outlives_the_ssh_server_and_its_end_is_known_when_it_is_back(
    make_daemon: MakeDaemon, server: Sshd, busybox_image: str
):
    region = "\n".join(
        f"{key} = {value}"
        for key, value in server.options()
        .model_dump(include={"host", "identity_file", "known_hosts", "socket"})
        .items()
    )
    daemon = make_daemon({"region:BEIJING1": f"executor = docker-ssh\n{region}"}).start()
    repository, tag = busybox_image.rsplit(":", 1)
    script = "echo begin; sleep 3; echo end; exit 3"
    job = daemon.create_job(
        docker_image_repo=repository,
        docker_image_tag=tag,
        command=f"sh -c {shlex.quote(script)}",
    )
    begun = daemon.reached(daemon.trigger(job), "R")
    server.stop()
    daemon.eventually(lambda: "is down: Docker at ssh://" in daemon.evidence(), "the outage to be noticed")
    server.start()
    ended = daemon.ended(begun)
    assert (ended["status"], ended["exit_code"], ended["reason"]) == ("F", 3, "exit_code")
    assert daemon.output(ended) == b"begin\nend\n"
