"""Descriptions of the calls for jobs and their schedules."""

from jobd.api.openapi.calls import Body, Call, Calls, Header, answer, empty, page
from jobd.api.schemas import responses
from jobd.api.schemas.requests import JobCreate, JobFields, Preview

_NEW = {
    "name": "每日报表",
    "command": "python report.py --day yesterday",
    "docker_image_repo": "index.example.com/team/report",
    "docker_image_tag": "v3",
    "resource_size": "XS",
    "is_schedule_active": True,
    "schedule_mode": "30 2 * * *",
    "schedule_timezone": "Asia/Shanghai",
    "runtime_vars": {"DB_HOST": "10.0.0.5"},
    "secret_vars": {"DB_PASSWORD": "correct horse"},
    "labels": {"team": "data"},
}
_SMALLEST = {"name": "test", "docker_image_repo": "busybox"}
JOB = {
    "id": 146,
    "namespace": "chennanfei",
    "region_name": "BEIJING1",
    "pull_policy": "if_not_present",
    "mounts": [],
    "timeout": None,
    "max_retries": 0,
    "retry_delay": 10,
    "retry_on": None,
    "execs_kept": None,
    "missed_run_policy": "run_once",
    "starting_deadline": None,
    "concurrency_policy": "allow",
    "email_enabled": False,
    "email_recipients": [],
    "schedule_error": None,
    "next_fire_at": "2026-01-01T18:30:00.000000+00:00",
    "created_by": "chennanfei",
    "created_at": "2025-12-28T14:31:07.639255+00:00",
    "updated_at": "2025-12-28T14:31:07.639255+00:00",
    "last_exec": None,
    **_NEW,
    "secret_vars": {"DB_PASSWORD": "******"},
}
_SLOTS = {
    "slots": [
        {
            "utc": "2028-02-29T00:00:00.000000+00:00",
            "local": "2028-02-29T00:00:00.000000+00:00",
            "notes": ["day 31 does not exist in this month: the last day is taken"],
        }
    ],
    "remaining": None,
    "words": {"en": "every month, from 2028-01-31 00:00:00 UTC", "zh": "从 2028-01-31 00:00:00 UTC 起，每月一次"},
}
_ETAG = {"ETag": "Changes whenever a writable field of the job does; for `If-Match`."}
_IF_MATCH = Header("Change or delete the job only if it still has this `ETag`; else 412.", {"type": "string"})

CALLS: Calls = {
    ("GET", "/v1/jobs"): Call(
        "list_jobs",
        "Jobs",
        "List jobs",
        {200: answer("One page, newest first.", responses.JobPage, page([JOB]))},
        "All that the caller may see, or those that match all filters.",
    ),
    ("POST", "/v1/jobs"): Call(
        "create_job",
        "Jobs",
        "Create a job",
        {201: answer("The job.", responses.Job, JOB, {"Location": "Its address.", **_ETAG})},
        "Null stands for a field's default. Read-only fields are ignored.",
        Body(JobCreate, {"A daily report": _NEW, "A minimal job": _SMALLEST}),
        refusals=(403,),
    ),
    ("GET", "/v1/jobs/{id}"): Call(
        "get_job", "Jobs", "Show a job", {200: answer("The job.", responses.Job, JOB, _ETAG)}, refusals=(404,)
    ),
    ("PUT", "/v1/jobs/{id}"): Call(
        "update_job",
        "Jobs",
        "Change a job",
        {200: answer("The job.", responses.Job, JOB, _ETAG)},
        "Changes only the fields in the body; objects are replaced as a whole; null sets a field to its default. "
        "Existing execs are not changed.",
        Body(JobFields, {"Another version": {"docker_image_tag": "v4", "timeout": None}}, required=False),
        {"If-Match": _IF_MATCH},
        (404, 412),
    ),
    ("DELETE", "/v1/jobs/{id}"): Call(
        "delete_job",
        "Jobs",
        "Delete a job",
        {204: empty("The job is deleted with all its execs; running ones are stopped afterwards.")},
        headers={"If-Match": _IF_MATCH},
        refusals=(404, 412),
    ),
    ("GET", "/v1/jobs/{id}/schedule"): Call(
        "get_job_schedule",
        "Schedules",
        "Show a job's next slots",
        {200: answer("The next slots.", responses.Slots, _SLOTS)},
        "A job without a schedule has no slots. An inactive schedule without a start is shown as if it were activated "
        "now.",
        refusals=(404,),
    ),
    ("POST", "/v1/schedule/preview"): Call(
        "preview_schedule",
        "Schedules",
        "Preview a schedule",
        {200: answer("The next slots.", responses.Slots, _SLOTS)},
        "Shows the slots of any schedule, without a job.",
        Body(
            Preview,
            {
                "The ends of months": {
                    "schedule_mode": "R/2028-01-31T00:00:00Z/P1M",
                    "after": "2028-01-31T00:00:00Z",
                    "count": 1,
                },
                "A cron expression": {"schedule_mode": "30 2 * * *", "schedule_timezone": "Asia/Shanghai"},
            },
        ),
    ),
}
