"""The whole path on the real Docker: over HTTP in, container, record and log out."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.registries import Registry


@pytest.fixture
def run(
    daemon: Daemon, busybox_image: str, containers_of: Callable[[str], list[dict[str, Any]]]
) -> Callable[..., dict[str, Any]]:
    """Run a command to its end, and see that no container is left behind."""
    repo, tag = busybox_image.rsplit(":", 1)

    def run(command: str | None, **more: Any) -> dict[str, Any]:
        values = {"docker_image_repo": repo, "docker_image_tag": tag, "command": command, **more}
        ended = daemon.run(**values)
        daemon.eventually(lambda: not containers_of(ended["id"]), f"the container of {ended['id']} to be removed")
        return ended

    return run


def test_a_run_succeeds(daemon: Daemon, run: Callable[..., dict[str, Any]]) -> None:
    ended = run("echo hello")
    assert (ended["status"], ended["exit_code"], ended["reason"]) == ("S", 0, None)
    assert daemon.output(ended) == b"hello\n"
    assert ended["log_bytes"] == 6
    assert ended["image_digest"]
    assert ended["duration"] == {"hours": 0, "minutes": 0, "seconds": 0}
    assert ended["created_at"] <= ended["started_at"] <= ended["ended_at"]


def test_an_exit_code_of_3_is_told(run: Callable[..., dict[str, Any]]) -> None:
    ended = run("sh -c 'exit 3'")
    assert (ended["status"], ended["exit_code"], ended["reason"]) == ("F", 3, "exit_code")


def test_a_command_that_does_not_exist_fails_with_the_runtimes_words(run: Callable[..., dict[str, Any]]) -> None:
    ended = run("/bin bash")
    assert (ended["status"], ended["reason"], ended["exit_code"]) == ("F", "start_failed", None)
    assert "/bin" in ended["message"]
    assert "permission denied" in ended["message"]
    ended = run("nothing-of-this-name")
    assert (ended["status"], ended["reason"]) == ("F", "start_failed")
    assert "no such file or directory" in ended["message"]
    by_the_shell = run("sh -c nothing-of-this-name")
    assert (by_the_shell["reason"], by_the_shell["exit_code"]) == ("exit_code", 127)


def test_a_missing_image_is_not_found(run: Callable[..., dict[str, Any]], registry: Registry) -> None:
    ended = run("true", docker_image_repo=f"{registry.host}/nobody/nothing", docker_image_tag="none")
    assert (ended["status"], ended["reason"]) == ("F", "image_not_found")
    assert "nobody/nothing:none" in ended["message"]


def test_memory_over_the_size_is_out_of_memory(run: Callable[..., dict[str, Any]]) -> None:
    ended = run("tail /dev/zero")
    assert (ended["status"], ended["reason"], ended["exit_code"]) == ("F", "oom_killed", 137)
    assert "XXS" in ended["message"]


def test_a_success_with_a_process_killed_for_memory_says_so(run: Callable[..., dict[str, Any]]) -> None:
    ended = run("sh -c 'tail /dev/zero; exit 0'")
    assert (ended["status"], ended["exit_code"]) == ("S", 0)
    assert ended["message"] == "one of its processes was killed, as it used more memory than its size XXS has"


def test_both_streams_are_kept(daemon: Daemon, run: Callable[..., dict[str, Any]]) -> None:
    ended = run("sh -c 'echo out; echo err >&2'")
    assert sorted(daemon.output(ended).splitlines()) == [b"err", b"out"]
    path = f"/v1/jobs/{ended['job']['id']}/execs/{ended['id']}/logs"
    lines = daemon.call("GET", path, 200, headers={"Accept": "application/json"})
    assert {(line["stream"], line["message"].strip()) for line in lines} == {("stdout", "out"), ("stderr", "err")}
    assert all(line["time"].endswith("+00:00") for line in lines)


def test_five_megabytes_come_back_to_the_byte(daemon: Daemon, run: Callable[..., dict[str, Any]]) -> None:
    ended = run("sh -c 'yes 0123456789abcde | head -c 5242880'", resource_size="XS")
    assert daemon.output(ended) == b"0123456789abcde\n" * (5 * 2**20 // 16)
    assert ended["log_bytes"] == 5 * 2**20


def test_output_that_is_not_utf_8_comes_back_to_the_byte(daemon: Daemon, run: Callable[..., dict[str, Any]]) -> None:
    ended = run(r"printf '\377\376\000\200'")
    assert daemon.output(ended) == b"\xff\xfe\x00\x80"


def test_chinese_text_reaches_the_program(daemon: Daemon, run: Callable[..., dict[str, Any]]) -> None:
    ended = run("sh -c 'echo \"$GREETING\"'", name="问候", runtime_vars={"GREETING": "你好，世界"})
    assert daemon.output(ended).decode() == "你好，世界\n"
    assert ended["job"]["name"] == "问候"


def test_the_container_knows_which_exec_it_is(daemon: Daemon, run: Callable[..., dict[str, Any]]) -> None:
    ended = run("sh -c 'echo $JOBD_EXEC_ID $JOBD_JOB_ID $JOBD_ATTEMPT'")
    assert daemon.output(ended).decode().split() == [ended["id"], str(ended["job"]["id"]), "1"]


def test_without_a_command_the_images_own_runs(run: Callable[..., dict[str, Any]]) -> None:
    assert run(None)["reason"] in (None, "start_failed")


def test_a_stop_ends_a_run_and_its_container(
    daemon: Daemon, busybox_image: str, containers_of: Callable[[str], list[dict[str, Any]]]
) -> None:
    repo, tag = busybox_image.rsplit(":", 1)
    job = daemon.create_job(docker_image_repo=repo, docker_image_tag=tag, command="sleep 600")
    running = daemon.reached(daemon.trigger(job), "R")
    for _ in range(2):
        daemon.call("POST", f"/v1/jobs/{job['id']}/execs/{running['id']}/stop", 202)
    ended = daemon.ended(running)
    assert (ended["status"], ended["reason"]) == ("C", "cancelled")
    daemon.call("POST", f"/v1/jobs/{job['id']}/execs/{running['id']}/stop", 409)
    daemon.eventually(lambda: not containers_of(running["id"]), "the container to be removed")


def test_a_schedule_runs_as_often_as_it_says(daemon: Daemon, busybox_image: str) -> None:
    repo, tag = busybox_image.rsplit(":", 1)
    start = (datetime.now(UTC) + timedelta(seconds=2)).isoformat(timespec="milliseconds")
    job = daemon.create_job(
        docker_image_repo=repo,
        docker_image_tag=tag,
        command="sh -c 'echo $JOBD_SCHEDULED_FOR'",
        schedule_mode=f"R2/{start}/PT2S",
        is_schedule_active=True,
    )

    def both() -> Any:
        found = daemon.call("GET", f"/v1/jobs/{job['id']}/execs", 200)["results"]
        return found if len(found) == 2 and all(row["status"] == "S" for row in found) else None

    second, first = daemon.eventually(both, "both runs")
    assert (first["trigger_mode"], second["trigger_mode"]) == ("S", "S")
    at = [datetime.fromisoformat(row["scheduled_for"]) for row in (first, second)]
    assert at[1] - at[0] == timedelta(seconds=2)
    after = daemon.call("GET", f"/v1/jobs/{job['id']}", 200)
    assert (after["next_fire_at"], after["is_schedule_active"]) == (None, True)


def test_a_deleted_job_takes_its_running_container_with_it(
    daemon: Daemon, busybox_image: str, containers_of: Callable[[str], list[dict[str, Any]]]
) -> None:
    repo, tag = busybox_image.rsplit(":", 1)
    job = daemon.create_job(docker_image_repo=repo, docker_image_tag=tag, command="sleep 600")
    running = daemon.reached(daemon.trigger(job), "R")
    daemon.call("DELETE", f"/v1/jobs/{job['id']}", 204)
    daemon.call("GET", f"/v1/jobs/{job['id']}", 404)
    daemon.eventually(lambda: not containers_of(running["id"]), "the container to be removed")
