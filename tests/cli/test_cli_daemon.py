"""The commands against a real daemon, whose runs are processes of this machine."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import PROGRAM, install


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """`jobd serve`, on an empty database; the environment says where it is and who asks."""
    monkeypatch.chdir(tmp_path)
    install(tmp_path / "site", "processes", (Path(__file__).parent / "processes.py").read_text(), monkeypatch)
    ini = tmp_path / "jobd.ini"
    ini.write_text("[jobd]\ndefault_region = HERE\n[region:HERE]\nexecutor = processes\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--listen", listen], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "listens" in line:
            break
    else:
        pytest.fail("the daemon did not start")
    monkeypatch.setenv("JOBD_URL", f"http://{listen}")
    monkeypatch.setenv("JOBD_TOKEN", (tmp_path / "var/admin.token").read_text())
    yield process
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said


@pytest.fixture
def run(daemon):
    return lambda *args: subprocess.run([*PROGRAM, *args], capture_output=True, text=True, timeout=60)


def test_from_a_job_to_its_exit_code(run):
    created = run(
        "job", "create", "任务", "--image", "none", "--command", "sh -c 'echo $GREETING; exit 7'", "-o", "name"
    )
    assert created.returncode == 0, created.stderr
    job = created.stdout.strip()
    waited = run("job", "run", job, "--wait", "--env", "GREETING=hello")
    assert (waited.returncode, waited.stdout) == (7, "hello\n"), waited.stderr
    followed = run("job", "run", job, "--follow", "--command", "true")
    assert (followed.returncode, followed.stdout) == (0, ""), followed.stderr
    execs = run("exec", "list", "--job", job, "-o", "name").stdout.split()
    assert len(execs) == 2
    assert run("exec", "logs", execs[1]).stdout == "hello\n"
    assert "failed" in run("exec", "show", execs[1]).stdout
    assert run("exec", "rerun", execs[1], "--wait").returncode == 7
    assert run("exec", "stop", execs[1]).returncode == 1


def test_an_exec_that_is_stopped_ends_the_waiting(run):
    job = run("job", "create", "x", "--image", "none", "--command", "sleep 60", "-o", "name").stdout.strip()
    waiting = subprocess.Popen([*PROGRAM, "job", "run", job, "--wait"], stderr=subprocess.PIPE, text=True)
    for line in waiting.stderr:
        if "running" in line:
            break
    stopped = run("exec", "stop", run("exec", "list", "--status", "running", "-o", "name").stdout.strip())
    assert stopped.returncode == 0, stopped.stderr
    _, said = waiting.communicate(timeout=30)
    assert waiting.returncode == 130, said


def test_a_job_is_applied_scheduled_and_deleted(run, tmp_path):
    file = tmp_path / "job.json"
    file.write_text('{"name": "nightly", "docker_image_repo": "none", "schedule_mode": "@daily"}')
    job = run("job", "apply", "-f", str(file), "-o", "name").stdout.strip()
    assert run("job", "apply", "-f", str(file), "-o", "name").stdout.strip() == job
    assert run("job", "resume", job).returncode == 0
    assert run("job", "list", "--scheduled", "-o", "name").stdout.strip() == job
    file.write_text(run("job", "show", job, "-o", "json").stdout)
    applied = run("job", "apply", "-f", str(file))
    assert applied.returncode == 0, applied.stderr
    assert run("job", "pause", job).returncode == 0
    assert run("job", "list", "--scheduled", "-o", "name").stdout == ""
    assert run("job", "delete", job).returncode == 0
    assert run("job", "show", job).returncode == 3
    assert run("job", "create", "x", "--image", "none", "--size", "XXXL").returncode == 2


def test_a_user_is_added_beside_the_daemon(run, monkeypatch):
    assert run("user", "add", "alice", "--no-password").returncode == 0
    monkeypatch.setenv("JOBD_TOKEN", run("token", "create", "alice").stdout)
    assert run("job", "list").returncode == 0
    assert run("job", "create", "x", "--image", "none", "--namespace", "admin").returncode == 4
    assert run("user", "disable", "alice").returncode == 0
    assert run("job", "list").returncode == 4


def test_the_regions_are_well(run):
    assert run("region", "list", "-o", "name").stdout == "HERE\n"
    assert run("region", "check").returncode == 0


def test_a_second_daemon_is_refused(run):
    second = run("serve", "--listen", "127.0.0.1:0")
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.startswith("Error: ")
