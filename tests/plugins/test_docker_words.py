"""The engine's words, made readable, and what they mean."""

from types import SimpleNamespace

import pytest
import requests
from docker.errors import APIError

from jobd.errors import RegionUnavailable, StartFailed
from jobd.executor import State
from jobd_docker import containers
from jobd_docker.client import readable, translated


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (
            "failed to create shim: OCI runtime create failed: container_linux.go:380: starting container process"
            ' caused: exec: "/bin": permission denied: unknown',
            "/bin: permission denied",
        ),
        (
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container"
            ' process: exec: "nope": executable file not found in $PATH: unknown',
            "nope: executable file not found in $PATH",
        ),
        (
            "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create"
            ' failed: unable to start container process: error during container init: exec: "x": stat x: no such file'
            " or directory: unknown",
            "x: no such file or directory",
        ),
        (
            "failed to create shim: OCI runtime create failed: container_linux.go:380: starting container process"
            " caused: process_linux.go:545: container init caused: rootfs_linux.go:76: mounting"
            ' "/a" to rootfs at "/b" caused: mount through procfd: not a directory: unknown',
            'mounting "/a" to rootfs at "/b" caused: mount through procfd: not a directory',
        ),
        ("Minimum memory limit allowed is 6MB", "Minimum memory limit allowed is 6MB"),
        ("", "Docker gave no reason"),
    ],
)
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
