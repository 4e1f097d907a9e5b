"""`jobd job` and `jobd exec`: what is asked of the API and what is printed."""

import json

import pytest
from rich.cells import cell_len

from jobd.cli.job import split_image


def test_a_list_is_a_table_with_local_times(server, run):
    server.job(name="nightly", schedule_mode="0 3 * * *", is_schedule_active=True, next_fire_at="2026-01-02T19:00:00Z")
    header, row = run("job", "list").stdout.splitlines()
    assert header.split() == ["JOB", "NAME", "NAMESPACE", "IMAGE", "SIZE", "REGION", "SCHEDULE", "ON", "NEXT", "LAST"]
    assert "index.alauda.cn/chennanfei/job_image:latest" in row
    assert "2026-01-03 03:00:00" in row


def test_chinese_names_align(server, run):
    server.job(name="测试任务")
    server.job(name="test")
    lines = run("job", "list").stdout.splitlines()
    words = ["NAMESPACE", "chennanfei", "chennanfei"]
    assert len({cell_len(line[: line.index(word)]) for line, word in zip(lines, words, strict=True)}) == 1


def test_a_name_does_not_command_the_terminal(server, run):
    server.job(name="[red]\x1b[2Jx\nJOB")
    result = run("job", "list")
    assert "[red]\ufffd[2Jx\ufffdJOB" in result.stdout


def test_json_is_what_the_api_sent(server, run):
    job = server.job(name="任务")
    result = run("job", "list", "--output", "json")
    assert json.loads(result.stdout) == [job]
    assert "任务" in result.stdout
    assert json.loads(run("job", "show", "146", "-o", "json").stdout) == job


def test_names_are_what_other_commands_take(server, run):
    server.job()
    exec = server.exec()
    assert run("job", "list", "-o", "name").stdout == "146\n"
    name = run("exec", "list", "-o", "name").stdout.strip()
    assert name == f"146/{exec['id']}"
    assert run("exec", "show", name).exit_code == 0


def test_a_list_reads_as_many_pages_as_it_shows(server, run):
    for _ in range(250):
        server.job()
    result = run("job", "list", "-o", "name")
    assert len(result.stdout.split()) == 100
    assert "100 of 250" in result.stderr
    everything = run("job", "list", "-o", "name", "--limit", "0")
    assert everything.stdout.split() == [str(number) for number in range(395, 145, -1)]
    assert everything.stderr == ""


def test_filters_reach_the_api(server, run):
    run("job", "list", "--namespace", "ops", "--label", "a=b", "--label", "c=d", "--unscheduled")
    (uri, _) = server.asked("GET")[0]
    assert uri.endswith("page_size=100&after=&count=exact&scheduled=false&namespace=ops&label=a%3Db&label=c%3Dd")
    run("exec", "list", "--job", "146", "--status", "not-run", "--since", "2026-01-01T00:00:00Z")
    (uri, _) = server.asked("GET")[1]
    assert uri.endswith("page_size=100&after=&count=exact&status=N&job=146&since=2026-01-01T00%3A00%3A00Z")


def test_create_sends_what_was_said_and_nothing_else(server, run):
    result = run("job", "create", "测试", "--image", "localhost:5000/a:1", "--env", "A=b=c", "--schedule", "@daily")
    assert result.exit_code == 0, result.stderr
    assert server.asked("POST") == [
        (
            "/v1/jobs",
            {
                "name": "测试",
                "docker_image_repo": "localhost:5000/a",
                "docker_image_tag": "1",
                "runtime_vars": {"A": "b=c"},
                "schedule_mode": "@daily",
                "is_schedule_active": True,
            },
        )
    ]


def test_a_variable_without_a_value_is_wrong_usage(run):
    assert run("job", "create", "x", "--image", "busybox", "--env", "A").exit_code == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("busybox", ("busybox", None)),
        ("busybox:1.36", ("busybox", "1.36")),
        ("localhost:5000/a", ("localhost:5000/a", None)),
        ("localhost:5000/a:b", ("localhost:5000/a", "b")),
        ("a/b@sha256:0f", ("a/b", "sha256:0f")),
    ],
)
def test_an_image_is_split_where_docker_splits_it(text, parts):
    assert split_image(text) == parts


