"""The bodies and queries of requests, as pydantic models."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from jobd.api.schemas import fields
from jobd.store.db.columns import MAX_ID
from jobd.web.requests import Body, Digits, Flag, Instant, PageQuery, Query

READ_ONLY = frozenset(["id", "created_by", "created_at", "updated_at", "next_fire_at", "last_exec", "schedule_error"])
"""Fields of a job that a request may contain and that are ignored, so that a job from GET can be sent back."""


def _with_read_only(schema: dict[str, Any]) -> None:
    schema["properties"] |= {name: {"description": "Cannot be set: ignored."} for name in sorted(READ_ONLY)}


class JobFields(Body):
    """The fields of a job that a user can set; None sets a field to its default."""

    model_config = ConfigDict(json_schema_extra=_with_read_only)

    name: fields.Name | None = None
    """1 to 255 characters of any script, not blank, without control characters; need not be unique."""
    namespace: fields.Namespace | None = None
    """The owner; the caller's own namespace by default. Cannot be changed."""
    command: fields.Command | None = None
    """Split into words as by a POSIX shell, and run without a shell; null is the image's own. At most 32 KiB."""
    docker_image_repo: fields.Repository | None = None
    """`[HOST[:PORT]/]PATH` without a tag. A region may allow only some images."""
    docker_image_tag: fields.Tag | None = None
    """A tag, or `sha256:` and 64 hexadecimal digits; `latest` by default."""
    resource_size: str | None = None
    """One of `/v1/sizes`; the smallest by default."""
    region_name: str | None = None
    """One of `/v1/regions`."""
    runtime_vars: fields.Variables | None = None
    """The container's environment, 128 KB in all; names of letters, digits and `_`. `JOBD_…` is reserved for jobd."""
    secret_vars: fields.SecretVariables | None = None
    """Environment that responses hide: they have `******` for each value; sent back, it keeps the stored value."""
    pull_policy: fields.PullPolicy | None = None
    """When the image is pulled; `if_not_present` by default."""
    labels: fields.Labels | None = None
    """Up to 64 strings by names without `=`, to filter by; 32 KB in all."""
    mounts: fields.Mounts | None = None
    """Up to 32 of the mounts that the operator has configured, each with its path in the container."""
    timeout: fields.Timeout | None = None
    """Seconds that a run may take; null is the server's own limit."""
    max_retries: fields.Retries | None = None
    """How often a failed exec is retried; 0 by default."""
    retry_delay: fields.RetryDelay | None = None
    """Seconds before the first retry, doubled for each further one, up to an hour; 10 by default."""
    retry_on: fields.RetryOn | None = None
    """Which failures are retried: `{"reasons": ["exit_code", "lost"]}`; null is all but `lost`."""
    execs_kept: fields.ExecsKept | None = None
    """How many ended execs are kept; null is the server's default."""
    is_schedule_active: bool | None = None
    """Whether the schedule fires; needs a `schedule_mode`."""
    schedule_mode: str | None = None
    """An ISO 8601 repeating interval or a cron expression."""
    schedule_timezone: str | None = None
    """IANA time zone of cron expressions and calendar steps; null is the start's own offset, else UTC."""
    missed_run_policy: fields.MissedRunPolicy | None = None
    """What happens to slots that were missed; `run_once`, the default, runs the newest."""
    starting_deadline: fields.Timeout | None = None
    """Seconds after its time when a slot is no longer started; null is no limit."""
    concurrency_policy: fields.ConcurrencyPolicy | None = None
    """What happens when a slot is due while another exec of the job waits or runs; `allow` by default."""
    email_enabled: bool | None = None
    """Whether to send a mail when an exec fails, after its last retry; false by default."""
    email_recipients: fields.Recipients | None = None
    """The recipients of the mail."""


class JobCreate(JobFields):
    name: fields.Name
    docker_image_repo: fields.Repository


class ExecCreate(Body):
    """The fields that a single run may override; a command of None is the image's own."""

    command: fields.Command | None = None
    docker_image_tag: fields.Tag | None = None
    runtime_vars: fields.Variables | None = None
    resource_size: str | None = None


