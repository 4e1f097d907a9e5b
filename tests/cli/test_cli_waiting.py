"""`jobd job run --wait` and `--follow`, and logs: what is printed, and how it ends."""

import signal

import pytest

from jobd.cli import watch
from tests.cli.stand_in import AT, AWAY

RUNNING = {"status": "R", "started_at": AT}


def ended(status="S", **fields):
    return {"status": status, "started_at": AT, "ended_at": AT, "exit_code": 0, **fields}


@pytest.fixture(autouse=True)
def job(server):
    server.job()


def test_without_wait_the_new_exec_is_printed(server, run):
    result = run("job", "run", "146", "-o", "name", "--env", "A=1", "--tag", "trusty")
    assert result.stdout == f"146/{server.execs[0]['id']}\n"
    assert server.asked("POST") == [("/v1/jobs/146/execs", {"runtime_vars": {"A": "1"}, "docker_image_tag": "trusty"})]


def test_a_trigger_can_be_repeated_under_its_key(server, run):
    run("job", "run", "146", "--idempotency-key", "k-1")
    assert server.keys == ["k-1"]


def test_states_go_to_stderr_and_the_log_to_stdout(server, run):
    server.states, server.log = [{}, RUNNING, ended()], b"\xff\x00 as written\r\n"
    result = run("job", "run", "146", "--wait")
    assert result.exit_code == 0
    assert result.stdout_bytes == b"\xff\x00 as written\r\n"
    assert [line.split()[2] for line in result.stderr.splitlines()] == ["waiting", "running", "succeeded"]


@pytest.mark.parametrize(
    ("end", "exit_code"),
    [
        (ended("F", exit_code=7, reason="exit_code"), 7),
        (ended("F", exit_code=137, reason="oom_killed"), 137),
        (ended("F", exit_code=None, reason="lost"), 1),
        (ended("F", exit_code=0, reason="timeout"), 1),
        (ended("F", started_at=None, exit_code=None, reason="image_not_found"), 1),
        (ended("C", exit_code=0, reason="cancelled"), 130),
        (ended("C", started_at=None, exit_code=None, reason="cancelled"), 130),
    ],
)
def test_the_exit_code_is_the_containers_own_and_never_0_for_what_did_not_succeed(server, run, end, exit_code):
    server.states = [end]
    result = run("job", "run", "146", "--wait")
    assert result.exit_code == exit_code
    assert end["reason"] in result.stderr


def test_an_exec_that_never_started_has_no_log_to_ask_for(server, run):
    server.states = [ended("F", started_at=None, exit_code=None, reason="start_failed")]
    run("job", "run", "146", "--wait")
    assert not [uri for uri, _ in server.asked("GET") if "logs" in uri]


def test_follow_prints_the_log_as_it_grows_and_once_though_a_daemon_has_less_to_tell(server, run):
    server.states = [{}, RUNNING, {}, {}, ended("F", exit_code=3)]
    server.logs, server.log = [b"eins\n", b"", b"eins\n\xff"], b"eins\n\xff\nzwei\n"
    result = run("job", "run", "146", "--follow")
    assert (result.exit_code, result.stdout_bytes) == (3, b"eins\n\xff\nzwei\n")


def test_a_log_is_followed_from_its_last_lines_on(server, run):
    exec = server.exec(**RUNNING)
    server.states = [{}, {}, ended()]
    server.logs, server.log = [b"1\n2\r2\n3\n"], b"1\n2\r2\n3\n4\n"
    result = run("exec", "logs", "-f", "--tail", "2", f"146/{exec['id']}")
    assert (result.exit_code, result.stdout_bytes) == (0, b"2\r2\n3\n4\n")


@pytest.mark.parametrize(
    ("seen", "now", "fresh"),
    [
        (b"", b"ab", b"ab"),
        (b"ab", b"ab", b""),
        (b"ab", b"abc", b"c"),
        (b"head" + b"x" * 5000 + b"last", b"head[cut]" + b"x" * 4092 + b"lastnew", b"new"),
        (b"head" + b"x" * 5000 + b"last", b"head[cut]new", b"[cut]new"),
    ],
)
def test_what_a_log_gained_is_found_behind_a_cut_too(seen, now, fresh):
    assert watch.added(seen, now) == fresh


def test_logs_pass_their_options_on(server, run):
    exec = server.exec()
    server.log = b"x"
    assert run("exec", "logs", f"146/{exec['id']}", "--tail", "5", "--stream", "stderr", "--timestamps").stdout == "x"
    assert server.asked("GET")[0][0].endswith("/logs?tail=5&stream=stderr&timestamps=1")


def test_a_server_that_restarts_is_waited_for(server, program):
    server.states = [RUNNING]
    process = program("job", "run", "146", "--wait")
    assert "running" in process.stderr.readline()
    server.stop()
    assert "trying for 60 s" in process.stderr.readline()
    server.states, server.log = [ended()], b"done\n"
    server.start()
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (0, "done\n"), stderr


def test_a_server_that_stays_away_ends_the_waiting_with_exit_code_5(server, run, monkeypatch):
    monkeypatch.setattr(watch, "PATIENCE", 0.05)
    monkeypatch.setattr(watch, "LONGEST_PAUSE", 0.01)
    server.states = [RUNNING, AWAY]
    result = run("job", "run", "146", "--wait")
    assert result.exit_code == 5
    assert f"exec 146/{server.execs[0]['id']} goes on" in result.stderr


def test_an_interrupt_leaves_the_exec_running_and_says_how_to_stop_it(server, program):
    server.states = [RUNNING]
    process = program("job", "run", "146", "--wait")
    assert "running" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"jobd exec stop 146/{server.execs[0]['id']}" in stderr
    assert not [uri for uri, _ in server.asked("POST") if uri.endswith("/stop")]


@pytest.mark.parametrize("command", [["job", "list", "--limit", "0"], ["exec", "logs", "146/x"], ["--help"]])
def test_a_reader_that_leaves_is_no_noise(server, program, command):
    server.log = b"long\n" * 100_000
    for _ in range(1000):
        server.job(name="long " * 50)
    process = program(*command)
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=60)
    assert stderr == ""
