"""What a stop reaches, as docs/executors.md tells it: shells, what they started, and the two inits."""

import uuid
from collections.abc import Iterator

import docker
import pytest

from jobd.conformance.bench import Bench
from jobd_docker import containers
from jobd_ssh.options import SshOptions
from tests.plugins.conftest import docker_bench
from tests.services import wait_for

WORKER = (
    'sh -c \'trap "echo told; sleep 0.3; exit 7" TERM INT; echo ready; i=0;'
    " while [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done'"
)
THEN = f"{WORKER}; echo after $?"
WAITING = f"trap : TERM INT; {THEN}"
EXEC = f"exec {WORKER}"
PIPE = f"trap : TERM INT; {WORKER} | cat; echo after"
PASSING_ON = f'trap "kill -TERM \\$p" TERM INT; {WORKER} & p=$!; wait $p; wait $p; echo after $?'
APART = f"trap : TERM INT; busybox setsid {WORKER}; echo after $?"
GRACE = 2


@pytest.fixture(scope="module", params=["SIGTERM", "SIGINT"])
def stopped_by(request: pytest.FixtureRequest, image: str, engine: docker.APIClient) -> Iterator[tuple[str, str]]:
    """An image, and the signal that it wants to be stopped by."""
    base = engine.create_container(image, command=["x"])["Id"]
    repository = f"jobd-test-{uuid.uuid4().hex[:12]}"
    engine.commit(base, repository, "latest", conf={"StopSignal": request.param})
    engine.remove_container(base)
    yield f"{repository}:latest", request.param
    engine.remove_image(repository, force=True)


@pytest.fixture(params=["yes", "group"])
def kind(request: pytest.FixtureRequest, stopped_by: tuple[str, str]) -> Iterator[tuple[Bench, str, str]]:
    """A region with this init, its name, and the image's signal."""
    bench = docker_bench(stopped_by[0], init=request.param, network="none")
    yield bench, request.param, stopped_by[1]
    bench.clear()


def stopped(bench: Bench, script: str) -> tuple[int | None, list[str]]:
    """Exit code and what was written after the worker had begun, without the shell's own word on an end."""
    handle = bench.start(bench.shell(script))
    wait_for(lambda: b"ready\n" in bench.output(handle)["stdout"], "the worker to begin")
    bench.executor.stop(handle, GRACE)
    return bench.end_of(handle).exit_code, bench.output(handle)["stdout"].decode().splitlines()[1:]


def test_a_worker_in_a_shells_place_has_its_grace(kind: tuple[Bench, str, str]):
    assert stopped(kind[0], EXEC) == (7, ["told"])


def test_a_shell_that_passes_the_signal_on_goes_on_after_its_worker(kind: tuple[Bench, str, str]):
    # Where the signal reaches the whole group, the shell passes it on a second time.
    code, lines = stopped(kind[0], PASSING_ON)
    assert (code, list(dict.fromkeys(lines))) == (0, ["told", "after 7"])


def test_a_shell_that_traps_reaches_its_worker_with_group_alone(kind: tuple[Bench, str, str]):
    bench, init, _ = kind
    assert stopped(bench, WAITING) == ((0, ["told", "after 7"]) if init == "group" else (137, []))


def test_a_shell_that_does_not_trap_does_not_wait(kind: tuple[Bench, str, str]):
    bench, init, signal = kind
    code, told = stopped(bench, THEN)
    if init == "group":
        # SIGINT leaves the shell time to see how its worker ended
        assert code == (143 if signal == "SIGTERM" else 130)
        assert "after 7" not in told
    else:
        # one that waits ignores SIGINT
        assert (code, told) == ((143, []) if signal == "SIGTERM" else (137, []))


def test_a_pipeline_is_reached_with_group_alone(kind: tuple[Bench, str, str]):
    bench, init, _ = kind
    code, told = stopped(bench, PIPE)
    assert (code, "after" in told) == ((0, True) if init == "group" else (137, False))


def test_what_left_the_group_is_not_reached(kind: tuple[Bench, str, str]):
    assert stopped(kind[0], APART) == (137, [])


def test_the_command_sees_the_switch_with_group_alone(kind: tuple[Bench, str, str]):
    bench, init, _ = kind
    handle, _ = bench.run(bench.spec("env"))
    assert (b"TINI_KILL_PROCESS_GROUP=1\n" in bench.output(handle)["stdout"]) == (init == "group")


def test_a_job_may_ask_for_the_group_itself(bench: Bench):
    handle = bench.start(bench.spec("sh", "-c", WAITING, environment={"TINI_KILL_PROCESS_GROUP": "1"}))
    wait_for(lambda: b"ready\n" in bench.output(handle)["stdout"], "the worker to begin")
    bench.executor.stop(handle, GRACE)
    assert bench.end_of(handle).exit_code == 0


def test_a_region_over_ssh_has_the_same_inits(engine: docker.APIClient, bench: Bench):
    options = SshOptions(host="far", agent=True, init="group")
    configuration = containers.configuration(engine, bench.spec("true"), options, "FAR")
    assert configuration["host_config"]["Init"] is True
    assert configuration["environment"]["TINI_KILL_PROCESS_GROUP"] == "1"