def _subject(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Subject = Annotated[str, BeforeValidator(_subject), Field(json_schema_extra={"type": ["integer", "string"]})]
"""A namespace's name, or a job's id, which may also be given as a number."""
HOOK_READ_ONLY = frozenset(["id", "namespace", "created_by", "created_at", "updated_at"])
"""Fields of a hook that a request may contain and that are ignored."""


def _with_hook_read_only(schema: dict[str, Any]) -> None:
    schema["properties"] |= {name: {"description": "Cannot be set: ignored."} for name in sorted(HOOK_READ_ONLY)}


class HookFields(Body):
    """The fields of a hook that a user can set; None sets a field to its default, if it has one."""

    model_config = ConfigDict(json_schema_extra=_with_hook_read_only)

    name: fields.Name | None = None
    """A description."""
    url: fields.Url | None = None
    """Where deliveries are sent: ASCII, without user, password and fragment."""
    events: fields.Events | None = None
    """The events that are sent."""
    secret: fields.Secret | None = None
    """Signs deliveries. Responses hide it: they have `******`, which, sent back, keeps the stored secret."""
    is_active: bool | None = None
    """Whether deliveries are sent; true by default. A receiver that responds with 410 sets it to false."""


class HookCreate(HookFields):
    subject_type: fields.HookSubjectType
    """Whether the hook is for one job or for all jobs of a namespace."""
    subject: Subject
    """The job's id, or the namespace's name."""
    url: fields.Url
    events: fields.Events


class HookChange(HookFields):
    subject_type: fields.HookSubjectType | None = None
    """Cannot be changed."""
    subject: Subject | None = None
    """Cannot be changed."""


class Credentials(Body):
    username: str
    password: str


def _label(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError("must be NAME=VALUE")
    return name, value


Label = Annotated[
    tuple[str, str], BeforeValidator(_label), WithJsonSchema({"type": "string", "pattern": "^[^=]+="}, "validation")
]


class Preview(Body):
    schedule_mode: str
    """An ISO 8601 repeating interval or a cron expression."""
    schedule_timezone: str | None = None
    """IANA time zone of cron expressions and calendar steps; null is the start's own offset, else UTC."""
    after: Annotated[Instant, Field(strict=False)] | None = None
    """Slots are strictly after this time; null is now."""
    count: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many slots at most; 10 by default."""


class ProfileChange(Body):
    current_password: str
    password: fields.Password
    """The new password."""


class TokenCreate(Body):
    name: fields.Name
    """What it is for."""
    namespace: fields.Namespace | None = None
    """The only namespace that it gives access to; null is all namespaces of its user."""
    access: fields.TokenAccess | None = None
    """Null is `write`."""
    expires_at: Annotated[Instant, Field(strict=False)] | None = None
    """When it expires, not later than the token that creates it; null is together with that token, else never."""


class UserCreate(Body):
    username: fields.Namespace
    """1 to 63 of `A-Z a-z 0-9 . _ -`, the first and the last a letter or digit; unique."""
    password: fields.Password | None = None
    """Null is no password: the user can only use tokens."""
    is_admin: bool | None = None
    """Whether the user is an administrator of the whole installation."""


class UserChange(Body):
    """Fields that are None stay unchanged."""

    password: fields.Password | None = None
    is_admin: bool | None = None
    """Whether the user is an administrator of the whole installation."""
    is_active: bool | None = None
    """With false, the user's password and tokens are refused."""


class OrganizationCreate(Body):
    name: fields.Namespace
    """With the rules of a username; unique among users and organizations."""
    admin: fields.Namespace | None = None
    """The organization's first admin; null is the caller."""


class MemberChange(Body):
    role: fields.Role


class MemberCreate(MemberChange):
    username: fields.Namespace


class JobQuery(PageQuery):
    namespace: str | None = None
    """Only jobs of this namespace."""
    name: str | None = None
    """Only jobs with exactly this name."""
    region: str | None = None
    """Only jobs that run in this region."""
    scheduled: Flag | None = None
    """Only jobs with this `is_schedule_active`."""
    label: Annotated[tuple[Label, ...], Field(max_length=fields.MAX_LABELS)] = ()
    """Only jobs with this label, `NAME=VALUE`; may be given several times, at most 64."""


class ExecQuery(PageQuery):
    namespace: str | None = None
    """Only execs of this namespace."""
    job: Annotated[int, Field(ge=1, le=MAX_ID), Digits] | None = None
    """Only execs of the job with this id."""
    status: fields.ExecStatus | None = None
    """Only execs with this status."""
    region: str | None = None
    """Only execs in this region."""
    since: Instant | None = None
    """Only execs created at this time or later."""
    until: Instant | None = None
    """Only execs created before this time."""


class HookQuery(Query):
    subject_type: fields.HookSubjectType
    """Whether `subject` is a job or a namespace."""
    subject: str
    """The job's id, or the namespace's name."""


class TokenQuery(PageQuery):
    username: str | None = None
    """Another user, for administrators of the installation."""


class AuditQuery(PageQuery):
    namespace: str | None = None
    """Only changes in this namespace."""
    actor: str | None = None
    """Only changes by this user."""
    since: Instant | None = None
    """Only changes at this time or later."""
    until: Instant | None = None
    """Only changes before this time."""


class StopQuery(Query):
    force: Flag = False
    """If the exec's region cannot be reached, end the exec at once, as lost; else this has no effect."""


class SlotQuery(Query):
    count: Annotated[int, Field(ge=1, le=1000), Digits] = 10
    """How many slots at most."""


class LogQuery(Query):
    tail: Annotated[int, Field(ge=0, le=10**9), Digits] | None = None
    """Only the last lines, this many."""
    stream: Literal["stdout", "stderr"] | None = None
    """Only one of the two streams."""
    timestamps: Flag = False
    """Each line of text begins with its time."""
    follow: Flag = False
    """The response continues until the exec has ended."""
