"""`jobd job run --wait` and `--follow`, and logs: what is printed, and how it ends."""

import base64
import json
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


@pytest.mark.parametrize("option", ["--wait", "--follow"])
def test_retries_are_waited_for_and_the_last_attempt_gives_the_exit_code(server, run, option):
    server.states = [ended("F", exit_code=3, reason="exit_code"), ended(exit_code=0)]
    server.log = b"an attempt\n"
    server.streams = [log(11, "an attempt\n") + END] * 2

    def fail_and_retry(first):
        server.exec(retry_of=first["id"], attempt=2, trigger_mode="R")

    server.on_end = fail_and_retry
    result = run("job", "run", "146", option)
    assert (result.exit_code, result.stdout) == (0, "an attempt\nan attempt\n")
    assert [line.split()[2].rstrip(":") for line in result.stderr.splitlines()] == ["failed", "succeeded"]


def test_a_stop_can_be_waited_for(server, run):
    exec = server.exec(**RUNNING)
    server.states = [RUNNING, ended("C", exit_code=143, reason="cancelled")]
    result = run("exec", "stop", "--wait", f"146/{exec['id']}")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1].endswith("cancelled: cancelled")


def test_an_exec_that_never_started_has_no_log_to_ask_for(server, run):
    server.states = [ended("F", started_at=None, exit_code=None, reason="start_failed")]
    run("job", "run", "146", "--wait")
    assert not [uri for uri, _ in server.asked("GET") if "logs" in uri]


def event(name, id="", **data):
    return f"id: {id}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


def log(id, message, stream="stdout", **more):
    return event("log", id, time=AT, stream=stream, message=message, **more)


END = event("end", "9", status="F", exit_code=3, reason="exit_code")


def test_follow_prints_the_log_byte_for_byte_and_once_though_the_connection_breaks(server, run):
    server.states = [{}, RUNNING, ended("F", exit_code=3)]
    exact = base64.b64encode(b"\xff\n").decode()
    server.streams = [
        b"retry: 1000\n\n" + log(5, "eins\n"),
        b": still here\n\n" + log(7, "\ufffd\n", base64=exact) + b"id: 8\nevent: lo",
        log(12, "zwei\n", "stderr") + END,
    ]
    result = run("job", "run", "146", "--follow")
    assert (result.exit_code, result.stdout_bytes) == (3, b"eins\n\xff\nzwei\n")
    assert server.last_ids == [None, "5", "7"]
    assert [line.split()[2] for line in result.stderr.splitlines()] == ["waiting", "running", "failed"]


def test_a_log_is_followed_from_its_last_lines_on(server, run):
    exec = server.exec(**RUNNING)
    server.streams = [log(9, "2\r2\n3\n") + END]
    result = run("exec", "logs", "-f", "--tail", "2", "--stream", "stdout", f"146/{exec['id']}")
    assert (result.exit_code, result.stdout_bytes) == (0, b"2\r2\n3\n")
    assert [uri for uri, _ in server.asked("GET") if uri.endswith("/logs?follow=1&tail=2&stream=stdout")]


def test_lines_that_are_followed_have_their_times_in_front_however_they_come_in_pieces(server, run):
    exec = server.exec(**RUNNING)
    server.streams = [
        log(3, "one\ntw")
        + log(4, "err\n", "stderr")
        + log(6, "o\n")
        + log(9, "[jobd: 3 bytes left out here]\n", "cut", omitted=3)
        + log(12, "end")
        + END
    ]
    result = run("exec", "logs", "-f", "--timestamps", f"146/{exec['id']}")
    assert result.stdout == f"{AT} one\n{AT} err\n{AT} two\n{AT} [jobd: 3 bytes left out here]\n{AT} end\n"


def test_what_was_left_out_is_a_line_of_its_own(server, run):
    exec = server.exec(**RUNNING)
    server.streams = [log(1, "a") + log(91, "[jobd: 90 bytes left out here]\n", "cut", omitted=90) + log(92, "z") + END]
    assert run("exec", "logs", "-f", f"146/{exec['id']}").stdout == "a\n[jobd: 90 bytes left out here]\nz"


@pytest.mark.parametrize("follow", [[], ["-f"]])
def test_that_a_log_is_not_all_that_was_written_is_told_on_stderr(server, run, follow):
    words = "its log may lack output: Docker was away while it ran"
    exec = server.exec(**ended(message=words, log_bytes=5000, log_is_cut=True, log_may_lack_output=True))
    server.log, server.streams = b"x", [log(1, "x") + END]
    result = run("exec", "logs", *follow, f"146/{exec['id']}")
    assert result.stdout == "x"
    assert result.stderr == f"the log lacks the middle of the 5000 bytes that were written\n{words}\n"


def test_of_a_whole_log_nothing_is_told(server, run):
    exec = server.exec(**ended(log_bytes=1, log_is_cut=False, log_may_lack_output=False))
    server.log = b"x"
    assert run("exec", "logs", f"146/{exec['id']}").stderr == ""


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
    assert "retrying for 60 s" in process.stderr.readline()
    server.states, server.log = [ended()], b"done\n"
    server.start()
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (0, "done\n"), stderr


def test_a_server_that_stays_away_ends_the_waiting_with_exit_code_5(server, run, monkeypatch):
    monkeypatch.setattr(watch, "PATIENCE", 0.05)
    monkeypatch.setattr(watch, "MAX_PAUSE", 0.01)
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
