"""Descriptions of the calls for execs and their logs."""

from typing import Any

from jobd.api.openapi.calls import JSON, Answer, Body, Call, Calls, Content, Header, answer, empty, page
from jobd.api.openapi.jobs import JOB
from jobd.api.schemas import responses
from jobd.api.schemas.requests import ExecCreate
from jobd.web.requests import Nothing

_EXEC: dict[str, Any] = {
    "id": "64b2d045-2881-4293-9bcd-bdc04b953115",
    "job": 146,
    "status": "W",
    "trigger_mode": "M",
    "attempt": 1,
    "retry_of": None,
    "scheduled_for": None,
    "command": "python report.py --day yesterday",
    "docker_image_repo": "index.example.com/team/report",
    "docker_image_tag": "v3",
    "image_digest": None,
    "resource_size": "XS",
    "region_name": "BEIJING1",
    "runtime_vars": {"DB_HOST": "10.0.0.5"},
    "secret_vars": {"DB_PASSWORD": "******"},
    "created_by": "chennanfei",
    "created_at": "2025-12-28T14:51:53.074169+00:00",
    "started_at": None,
    "ended_at": None,
    "duration": None,
    "stop_requested_at": None,
    "exit_code": None,
    "reason": None,
    "message": None,
    "log_bytes": 0,
    "log_is_cut": False,
    "log_may_lack_output": False,
}
_ENDED = {
    **_EXEC,
    "status": "F",
    "started_at": "2025-12-28T14:52:02.952491+00:00",
    "ended_at": "2025-12-28T14:52:12.952491+00:00",
    "duration": {"hours": 0, "minutes": 0, "seconds": 10},
    "exit_code": 3,
    "reason": "exit_code",
    "message": "the program ended with exit code 3",
    "log_bytes": 14,
}
_CANCELLED = {**_EXEC, "status": "C", "reason": "cancelled", "ended_at": "2025-12-28T14:51:54.000000+00:00"}
_JOB_NOW = {
    **{name: value for name, value in JOB.items() if name != "last_exec"},
    "email_enabled": False,
    "runtime_vars": '{"DB_HOST": "10.0.0.5"}',
}
_LINE = {"time": "2025-12-28T14:52:03.100000+00:00", "stream": "stderr", "message": "no such table\n"}
_EVENTS = (
    'retry: 1000\n\nid: 14\nevent: log\ndata: {"time":"2025-12-28T14:52:03.100000+00:00","stream":"stderr",'
    '"message":"no such table\\n"}\n\nid: 14\nevent: end\ndata: {"status":"F","exit_code":3,"reason":"exit_code"}\n\n'
)
_TEXT = {"type": "string"}
_KEY = Header(
    "A repeated request with the same caller, job, key and body within 24 hours returns the exec of the first one.",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
)
_NO_BODY = Body(Nothing, {"Nothing": {}}, required=False)
_CREATED = answer("The exec.", responses.Exec, _EXEC, {"Location": "Its address."})

CALLS: Calls = {
    ("POST", "/v1/jobs/{id}/execs"): Call(
        "run_job",
        "Execs",
        "Run a job now",
        {201: _CREATED},
        "The body may be empty, or have fields to override for this run only. 429 when as many execs of the namespace "
        "are waiting as the server allows.",
        Body(
            ExecCreate,
            {
                "As the job is": {},
                "Another day": {"command": "python report.py --day 2026-01-01", "runtime_vars": {"DRY": "1"}},
            },
            required=False,
        ),
        {"Idempotency-Key": _KEY},
        (404, 409, 422),
    ),
    ("GET", "/v1/jobs/{id}/execs"): Call(
        "list_job_execs",
        "Execs",
        "List a job's execs",
        {200: answer("One page, newest first.", responses.ExecPage, page([_ENDED]))},
        refusals=(404,),
    ),
    ("GET", "/v1/execs"): Call(
        "list_execs",
        "Execs",
        "List execs of all jobs",
        {200: answer("One page, newest first.", responses.ExecPage, page([_ENDED]))},
        "All that the caller may see, or those that match all filters. 404 if there is no such `job`.",
        refusals=(404,),
    ),
    ("GET", "/v1/jobs/{id}/execs/{exec_id}"): Call(
        "get_exec",
        "Execs",
        "Show an exec",
        {200: answer("The exec, with its job as it is now.", responses.ExecDetail, {**_ENDED, "job": _JOB_NOW})},
        refusals=(404,),
    ),
    ("DELETE", "/v1/jobs/{id}/execs/{exec_id}"): Call(
        "delete_exec",
        "Execs",
        "Delete an exec",
        {204: empty("The exec is deleted; if it was running, its container is stopped afterwards.")},
        refusals=(404,),
    ),
    ("POST", "/v1/jobs/{id}/execs/{exec_id}/stop"): Call(
        "stop_exec",
        "Execs",
        "Stop an exec",
        {202: answer("The exec as it is now.", responses.Exec, _CANCELLED)},
        "A waiting exec is cancelled at once; a running one gets SIGTERM and, after a grace period, SIGKILL. The "
        "request may be repeated; once the exec has ended, the response is 409.",
        _NO_BODY,
        refusals=(404, 409),
    ),
    ("POST", "/v1/jobs/{id}/execs/{exec_id}/rerun"): Call(
        "rerun_exec",
        "Execs",
        "Run an exec again",
        {201: _CREATED},
        "Creates an exec with the same fields, even if the job has changed since.",
        _NO_BODY,
        refusals=(404, 409),
    ),
    ("GET", "/v1/jobs/{id}/execs/{exec_id}/logs"): Call(
        "get_exec_logs",
        "Logs",
        "Read or follow an exec's output",
        {
            200: Answer(
                "The output so far; with `follow`, all output until the exec ends.",
                {
                    "text/plain": Content(_TEXT, "no such table\n"),
                    JSON: Content({"type": "array", "items": responses.LogLine}, [_LINE]),
                    "text/event-stream": Content(_TEXT, _EVENTS),
                },
                {"Accept-Ranges": "`bytes`, for text that is not followed."},
            ),
            206: Answer(
                "The range of the text that `Range` requests.",
                {"text/plain": Content(_TEXT, "table\n")},
                {"Content-Range": "The range's bytes and the size of the whole text."},
            ),
        },
        "`Accept` selects text as the program wrote it, a JSON list of lines, or, with `follow`, server-sent events: "
        "`log` with `time`, `stream` and `message`, and `end` with the exec's `status`, `exit_code` and `reason`. "
        "Events are available only with `follow`, JSON only without it.",
        headers={
            "Range": Header("One range of bytes of the text: `bytes=FIRST-LAST`.", _TEXT, "bytes=8-"),
            "Last-Event-ID": Header("The id of the last event received, to continue after it.", _TEXT),
        },
        refusals=(404, 416),
    ),
}
