"""The engine's words, made readable, and what they mean."""

from types import SimpleNamespace

import pytest
import requests
from docker.errors import APIError

from jobd.errors import RegionUnavailable, StartFailed
from jobd.executor import State
from jobd_docker import containers
from jobd_docker.client import readable, translated

OLD = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
"""What Docker 20.10 says before the reason, and what Docker 26 does."""
NEW = f"failed to create task for container: {OLD}"
IN_INIT = "error during container init: "
MERGED = f"/var/lib/docker/overlay2/{'5a' * 32}/merged"
ADVICE = (
    ": Are you trying to mount a directory onto a file (or vice-versa)?"
    " Check if the specified host path exists and is the expected type"
)

WORDS = [
    (
        "failed to create shim: OCI runtime create failed: container_linux.go:380: starting container process"
        ' caused: exec: "/bin": permission denied: unknown',
        "/bin: permission denied",
    ),
    (f'{OLD}exec: "/bin": permission denied: unknown', "/bin: permission denied"),
    (f'{NEW}exec: "/bin": is a directory: unknown: permission denied', "/bin: is a directory"),
    *(
        (f"{said}{reason}: unknown", read)
        for said in (OLD, NEW)
        for reason, read in (
            ('exec: "nope": executable file not found in $PATH', "nope: executable file not found in $PATH"),
            ('exec: "/nope": stat /nope: no such file or directory', "/nope: no such file or directory"),
            ('exec: "/data/file": permission denied', "/data/file: permission denied"),
            (
                f'{IN_INIT}error mounting "/srv/a" to rootfs at "/proc": "{MERGED}/proc" cannot be mounted because it'
                " is not of type proc",
                "nothing can be mounted at /proc: it cannot be mounted because it is not of type proc",
            ),
        )
    ),
    (
        f'{NEW}{IN_INIT}error mounting "/srv/a" to rootfs at "/proc/self": create mount destination for /proc/self'
        f' mount: check proc-safety of /proc/self mount: "{MERGED}/proc/1" cannot be mounted because it is inside'
        " /proc: unknown",
        "nothing can be mounted at /proc/self: it cannot be mounted because it is inside /proc",
    ),
    (
        f'{OLD}{IN_INIT}error mounting "/srv/a" to rootfs at "/bin/busybox": mount /srv/a:/bin/busybox (via'
        f" /proc/self/fd/6), flags: 0x5000: not a directory: unknown{ADVICE}",
        "nothing can be mounted at /bin/busybox: not a directory",
    ),
    (
        f'{NEW}{IN_INIT}error mounting "/srv/a" to rootfs at "/bin/busybox": create mount destination for'
        f" /bin/busybox mount: cannot mkdir in {MERGED}/bin/busybox: not a directory: unknown{ADVICE}",
        "nothing can be mounted at /bin/busybox: not a directory",
    ),
    (
        "failed to create shim: OCI runtime create failed: container_linux.go:380: starting container process"
        " caused: process_linux.go:545: container init caused: rootfs_linux.go:76: mounting"
        ' "/a" to rootfs at "/b" caused: mount through procfd: not a directory: unknown',
        "nothing can be mounted at /b: not a directory",
    ),
    (
        'invalid mount config for type "bind": bind source path does not exist: /srv/a',
        "the source of a mount does not exist on the region's host",
    ),
    ("Minimum memory limit allowed is 6MB", "Minimum memory limit allowed is 6MB"),
    ("network jobs not found", "network jobs not found"),
    ("", "Docker gave no reason"),
]


@pytest.mark.parametrize(("words", "read"), WORDS)
def test_the_chain_of_who_called_whom_is_left_out(words: str, read: str):
    assert readable(words) == read


def answer(words: str) -> APIError:
    return APIError("500", response=SimpleNamespace(status_code=500, url="", reason=""), explanation=words)


def test_an_answer_is_the_error_that_the_caller_names():
    with pytest.raises(StartFailed, match=r"^no space left on device$"), translated("here", StartFailed):
        raise answer("no space left on device")


@pytest.mark.parametrize(
    "words",
    [
        'desc = "transport: error while dialing: dial unix:///run/containerd/containerd.sock: timeout"',
        "transport is closing: unavailable",
    ],
)
def test_an_engine_without_its_containerd_is_a_region_that_is_away(words: str):
    with pytest.raises(RegionUnavailable, match="Docker at here is not ready"), translated("here", StartFailed):
        raise answer(words)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.ReadTimeout("x"), "it does not answer in time"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (requests.ConnectionError("odd"), "odd"),
    ],
)
def test_an_engine_that_cannot_be_asked_is_told_in_the_systems_words(error: Exception, words: str):
    with pytest.raises(RegionUnavailable, match=f"^Docker at here cannot be reached: {words}$"), translated("here"):
        raise error


def test_a_container_that_died_half_removed_has_no_exit_code_to_be_believed():
    never = "0001-01-01T00:00:00Z"
    half_removed = {"Status": "dead", "StartedAt": never, "FinishedAt": never, "ExitCode": 0, "OOMKilled": False}
    status = containers.status({"State": {**half_removed, "Error": ""}})
    assert (status.state, status.exit_code) == (State.GONE, None)
