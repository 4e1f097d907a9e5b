"""Runs on a real Docker: how they end, what they may do, and that nothing of them stays."""

import re
import threading
import uuid

import docker
import pytest

from jobd.conformance.bench import Bench, Ends
from jobd.errors import ImageAbsent, RegionUnavailable, StartFailed
from jobd.executor import Mount, State
from jobd_docker import networks
from jobd_docker.options import DockerOptions
from tests.plugins.conftest import docker_bench


def test_a_run_is_created_under_the_execs_name_and_again_beside_it(bench: Bench, engine: docker.APIClient):
    spec = bench.spec("true")
    names = [engine.inspect_container(bench.create(spec).id)["Name"] for _ in range(3)]
    assert names == [f"/jobd-{spec.exec_id}", f"/jobd-{spec.exec_id}-2", f"/jobd-{spec.exec_id}-3"]


def test_the_handle_tells_the_images_id(bench: Bench, engine: docker.APIClient):
    assert bench.create(bench.spec("true")).image_digest == engine.inspect_image(bench.image)["Id"]


def test_labels_say_whose_it_is_and_win_over_a_tenants(bench: Bench, engine: docker.APIClient):
    spec = bench.spec("true", labels={"team": "a", "jobd.installation": "somebody else's"}, namespace="shop")
    labels = engine.inspect_container(bench.create(spec).id)["Config"]["Labels"]
    assert labels == {
        "team": "a",
        "jobd.installation": bench.installation,
        "jobd.daemon": "conformance",
        "jobd.exec": spec.exec_id,
        "jobd.job": "1",
        "jobd.namespace": "shop",
        "jobd.region": "TEST",
    }


