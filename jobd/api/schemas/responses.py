"""The bodies of responses, which `serialize` makes, as pydantic models for the OpenAPI document.

A test compares them with real responses. A field that requests have, too, is described in `requests`, and here only if
it means something else in a response.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from jobd.api.schemas import fields
from jobd.store.db.columns import MAX_ID

Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Count = Annotated[int, Field(ge=0)]
HiddenVariables = TypeAliasType("HiddenVariables", dict[str, Literal["******"]])
ExecReason = TypeAliasType(
    "ExecReason",
    Literal[
        "exit_code",
        "timeout",
        "oom_killed",
        "image_not_found",
        "image_pull_failed",
        "start_failed",
        "region_unavailable",
        "lost",
        "cancelled",
        "replaced",
        "overlap",
        "missed",
    ],
)
TriggerMode = TypeAliasType("TriggerMode", Literal["M", "S", "R"])
DeliveryStatus = TypeAliasType("DeliveryStatus", Literal["pending", "delivered", "failed"])
LogStreamName = TypeAliasType("LogStreamName", Literal["stdout", "stderr", "cut"])
FieldFaults = TypeAliasType("FieldFaults", dict[str, list[str]])


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Page(Shape):
    count: Count | None
    """The number of entries on all pages; null with `?count=none`."""
    count_is_exact: bool = True
    """Whether `count` is the exact number; present if the request has `count`."""
    next: str | None
    """The next page's URL; null on the last page."""
    previous: str | None


class LastExec(Shape):
    id: Uuid
    status: fields.ExecStatus
    ended_at: datetime | None


class Mount(Shape):
    name: str
    path: str


class JobAsItIs(Shape):
    """The fields that all forms of a job have in common."""

    id: Id
    name: str
    namespace: str
    command: str | None
    docker_image_repo: str
    docker_image_tag: str
    resource_size: str
    region_name: str
    secret_vars: HiddenVariables
    pull_policy: fields.PullPolicy
    labels: fields.Labels
    mounts: list[Mount]
    timeout: int | None
    max_retries: int
    retry_delay: int
    retry_on: fields.RetryOn | None
    execs_kept: int | None
    is_schedule_active: bool
    schedule_mode: str | None
    schedule_timezone: str | None
    missed_run_policy: fields.MissedRunPolicy
    starting_deadline: int | None
    concurrency_policy: fields.ConcurrencyPolicy
    email_enabled: bool
    email_recipients: list[str]
    schedule_error: str | None
    """Why the schedule was stopped by jobd."""
    next_fire_at: datetime | None
    """The next slot; null if there is none, or the schedule is not active."""
    created_by: str
    created_at: datetime
    updated_at: datetime


class Job(JobAsItIs):
    runtime_vars: fields.Variables
    last_exec: LastExec | None
    """The newest exec, leaving out those with status N, which were not run."""


class JobOfExec(JobAsItIs):
    """The job as it is now, inside one of its execs."""

    runtime_vars: str
    """The variables as a string of JSON."""


class JobPage(Page):
    results: list[Job]


class Duration(Shape):
    hours: Count
    minutes: Annotated[int, Field(ge=0, le=59)]
    seconds: Annotated[int, Field(ge=0, le=59)]


class AnyExec(Shape):
    """The fields that all forms of an exec have in common."""

    id: Uuid
    status: fields.ExecStatus
    """W waiting, R running, S succeeded, F failed, C cancelled, N not run."""
    trigger_mode: TriggerMode
    """M manual, S scheduled, R retry."""
    attempt: int
    """1 for the first run, 2 for its first retry."""
    retry_of: Uuid | None
    """The exec that this one retries."""
    scheduled_for: datetime | None
    """The slot of a scheduled exec and of its retries."""
    command: str | None
    docker_image_repo: str
    docker_image_tag: str
    image_digest: str | None
    """The digest of the image, if known."""
    resource_size: str
    region_name: str
    runtime_vars: fields.Variables
    secret_vars: HiddenVariables
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration: Duration | None
    """From `started_at` to `ended_at`, rounded down; null if it has not ended or never started."""
    stop_requested_at: datetime | None
    """When a stop was requested."""
    exit_code: int | None
    """The container's exit code; null if it has none."""
    reason: ExecReason | None
    """Why the exec did not succeed."""
    message: str | None
    """The reason in words; for one that waits or runs, what it waits for."""
    log_bytes: Count
    """How many bytes the container wrote."""
    log_is_cut: bool
    """Whether the log lacks its middle, because the container wrote more than `max_log`."""
    log_may_lack_output: bool
    """Whether the log may lack output that jobd did not receive; `message` says why."""
    missed_count: int = 1
    """With status N only: the number of slots that it stands for."""
    missed_from: datetime | None = None
    """With status N only: the oldest of these slots."""
    missed_to: datetime | None = None
    """With status N only: the newest of these slots."""


