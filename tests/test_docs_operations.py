"""docs/operations.md: its commands are run as they stand there, on a real daemon, Docker, SQLite and PostgreSQL.

Only what takes a machine of one's own is stood in for: its folders, its users (`runuser`, `install`) and systemd.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.e2e.daemon import Daemon
from tests.services import ROOT, fresh_postgres, require
from tests.shell_examples import blocks, installed, run

HERE = str(Path(__file__).relative_to(ROOT))
PAGE = ROOT / "docs" / "operations.md"
SYSTEMCTL = """
cd "$ETC"
stop() { kill "$(cat pid)"; flock var/daemon.lock true; }
start() {
    [ ! -e jobd.env ] || { set -a; . ./jobd.env; }
    setsid jobd serve -c jobd.ini >>daemon.log 2>&1 &
    echo $! >pid
    until curl -fs "$URL/readyz"; do sleep 0.05; done
}
case $1 in restart) stop; start ;; *) "$1" ;; esac
"""
RUNUSER = 'shift 3; exec "$@"'
INSTALL = 'while [ $# -gt 1 ]; do shift; done; mkdir -p "$1"'


class Machine:
    """Where jobd is installed. `daemon` speaks to it; it runs when the page's commands say so."""

    def __init__(self, folder: Path, docker_socket: str) -> None:
        etc = folder / "etc"
        etc.mkdir()
        self.folder = folder
        self.daemon = Daemon(etc, {"region:DOCKER1": f"executor = docker\nsocket = {docker_socket}"})
        ini = self.daemon.ini.read_text(encoding="utf-8")
        self.daemon.ini.write_text(ini.replace("[jobd]\n", "[jobd]\ndefault_region = DOCKER1\n"), encoding="utf-8")
        programs = installed(folder, systemctl=SYSTEMCTL, runuser=RUNUSER, install=INSTALL)
        self.shell = {**programs, "ETC": str(etc), "URL": f"http://127.0.0.1:{self.daemon.port}"}
        self.places = {
            "/etc/jobd": str(etc),
            "/var/lib/jobd": str(etc / "var"),
            "/var/backups/jobd": str(folder / "backups"),
            "/opt/jobd/bin": str(folder / "bin"),
        }

    def start(self) -> Daemon:
        self.systemctl("start")
        self.daemon.token = (self.daemon.folder / "var" / "admin.token").read_text().strip()
        return self.daemon

    def systemctl(self, command: str) -> None:
        subprocess.run(["systemctl", command], env=self.shell, check=True, capture_output=True, timeout=60)

    def run(self, heading: str) -> str:
        """What the commands under a heading of the page print."""
        marked = [block for block in blocks(PAGE) if block.test == HERE and block.heading == heading]
        assert marked, f"nothing runs under {heading!r}"
        text = "".join(block.text for block in marked)
        return run(marked, self.shell, self.folder, **{word: to for word, to in self.places.items() if word in text})


@pytest.fixture
def machine(tmp_path: Path, docker_socket: str) -> Iterator[Machine]:
    made = Machine(tmp_path, docker_socket)
    yield made
    with suppress(subprocess.CalledProcessError):
        made.systemctl("stop")


@pytest.fixture
def remove_container(docker_socket: str) -> Iterator[Callable[[str], None]]:
    client = docker.APIClient(base_url=docker_socket)

    def remove(exec_id: str) -> None:
        for found in client.containers(all=True, filters={"label": f"jobd.exec={exec_id}"}):
            client.remove_container(found["Id"], force=True)

    yield remove
    client.close()


def sleeps(daemon: Daemon, image: str, name: str) -> dict[str, Any]:
    """An exec of a job of its own that is running, and goes on."""
    repository, tag = image.rsplit(":", 1)
    job = daemon.create_job(name=name, docker_image_repo=repository, docker_image_tag=tag, command="sleep 600")
    return daemon.reached(daemon.trigger(job), "R")


def test_a_service_is_checked_and_restarted_and_a_lost_token_replaced(machine: Machine) -> None:
    daemon = machine.start()
    daemon.create_job(name="kept", docker_image_repo="busybox")
    assert "ok, 1 region (DOCKER1)" in machine.run("Install as a service")
    assert daemon.call("GET", "/v1/jobs", 200)["count"] == 1
    assert "rescue" in machine.run("The admin's token is lost")
    daemon.token = (machine.folder / "admin.token").read_text().strip()
    assert daemon.call("GET", "/v1/jobs", 200)["count"] == 1


def test_a_backup_of_sqlite_brings_back_what_was_and_runs_become_what_the_page_says(
    machine: Machine, busybox_image: str, remove_container: Callable[[str], None]
) -> None:
    require("sqlite3")
    daemon = machine.start()
    goes_on, stopped = (sleeps(daemon, busybox_image, name) for name in ("goes on", "stopped"))
    machine.run("Back up SQLite")

    daemon.call("POST", f"/v1/jobs/{stopped['job']['id']}/execs/{stopped['id']}/stop?force=1", 202)
    assert daemon.ended(stopped)["status"] == "C"
    unknown = sleeps(daemon, busybox_image, "since")
    machine.run("Restore SQLite")

    assert {job["name"] for job in daemon.call("GET", "/v1/jobs", 200)["results"]} == {"goes on", "stopped"}
    ended = daemon.ended(stopped)
    assert (ended["status"], ended["reason"]) == ("F", "lost"), daemon.evidence()
    assert daemon.reached(goes_on, "R", "S", "F", "C")["status"] == "R", daemon.evidence()
    told = f"runs for exec {unknown['id']}, which no record names"
    daemon.eventually(lambda: told in daemon.evidence(), "the unknown run to be told of")
    running = machine.run("What a restore does to runs")
    assert unknown["id"] in running
    assert goes_on["id"] in running

    daemon.call("DELETE", f"/v1/jobs/{goes_on['job']['id']}/execs/{goes_on['id']}", 204)
    remove_container(unknown["id"])
    daemon.eventually(lambda: goes_on["id"] not in machine.run("What a restore does to runs"), "its container to go")


@pytest.fixture
def own_postgres(postgres_template: str) -> Iterator[str]:
    """One whose tables may be dropped."""
    with fresh_postgres(postgres_template) as url:
        yield url


def test_a_backup_of_postgresql_brings_back_what_was(machine: Machine, own_postgres: str) -> None:
    require("pg_dump")
    (machine.daemon.folder / "jobd.env").write_text(f"JOBD__DATABASE__URL={own_postgres}\n")
    daemon = machine.start()
    daemon.create_job(name="before", docker_image_repo="busybox")
    machine.run("Back up PostgreSQL")
    daemon.create_job(name="since", docker_image_repo="busybox")
    machine.run("Restore PostgreSQL")
    assert [job["name"] for job in daemon.call("GET", "/v1/jobs", 200)["results"]] == ["before"]
    assert daemon.create_job(name="after", docker_image_repo="busybox")["id"] > 1