def test_a_container_is_shut_in(bench: Bench, engine: docker.APIClient):
    config = engine.inspect_container(bench.create(bench.spec("true", cpus=0.15)).id)["HostConfig"]
    assert (config["Memory"], config["MemorySwap"], config["NanoCpus"]) == (64 * 2**20, 64 * 2**20, 150_000_000)
    assert (config["PidsLimit"], config["Init"], config["Privileged"]) == (512, True, False)
    assert config["CapDrop"] == ["ALL"]
    assert set(config["CapAdd"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL"}
    assert config["SecurityOpt"] == ["no-new-privileges"]
    assert (config["NetworkMode"], config["AutoRemove"], config["Binds"]) == ("jobd", False, None)
    assert config["RestartPolicy"]["Name"] in ("", "no")


def test_what_is_shut_in_notices(bench: Bench):
    handle, _ = bench.run(bench.shell("while read line; do echo $line; done </proc/self/status"))
    said = bench.output(handle)["stdout"].decode()
    assert "NoNewPrivs: 1\n" in said
    # CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID
    assert "CapBnd: 00000000000000eb\n" in said


def test_the_operator_decides_otherwise(image: str, engine: docker.APIClient):
    bench = docker_bench(image, network="none", pids_limit=7, cap_add="chown, kill", read_only="yes", init="no")
    try:
        config = engine.inspect_container(bench.create(bench.spec("true")).id)["HostConfig"]
        assert (config["NetworkMode"], config["PidsLimit"], config["Init"]) == ("none", 7, False)
        assert config["CapAdd"] == ["CHOWN", "KILL"]
        handle, status = bench.run(bench.spec("touch", "/new"))
        assert status.exit_code == 1
        assert b"Read-only file system" in bench.output(handle)["stderr"]
    finally:
        bench.clear()


def test_containers_do_not_reach_each_other(bench: Bench, engine: docker.APIClient):
    bench.create(bench.spec("true"))
    network = engine.inspect_network("jobd")
    assert network["Driver"] == "bridge"
    assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"


def test_many_that_make_the_network_at_once_leave_one(engine: docker.APIClient, monkeypatch: pytest.MonkeyPatch):
    name = f"jobd-test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setattr(networks, "JOBD_NETWORK", name)
    makers = [threading.Thread(target=networks.ensure, args=(engine,)) for _ in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    found = engine.networks(names=[name])
    for network in found:
        engine.remove_network(network["Id"])
    assert len(found) == 1


def test_a_network_that_somebody_removed_is_made_again(engine: docker.APIClient, image: str, monkeypatch):
    name = f"jobd-test-{uuid.uuid4().hex[:12]}"
    for module in ("networks", "executor"):
        monkeypatch.setattr(f"jobd_docker.{module}.JOBD_NETWORK", name)
    bench = docker_bench(image, network=name)
    try:
        handle = bench.create(bench.spec("true"))
        engine.remove_network(name)
        bench.executor.start(handle)
        assert bench.end_of(handle).exit_code == 0
    finally:
        bench.clear()
        engine.remove_network(name)


def test_a_network_that_is_not_there_is_told(image: str):
    bench = docker_bench(image, network="no-such-network")
    try:
        with pytest.raises(StartFailed, match="network no-such-network not found"):
            bench.start(bench.spec("true"))
    finally:
        bench.clear()


def test_the_environment_arrives_whole(bench: Bench):
    environment = {"名字": "张三", "GREETING": "你好，世界", "LINES": "a\nb", "EMPTY": "", "QUOTED": "a b='c'"}
    handle, _ = bench.run(bench.spec("env", environment=environment))
    said = bench.output(handle)["stdout"].decode()
    for name, value in environment.items():
        assert f"{name}={value}\n" in said


def test_argv_replaces_the_command_and_keeps_the_entrypoint(bench: Bench, engine: docker.APIClient):
    base = engine.create_container(bench.image, command=["x"])["Id"]
    repository = f"jobd-test-{uuid.uuid4().hex[:12]}"
    engine.commit(base, repository, "latest", changes='ENTRYPOINT ["echo", "entry"]\nCMD ["command"]')
    engine.remove_container(base)
    try:
        own, _ = bench.run(bench.spec(image=f"{repository}:latest", argv=None))
        given, _ = bench.run(bench.spec("a b", "c", image=f"{repository}:latest"))
        assert bench.output(own)["stdout"] == b"entry command\n"
        assert bench.output(given)["stdout"] == b"entry a b c\n"
    finally:
        bench.clear()
        engine.remove_image(repository, force=True)


def test_a_mount_is_there_and_cannot_be_written_to(bench: Bench, tmp_path):
    (tmp_path / "greeting").write_text("hello")
    spec = bench.shell("cat /data/greeting; touch /data/new")
    handle, status = bench.run(bench.spec(*spec.argv, mounts=(Mount(str(tmp_path), "/data"),)))
    assert bench.output(handle)["stdout"] == b"hello"
    assert (status.exit_code, list(tmp_path.iterdir())) == (1, [tmp_path / "greeting"])


def test_a_mount_whose_source_is_not_there_is_told(bench: Bench):
    with pytest.raises(StartFailed, match=r"^the source of a mount does not exist on the region's host$"):
        bench.start(bench.spec("true", mounts=(Mount("/no/such/folder", "/data"),)))


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [("/bin", 126, "/bin: permission denied"), ("no-such", 127, "no-such: no such file or directory")],
)
def test_a_command_that_cannot_be_executed_is_told(bench: Bench, command: str, code: int, words: str):
    _, status = bench.run(bench.spec(command, "bash"))
    assert (status.exit_code, status.message, status.never_ran) == (code, words, True)


def test_a_program_that_ends_with_127_is_not_taken_for_one(bench: Bench):
    _, status = bench.run(bench.shell("echo sad >&2; exit 127"))
    assert (status.exit_code, status.message, status.never_ran) == (127, "", False)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        # runc 1.1.5, and later ones
        ("/bin", ("/bin: permission denied", "/bin: is a directory")),
        ("no-such", ("no-such: executable file not found in $PATH",)),
    ],
)
def test_without_an_init_it_fails_to_start(image: str, command: str, words: tuple[str, ...]):
    bench = docker_bench(image, init=False)
    try:
        handle = bench.create(bench.spec(command, "bash"))
        with pytest.raises(StartFailed) as told:
            bench.executor.start(handle)
        assert told.value.message in words
        assert bench.status(handle).state is State.CREATED
        assert bench.executor.was_started(handle) is False
    finally:
        bench.clear()


def test_more_memory_than_its_size_ends_it_and_is_said(bench: Bench):
    # tail keeps a line without end in memory
    _, status = bench.run(bench.spec("tail", "/dev/zero", memory=16 * 2**20))
    assert (status.exit_code, status.oom_killed) == (137, True)


def test_a_size_that_docker_refuses_is_told(bench: Bench):
    with pytest.raises(StartFailed, match="Minimum memory limit allowed is 6MB"):
        bench.create(bench.spec("true", memory=2**20))


def test_sigterm_ends_a_shell_within_its_grace(bench: Bench):
    handle = bench.start(bench.shell("sleep 60; true"))
    bench.executor.stop(handle, 30)
    status = bench.status(handle)
    assert status.exit_code == 143
    assert (status.ended_at - status.started_at).total_seconds() < 25


def test_what_ignores_sigterm_is_killed_after_the_grace(bench: Bench):
    handle = bench.start(bench.shell("trap '' TERM; echo deaf; while true; do sleep 1; done"))
    assert next(bench.executor.logs(handle, follow=True)).data == b"deaf\n"
    bench.executor.stop(handle, 1)
    assert (bench.status(handle).exit_code, bench.status(handle).oom_killed) == (137, False)


@pytest.mark.parametrize(
    ("text", "init"),
    [
        ("yes", "yes"),
        ("true", "yes"),
        ("On", "yes"),
        (True, "yes"),
        ("no", "no"),
        ("off", "no"),
        (False, "no"),
        (" Group ", "group"),
    ],
)
def test_init_is_yes_no_or_group(text, init: str):
    assert DockerOptions(init=text).init == init


