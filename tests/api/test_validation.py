"""What a job may say: one right and one wrong example of each rule, and all faults at once."""

from typing import Any

import pytest

from tests.api.server import JOB, Api

pytestmark = pytest.mark.gen_test(timeout=30)

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: what is wrong gets to none."""
    return sqlite_url


async def test_every_fault_is_told_at_once_one_entry_a_field(api: Api) -> None:
    answer = await api.call(
        "POST",
        "/v1/jobs",
        {
            "name": " ",
            "command": "echo 'open",
            "docker_image_repo": "index.example.com/app:latest",
            "resource_size": "XL",
            "region_name": "BEIJING2",
            "is_schedule_active": True,
            "schedule_timezone": "Mars/Olympus",
            "timeout": "60",
            "max_retries": True,
            "runtime_vars": {"1A": "x", "B": 1, "JOBD_EXEC_ID": "x"},
            "naem": "test",
        },
    )
    assert answer.faults == {
        "name": ["must not be blank"],
        "command": ["cannot be split as a POSIX shell does: a quote is not closed"],
        "docker_image_repo": ["must be without tag and digest: those belong in docker_image_tag"],
        "resource_size": ["must be one of XXS, XS"],
        "region_name": ["must be one of BEIJING1, GUARDED; did you mean BEIJING1?"],
        "is_schedule_active": ["needs a schedule_mode"],
        "schedule_timezone": [answer.faults["schedule_timezone"][0]],
        "timeout": ["must be a whole number"],
        "max_retries": ["must be a whole number"],
        "runtime_vars": ["B: must be a string"],
        "naem": ["there is no such field; did you mean name?"],
    }


async def test_what_is_missing_is_named(api: Api) -> None:
    assert (await api.call("POST", "/v1/jobs", {})).faults == {
        "name": ["is required"],
        "docker_image_repo": ["is required"],
    }


RIGHT: list[tuple[str, Any]] = [
    ("name", "任务 №1"),
    ("name", "x" * 255),
    ("command", None),
    ("command", "sh -c 'echo \"$HOME\"; exit 1'"),
    ("docker_image_repo", "busybox"),
    ("docker_image_repo", "localhost:5000/a/b_c/d--e/f.g"),
    ("docker_image_repo", "Registry.Example.com/app"),
    ("docker_image_repo", "Registry:5000/app"),
    ("docker_image_repo", "1.2.3.4:5000/app"),
    ("docker_image_repo", "docker.io/app"),
    ("docker_image_repo", "team/" + "0" * 64),
    ("docker_image_tag", "v1.2-3_X"),
    ("docker_image_tag", DIGEST),
    ("runtime_vars", {"_a1": "", "LANG": "zh_CN.UTF-8", "X": "x" * 100_000}),
    ("labels", {"team": "数据", "a.b/c": ""}),
    ("timeout", 1),
    ("max_retries", 100),
    ("retry_delay", 0),
    ("retry_on", None),
    ("retry_on", {"reasons": ["lost"]}),
    ("retry_on", {"reasons": ["exit_code", "timeout", "lost"]}),
    ("execs_kept", 1),
    ("starting_deadline", 30),
    ("pull_policy", "never"),
    ("missed_run_policy", "run_all"),
    ("concurrency_policy", "replace"),
    ("schedule_mode", "R1/2015-12-31T16:00:23.446Z/PT1H"),
    ("schedule_mode", "*/5 9-17 * * MON-FRI"),
    ("schedule_timezone", "Asia/Shanghai"),
]


@pytest.mark.parametrize(("field", "value"), RIGHT)
async def test_a_right_value_is_kept_as_it_is(api: Api, field: str, value: Any) -> None:
    job = await api.job(**{field: value})
    got = (await api.call("GET", f"/v1/jobs/{job['id']}")).json
    assert job[field] == got[field] == value


WRONG: list[tuple[str, Any]] = [
    ("name", ""),
    ("name", "x" * 256),
    ("name", "a\nb"),
    ("name", "\u0000"),
    ("name", "\ud800"),
    ("name", 1),
    ("name", ["test"]),
    ("namespace", "-"),
    ("namespace", "a/b"),
    ("command", ""),
    ("command", "   "),
    ("command", "''"),
    ("command", "echo \\"),
    ("command", "x" * (32 * 1024 + 1)),
    ("command", ["sh"]),
    ("docker_image_repo", ""),
    ("docker_image_repo", "Team/App"),
    ("docker_image_repo", "https://index.example.com/app"),
    ("docker_image_repo", "app:latest"),
    ("docker_image_repo", f"app@{DIGEST}"),
    ("docker_image_repo", "index.example.com:99999/app"),
    ("docker_image_repo", "a//b"),
    ("docker_image_repo", "a" * 64),
    ("docker_image_repo", "a/" * 130 + "a"),
    ("docker_image_repo", "app\n"),
    ("docker_image_repo", "[::1]:1/x"),
    ("docker_image_repo", "[fe80::1]/x"),
    ("docker_image_repo", "Team/app"),
    ("docker_image_repo", "LOCALHOST/app"),
    ("docker_image_repo", "a.b:/x"),
    ("docker_image_repo", "a.b:0/x"),
    ("docker_image_repo", "a_b.c:5000/x"),
    ("docker_image_repo", "a___b"),
    # docker.io/library/ goes before it
    ("docker_image_repo", "a" * 238),
    ("docker_image_repo", "a/" + "b" * 244),
    ("docker_image_tag", ""),
    ("docker_image_tag", "-x"),
    ("docker_image_tag", "x" * 129),
    ("docker_image_tag", "sha256:abc"),
    ("docker_image_tag", DIGEST.upper()),
    ("runtime_vars", []),
    ("runtime_vars", {"A": None}),
    ("runtime_vars", {"A-B": "x"}),
    ("runtime_vars", {"": "x"}),
    ("runtime_vars", {"A": "\u0000"}),
    ("runtime_vars", {"A\n": "x"}),
    ("runtime_vars", {"JOBD_ATTEMPT": "1"}),
    ("runtime_vars", {"A": "x" * 131_072}),
    ("labels", {"a=b": "c"}),
    ("labels", {"a": "x" * 256}),
    ("labels", {str(number): "" for number in range(65)}),
    ("timeout", 0),
    ("timeout", 1.5),
    ("timeout", 10**100),
    ("timeout", 2**31),
    ("max_retries", -1),
    ("retry_delay", 3601),
    ("retry_on", {}),
    ("retry_on", {"reasons": []}),
    ("retry_on", {"reasons": ["cancelled"]}),
    ("retry_on", {"reasons": ["lost"], "exit_codes": [75]}),
    ("retry_on", ["lost"]),
    ("retry_on", "lost"),
    ("execs_kept", 0),
    ("starting_deadline", 0),
    ("pull_policy", "sometimes"),
    ("missed_run_policy", 1),
    ("concurrency_policy", {}),
    ("is_schedule_active", "true"),
    ("is_schedule_active", 1),
    ("schedule_mode", ""),
    ("schedule_mode", "R1/2015-13-31T16:00:23.446Z/PT1H"),
    ("schedule_mode", 5),
    ("schedule_timezone", ""),
    ("secret_vars", {"A": 1}),
    ("email_enabled", "yes"),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
async def test_a_wrong_value_is_told_under_its_fields_name(api: Api, field: str, value: Any) -> None:
    answer = await api.call("POST", "/v1/jobs", {**JOB, field: value})
    assert list(answer.faults) == [field]
    (fault,) = answer.faults[field]
    assert "Input should" not in fault
    assert "pydantic" not in fault


async def test_an_image_that_the_region_does_not_allow_is_refused(api: Api) -> None:
    assert (await api.job(region_name="GUARDED", docker_image_repo="index.example.com/team/app"))["id"]
    answer = await api.call("POST", "/v1/jobs", {**JOB, "region_name": "GUARDED", "docker_image_repo": "busybox"})
    assert answer.faults == {
        "docker_image_repo": ["busybox:latest is not allowed in the region GUARDED; expected index.example.com/team/*"]
    }


async def test_an_image_is_at_most_255_characters_with_its_tag(api: Api) -> None:
    repository = "a/" * 100 + "a"
    answer = await api.call("POST", "/v1/jobs", {**JOB, "docker_image_repo": repository, "docker_image_tag": DIGEST})
    assert answer.faults == {"docker_image_repo": ["must be at most 255 characters together with the tag"]}


async def test_a_change_is_judged_together_with_what_the_job_has(api: Api) -> None:
    job = await api.job(docker_image_repo="busybox")
    answer = await api.call(
        "PUT", f"/v1/jobs/{job['id']}", {"region_name": "GUARDED", "is_schedule_active": True, "name": None}
    )
    assert list(answer.faults) == ["name", "docker_image_repo", "is_schedule_active"]


async def test_a_preview_with_a_wrong_time_zone_names_the_field(api: Api) -> None:
    answer = await api.call("POST", "/v1/schedule/preview", {"schedule_mode": "@daily", "schedule_timezone": "Mars"})
    assert list(answer.faults) == ["schedule_timezone"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=x", "page"),
        ("page=1&page=2", "page"),
        ("page=99999999999999999999", "page"),
        ("page=1_0", "page"),
        ("page_size=101", "page_size"),
        ("page_size=0", "page_size"),
        ("scheduled=maybe", "scheduled"),
        ("label=team", "label"),
        ("namespace=a%00b", "namespace"),
        ("name=%FF", "name"),
        ("pgae=1", "pgae"),
    ],
)
async def test_a_wrong_query_is_told_by_its_parameter(api: Api, query: str, field: str) -> None:
    assert list((await api.call("GET", f"/v1/jobs?{query}")).faults) == [field]


@pytest.mark.parametrize("query", ["status=X", "job=x", "since=yesterday", "until=2015-12-28T14:31:07", "job=0"])
async def test_a_wrong_filter_of_execs_is_told_by_its_parameter(api: Api, query: str) -> None:
    assert list((await api.call("GET", f"/v1/execs?{query}")).faults) == [query.partition("=")[0]]