def test_apply_creates_then_changes_the_same_job(server, run, tmp_path):
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"name": "nightly", "docker_image_repo": "busybox"}))
    assert run("job", "apply", "-f", str(file), "-o", "name").stdout == "146\n"
    file.write_text(json.dumps({"name": "nightly", "docker_image_repo": "alpine"}))
    assert run("job", "apply", "-f", str(file), "-o", "name").stdout == "146\n"
    assert server.jobs[146]["docker_image_repo"] == "alpine"


def test_apply_takes_what_show_gave(server, run):
    server.job()
    shown = run("job", "show", "146", "-o", "json").stdout
    assert run("job", "apply", "-f", "-", input=shown).exit_code == 0
    assert server.asked("PUT") == [("/v1/jobs/146", server.jobs[146])]


def test_apply_does_not_choose_between_jobs_of_one_name(server, run):
    server.job()
    server.job()
    result = run("job", "apply", "-f", "-", input='{"name": "test"}')
    assert result.exit_code == 1
    assert "146, 147" in result.stderr
    assert server.asked("PUT") == []


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '"x"'])
def test_a_file_that_describes_no_job_is_wrong_usage(run, text):
    assert run("job", "apply", "-f", "-", input=text).exit_code == 2


def test_pause_and_resume_turn_the_switch_alone(server, run):
    server.job()
    run("job", "resume", "146")
    run("job", "pause", "146")
    assert [body for _, body in server.asked("PUT")] == [{"is_schedule_active": True}, {"is_schedule_active": False}]


def test_delete_takes_several_jobs_and_stops_at_the_first_that_is_absent(server, run):
    server.job()
    server.job()
    assert run("job", "delete", "146", "999", "147").exit_code == 3
    assert list(server.jobs) == [147]


def test_show_in_words(server, run):
    server.job()
    exec = server.exec(status="F", duration={"hours": 1, "minutes": 2, "seconds": 3})
    lines = run("exec", "show", f"146/{exec['id']}").stdout.splitlines()
    said = dict(line.split(maxsplit=1) for line in lines if " " in line)
    assert said["status"] == "failed"
    assert said["duration"] == "1:02:03"
    assert said["created_at"] == "2026-01-02 11:04:05"


def test_stop_and_rerun(server, run):
    exec = server.exec()
    assert run("exec", "stop", f"146/{exec['id']}", "--force").exit_code == 0
    result = run("exec", "rerun", f"146/{exec['id']}", "-o", "name")
    assert result.stdout == f"146/{server.execs[0]['id']}\n"
    assert [uri.rpartition("/")[2] for uri, _ in server.asked("POST")] == ["stop?force=1", "rerun"]


@pytest.mark.parametrize("name", ["64b2d045", "x/64b2d045", "146/", "146/a/b"])
def test_what_is_no_exec_is_wrong_usage(run, name):
    assert run("exec", "show", name).exit_code == 2


def test_an_exec_that_is_absent_is_exit_code_3(run):
    assert run("exec", "show", "146/absent").exit_code == 3
    assert run("exec", "logs", "--follow", "146/absent").exit_code == 3


def test_a_file_may_begin_with_a_byte_order_mark(server, run, tmp_path):
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"name": "每日报表", "docker_image_repo": "busybox"}), encoding="utf-8-sig")
    assert run("job", "apply", "-f", str(file), "-o", "name").stdout == "146\n"


def test_a_time_out_is_typed_as_people_write_it(server, run):
    run("job", "create", "x", "--image", "busybox", "--timeout", "5m", "--retry-delay", "90")
    (body,) = [body for uri, body in server.asked("POST")]
    assert (body["timeout"], body["retry_delay"]) == (300, 90)