@pytest.mark.parametrize("text", ["", "groups", "2", None])
def test_another_init_is_refused(text):
    with pytest.raises(ValueError, match=r"'yes', 'no' or 'group'"):
        DockerOptions(init=text)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that the engine gets, without the API's version and the ids."""
    asked: list[str] = []
    send = docker.APIClient.send

    def noted(self, request, **kwargs):
        path = re.sub(r"^/v[\d.]+|\?.*|/[0-9a-f]{64}", "", request.path_url)
        asked.append(f"{request.method} {path}")
        return send(self, request, **kwargs)

    monkeypatch.setattr(docker.APIClient, "send", noted)
    return asked


def test_a_run_costs_five_requests_and_now_and_then_a_look_at_its_image(bench: Bench, asked: list[str]):
    ends = Ends()
    stop = bench.executor.watch(ends)
    try:
        assert ends.include(bench.start(bench.spec("true")), 60)
        asked.clear()
        handle = bench.executor.create(bench.spec("true"))
        bench.executor.start(handle)
        assert ends.include(handle, 60)
        assert bench.executor.statuses([handle])[handle].exit_code == 0
        assert list(bench.executor.logs(handle)) == []
        bench.executor.remove(handle, False)
    finally:
        stop()
    ours = [request for request in asked if request != f"GET /images/{bench.image}/json"]
    assert ours == [
        "POST /containers/create",
        "POST /containers/start",
        "GET /containers/json",
        "GET /containers/logs",
        "DELETE /containers",
    ]


def test_many_statuses_cost_one_list_and_a_look_at_what_ended(bench: Bench, asked: list[str]):
    running = [bench.start(bench.spec("sleep", "60")) for _ in range(4)]
    ended, _ = bench.run(bench.shell("exit 3"))
    asked.clear()
    statuses = bench.executor.statuses([*running, ended])
    assert [statuses[handle].state for handle in running] == [State.RUNNING] * 4
    assert statuses[ended].exit_code == 3
    assert asked == ["GET /containers/json", "GET /containers/json"]


def test_two_that_start_one_handle_start_it_once(bench: Bench, engine: docker.APIClient):
    handle = bench.create(bench.shell("echo ran"))
    starters = [threading.Thread(target=bench.executor.start, args=(handle,)) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    bench.end_of(handle)
    assert bench.output(handle)["stdout"] == b"ran\n"


def test_an_absent_image_is_told_at_create(bench: Bench):
    with pytest.raises(ImageAbsent, match="jobd-test-absent:latest"):
        bench.executor.create(bench.spec("true", image="jobd-test-absent:latest"))


def test_an_end_is_pushed_and_the_watch_leaves_no_thread(bench: Bench):
    ends = Ends()
    stop = bench.executor.watch(ends)
    try:
        handle = bench.start(bench.spec("true"))
        assert ends.include(handle, 60)
    finally:
        stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "jobd-TEST-events"]


def test_nothing_is_left_behind(bench: Bench, engine: docker.APIClient):
    volumes = {volume["Name"] for volume in engine.volumes()["Volumes"] or []}
    for script in ("echo one", "exit 3", "echo $(yes | head -c 100000)"):
        handle, _ = bench.run(bench.shell(script))
        bench.executor.remove(handle, False)
    assert bench.executor.list() == []
    assert engine.containers(all=True, filters={"label": f"jobd.installation={bench.installation}"}) == []
    assert {volume["Name"] for volume in engine.volumes()["Volumes"] or []} <= volumes


def test_a_region_that_is_down_is_unavailable_and_says_where():
    bench = docker_bench("x:latest", socket="unix:///no/such/docker.sock")
    words = "Docker at unix:///no/such/docker.sock cannot be reached: No such file or directory"
    for ask in (bench.executor.identity, bench.executor.list, lambda: bench.executor.create(bench.spec("true"))):
        with pytest.raises(RegionUnavailable) as told:
            ask()
        assert told.value.message == words
    health = bench.executor.check()
    assert (health.ok, health.message) == (False, words)
    bench.executor.close()


def test_check_says_what_answered(bench: Bench, engine: docker.APIClient):
    assert bench.executor.check().engine == f"Docker {engine.version()['Version']}"
    assert bench.executor.identity() == engine.info()["ID"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [("chown, kill", ("CHOWN", "KILL")), ("SETUID", ("SETUID",)), ("none", ()), (("kill",), ("KILL",))],
)
def test_capabilities_are_a_list_or_none(text, kept: tuple[str, ...]):
    assert DockerOptions(cap_add=text).cap_add == kept


@pytest.mark.parametrize("socket", ["tcp://10.0.0.5:2375", "/var/run/docker.sock", "ssh://host", "unix://"])
def test_a_socket_that_is_none_is_refused(socket: str):
    with pytest.raises(ValueError, match=r"not the unix:///path"):
        docker_bench("x", socket=socket)
