"""Paths of a region's host in an engine's words: the operator's log has them, a tenant does not."""

import logging
from pathlib import Path
from typing import Any

import pytest

from jobd.config.settings import MountSettings
from jobd.engine import host_paths
from jobd.engine.host_paths import HostPaths
from jobd.errors import RegionUnavailable, StartFailed
from jobd.executor import Handle, Health, RunSpec
from jobd_docker.options import DockerOptions
from jobd_ssh.options import SshOptions
from tests.engine.conftest import Bench
from tests.engine.executors import MemoryExecutor

LAYER = f"/var/lib/docker/overlay2/{'5a' * 32}"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("mkdir /srv/data: read-only file system", "mkdir (a path of the host): read-only file system"),
        ("open '/srv/data/a/b': denied", "open '(a path of the host)': denied"),
        ("Duplicate mount point: /srv/data", "Duplicate mount point: (a path of the host)"),
        ("mount /srv/data:/b (via x)", "mount (a path of the host):/b (via x)"),
        ("lstat /srv/my files/x: gone", "lstat (a path of the host): gone"),
        (f"open {LAYER}/merged/bin/x: not a directory", "open (a path of the host): not a directory"),
        ("cannot mkdir in /mnt/d/overlay2/abc/merged: no", "cannot mkdir in (a path of the host): no"),
        ("write /var/lib/docker/tmp/GetImageBlob1: no space", "write (a path of the host): no space"),
        (f"open /big/disk/containers/{'7f' * 32}/local-logs: no", "open (a path of the host): no"),
        ("dial unix:///run/containerd/containerd.sock: timeout", "dial its socket: timeout"),
        ("Docker at unix:///var/run/docker.sock cannot be reached: no", "Docker at its socket cannot be reached: no"),
        ("there is no /var/run/docker.sock on the far side", "there is no (a path of the host) on the far side"),
        # what is no path of the host's
        ("/bin: permission denied", "/bin: permission denied"),
        ("/srv/database: not found", "/srv/database: not found"),
        ("/home/srv/data: not found", "/home/srv/data: not found"),
        ("nothing can be mounted at /data: not a directory", "nothing can be mounted at /data: not a directory"),
        ("reg.example.com/srv/data: not found", "reg.example.com/srv/data: not found"),
    ],
)
def test_a_path_of_the_host_is_hidden(words: str, shown: str):
    assert HostPaths(["/srv/data", "/srv/my files", "/var/run/docker.sock", "/"]).hidden(words) == shown


def test_a_path_that_the_job_names_itself_stays():
    assert HostPaths(["/data"]).hidden("/data/run.sh: no", ["/data/run.sh"]) == "/data/run.sh: no"
    assert HostPaths(["/data"]).hidden("/data/other: no", ["/data/run.sh"]) == "(a path of the host): no"


def test_the_operators_paths_are_those_of_options_and_mounts():
    mounts = {"m": MountSettings(source="/srv/m")}
    local = host_paths.of_region(DockerOptions(socket="unix:///srv/sock"), mounts)
    assert local.hidden("/srv/sock /srv/m/x") == "(a path of the host) (a path of the host)"
    far = host_paths.of_region(SshOptions(host="h", identity_file=Path("/keys/id"), known_hosts=Path("/keys/kh")), {})
    assert far.hidden("the private key /keys/id cannot be read, nor /keys/kh:7") == (
        "the private key (a path of the host) cannot be read, nor (a path of the host):7"
    )


class NamingPaths(MemoryExecutor):
    """Names paths of its host wherever it can."""

    fails = "check"
    is_away = False

    def check(self) -> Health:
        if self.is_away and self.fails:
            # Else the region would be open again before anybody could read what it said.
            return Health(False, "it is away")
        return Health(False, f"cannot open {LAYER}") if self.fails == "check" else Health(True)

    def create(self, spec: RunSpec) -> Handle:
        if self.fails == "create":
            raise StartFailed(f"cannot mount {LAYER}")
        if self.fails == "unavailable":
            self.is_away = True
            raise RegionUnavailable(f"cannot write {LAYER}")
        return super().create(spec)


@pytest.mark.gen_test(timeout=40)
@pytest.mark.parametrize(
    ("fails", "statuses", "words"),
    [
        ("check", ("W",), "region BEIJING1 is down: cannot open (a path of the host)"),
        ("create", ("F",), "cannot mount (a path of the host)"),
        ("unavailable", ("W",), "cannot write (a path of the host)"),
    ],
)
async def test_no_message_names_one_and_the_log_does(
    bench: Bench, caplog: Any, fails: str, statuses: tuple[str, ...], words: str
):
    caplog.set_level(logging.INFO)
    executor = bench.executor(NamingPaths)
    executor.fails = fails
    engine = await bench.engine(executor)
    row = await bench.trigger(engine)

    async def told() -> bool:
        return (await bench.until(row, *statuses)).message == words

    await bench.eventually(told, words)
    assert LAYER in caplog.text
    executor.fails = ""
