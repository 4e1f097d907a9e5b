"""What answers hold, as pydantic models: what `render` makes. They describe; a test holds real answers against them.

A field that a request may name is described there (`schemas`), and here only where an answer says something else.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from jobd.api.schemas import fields
from jobd.store.db.tables import MAX_ID

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
NamespaceRoles = TypeAliasType("NamespaceRoles", dict[str, fields.Role])
AuditedValues = TypeAliasType("AuditedValues", dict[str, Any])
FieldFaults = TypeAliasType("FieldFaults", dict[str, list[str]])


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Page(Shape):
    count: Count | None
    """How many there are on all pages together; null with `?count=none`."""
    count_is_exact: bool = True
    """Whether `count` is all of them; only where the request says how to count."""
    next: str | None
    """The next page's URL; null on the last."""
    previous: str | None


class LastExec(Shape):
    id: Uuid
    status: fields.ExecStatus
    ended_at: datetime | None


class Mount(Shape):
    name: str
    path: str


class JobAsItIs(Shape):
    """What every form of a job has in common."""

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
    """Why a schedule stopped itself."""
    next_fire_at: datetime | None
    """Null: nothing to come, or switched off."""
    created_by: str
    created_at: datetime
    updated_at: datetime


class Job(JobAsItIs):
    runtime_vars: fields.Variables
    last_exec: LastExec | None
    """The newest exec that is not one of those that were not run."""


class JobOfExec(JobAsItIs):
    """The job as it is now, inside one of its execs."""

    runtime_vars: str
    """The variables as a JSON text."""


class JobPage(Page):
    results: list[Job]


class Duration(Shape):
    hours: Count
    minutes: Annotated[int, Field(ge=0, le=59)]
    seconds: Annotated[int, Field(ge=0, le=59)]


class AnyExec(Shape):
    """What every form of an exec has in common."""

    id: Uuid
    status: fields.ExecStatus
    """W waiting, R running, S succeeded, F failed, C cancelled, N not run."""
    trigger_mode: TriggerMode
    """M manual, S scheduled, R retry."""
    attempt: int
    """1 for the first."""
    retry_of: Uuid | None
    """The exec that this one retries."""
    scheduled_for: datetime | None
    """The slot of a scheduled run and of its retries."""
    command: str | None
    docker_image_repo: str
    docker_image_tag: str
    image_digest: str | None
    """Which image it was, where known."""
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
    """When its end was asked for."""
    exit_code: int | None
    """The container's; null if there is none."""
    reason: ExecReason | None
    message: str | None
    """The same in words; of one that waits or runs, why it does not go on."""
    log_bytes: Count
    """How much it wrote."""
    log_is_cut: bool
    """Whether the middle of it is left out of the log, for more than `max_log` was written."""
    log_may_lack_output: bool
    """Whether output may be missing that jobd never saw; `message` says why."""
    missed_count: int = 1
    """Of status N alone: how many slots it stands for."""
    missed_from: datetime | None = None
    """Of status N alone: the oldest of them."""
    missed_to: datetime | None = None
    """Of status N alone: the newest of them."""


class Exec(AnyExec):
    """One run in one container, with a copy of its job as it was."""

    job: Id
    """The job's id."""


class ExecDetail(AnyExec):
    job: JobOfExec


class ExecPage(Page):
    results: list[Exec]


class Hook(Shape):
    """Whom to tell of what becomes of execs."""

    id: Id
    name: str | None
    subject_type: fields.HookSubjectType
    subject: int | str
    """The job's id, or the namespace's name."""
    namespace: str
    """Whose it is."""
    url: str
    events: list[fields.HookEvent]
    secret: Literal["******"] | None
    """Whether there is one is all that is told."""
    is_active: bool
    created_by: str
    created_at: datetime
    updated_at: datetime


class DeliveryAttempt(Shape):
    at: datetime
    duration_ms: Count
    status_code: int | None
    """Null if there was no answer."""
    error: str | None
    """Why it was no success."""
    answer: str | None
    """The beginning of what the receiver said."""


class Delivery(Shape):
    """One event on its way to one hook."""

    id: Id
    webhook_id: Uuid
    """What the receiver knows it by: the same for every attempt, and when it is sent once more."""
    hook: Id
    event: fields.HookEvent
    event_at: datetime
    job: Id
    exec: Uuid
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None
    """Null: being sent now, or over."""
    attempts: list[DeliveryAttempt]


class DeliveryPage(Page):
    results: list[Delivery]


class Slot(Shape):
    utc: datetime
    local: datetime
    """The same instant in the schedule's zone."""
    notes: list[str]
    """What is odd about it: a month's end, a change of the clocks."""


class Words(Shape):
    en: str
    zh: str


class Slots(Shape):
    slots: list[Slot]
    remaining: Count | None
    """How many are to come; null if there is no end."""
    words: Words
    """The schedule in words."""


class LogLine(Shape):
    time: datetime
    """Of its beginning."""
    stream: LogStreamName
    """`cut` marks what was left out of a long log."""
    message: str


class Region(Shape):
    name: str
    executor: str
    is_default: bool
    max_running: int
    images: list[str]
    """Images that may run there, as globs."""
    ok: bool
    """Whether it can be used now."""
    engine: str
    """What answers there; empty while nothing did."""
    message: str
    """Why it cannot be used; empty while it can."""


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
    """The edition of the IANA database, such as 2026f; `unknown` if it does not tell."""
    source: str
    """The folder or the package that it comes from."""
    reason: str
    """Why that one."""


class System(Shape):
    version: str
    """Of jobd."""
    time_zone_rules: TimeZoneRules


class SignedIn(Shape):
    username: str
    token: str


class Profile(Shape):
    username: str
    is_admin: bool
    namespaces: NamespaceRoles | None
    """What the caller is where; null for an administrator of all."""
    access: fields.TokenAccess
    """The token's."""


class Token(Shape):
    id: Id
    name: str
    username: str
    namespace: str | None
    """The only one that it opens; null: all that its user may use."""
    access: fields.TokenAccess
    made_by: Id | None
    """The token that it was made with, and with which it ends; null: its user, by password or at the command line."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""


class NewToken(Token):
    token: str
    """Shown this once."""


class TokenPage(Page):
    results: list[Token]


class User(Shape):
    username: str
    is_admin: bool
    is_active: bool
    has_password: bool
    created_at: datetime


class UserPage(Page):
    results: list[User]


class Organization(Shape):
    name: str
    role: fields.Role | None
    """The caller's; null for one who is no member."""
    created_by: str
    created_at: datetime


class OrganizationPage(Page):
    results: list[Organization]


class Member(Shape):
    username: str
    role: fields.Role
    created_at: datetime


class MemberPage(Page):
    results: list[Member]


class AuditRecord(Shape):
    id: Id
    at: datetime
    namespace: str | None
    actor: str
    token: int | None
    """The id of the token that was used."""
    address: str | None
    request_id: str | None
    action: str
    """A noun and a verb, as in `job.update`."""
    subject: str | None
    """The id or the name of what was changed."""
    before: AuditedValues | None
    """What was changed, as it was."""
    after: AuditedValues | None
    """The same, as it is since."""


class AuditPage(Page):
    results: list[AuditRecord]


class Health(Shape):
    status: Literal["ok"]


class Readiness(Shape):
    status: Literal["ready"]


class Error(Shape):
    source: Literal["jobd"]
    code: str
    """For programs, and stable."""
    message: str
    """For people."""
    fields: list[FieldFaults] = []
    """Where fields are at fault: all of them at once, each with one entry."""


class Errors(Shape):
    errors: Annotated[list[Error], Field(min_length=1)]