class Exec(AnyExec):
    """One run in one container, with a copy of its job's fields as they were then."""

    job: Id
    """The job's id."""


class ExecDetail(AnyExec):
    job: JobOfExec


class ExecPage(Page):
    results: list[Exec]


class Hook(Shape):
    """A webhook: which events of execs are sent, and where."""

    id: Id
    name: str | None
    subject_type: fields.HookSubjectType
    subject: int | str
    """The job's id, or the namespace's name."""
    namespace: str
    """The owner."""
    url: str
    events: list[fields.HookEvent]
    secret: Literal["******"] | None
    """Hidden; null if there is none."""
    is_active: bool
    created_by: str
    created_at: datetime
    updated_at: datetime


class DeliveryAttempt(Shape):
    at: datetime
    duration_ms: Count
    status_code: int | None
    """The response's status; null if there was no response."""
    error: str | None
    """Why the attempt failed; null if it succeeded."""
    answer: str | None
    """The beginning of the response's body."""


class Delivery(Shape):
    """The delivery of one event to one hook."""

    id: Id
    webhook_id: Uuid
    """The message's id for the receiver: the same for every attempt, and when it is delivered again."""
    hook: Id
    event: fields.HookEvent
    event_at: datetime
    job: Id
    exec: Uuid
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None
    """Null while an attempt is in progress, and after the last."""
    attempts: list[DeliveryAttempt]


class DeliveryPage(Page):
    results: list[Delivery]


class Slot(Shape):
    utc: datetime
    local: datetime
    """The same instant in the schedule's zone."""
    notes: list[str]
    """What is special about the slot: a month's end, a change of the clocks."""


class Words(Shape):
    en: str
    zh: str


class Slots(Shape):
    slots: list[Slot]
    remaining: Count | None
    """The number of slots still to come; null if there is no end."""
    words: Words
    """The schedule in words."""


class LogLine(Shape):
    time: datetime
    """The time of the line's beginning."""
    stream: LogStreamName
    """`cut` marks the part that was left out of a long log."""
    message: str


class Region(Shape):
    name: str
    executor: str
    is_default: bool
    max_running: int
    images: list[str]
    """The images that may run there, as globs."""
    ok: bool
    """Whether the region can be used now."""
    engine: str
    """The engine and its version; empty until it was first reached."""
    message: str
    """Why the region cannot be used; empty while it can."""


class RegionPage(Page):
    results: list[Region]


class Size(Shape):
    name: str
    cpus: float
    memory: int
    """Bytes."""
    is_default: bool


class SizePage(Page):
    results: list[Size]


class TimeZoneRules(Shape):
    version: str
    """The version of the IANA time zone database, such as 2026f; `unknown` if it has none."""
    source: str
    """The folder or package that it comes from."""
    reason: str
    """Why that one is used."""


class System(Shape):
    version: str
    """jobd's version."""
    time_zone_rules: TimeZoneRules


class Health(Shape):
    status: Literal["ok"]


class Readiness(Shape):
    status: Literal["ready"]


class Error(Shape):
    source: Literal["jobd"]
    code: str
    """A stable code, for programs."""
    message: str
    """A description, for people."""
    fields: list[FieldFaults] = []
    """If fields are invalid: all of them, each with one entry."""


class Errors(Shape):
    errors: Annotated[list[Error], Field(min_length=1)]
