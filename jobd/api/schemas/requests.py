"""What requests may say, as pydantic models: bodies by strict JSON types, queries from text."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from jobd.api.schemas import fields
from jobd.store.db.tables import MAX_ID
from jobd.web.requests import Body, Digits, Flag, Instant, PageQuery, Query

READ_ONLY = frozenset(["id", "created_by", "created_at", "updated_at", "next_fire_at", "last_exec", "schedule_error"])
"""Fields of a job that a request may carry and that change nothing, so that what GET gave can be sent back."""


def _with_read_only(schema: dict[str, Any]) -> None:
    schema["properties"] |= {name: {"description": "Cannot be set: ignored."} for name in sorted(READ_ONLY)}


class JobFields(Body):
    """All that a user may say of a job; None puts a field's default back."""

    model_config = ConfigDict(json_schema_extra=_with_read_only)

    name: fields.Name | None = None
    """1 to 255 characters of any script, not blank, without control characters; need not be unique."""
    namespace: fields.Namespace | None = None
    """Whose job it is: the caller's own by default; never changes."""
    command: fields.Command | None = None
    """Split as a POSIX shell splits it, and run without one; null is the image's own. At most 32 KiB."""
    docker_image_repo: fields.Repository | None = None
    """`[HOST[:PORT]/]PATH` without a tag. The region may allow some only."""
    docker_image_tag: fields.Tag | None = None
    """A tag, or `sha256:` and 64 hexadecimal digits; `latest` by default."""
    resource_size: str | None = None
    """One of `/v1/sizes`; the smallest by default."""
    region_name: str | None = None
    """One of `/v1/regions`."""
    runtime_vars: fields.Variables | None = None
    """The container's environment, 128 KB in all; names of letters, digits and `_`, `JOBD_…` are jobd's own."""
    secret_vars: fields.SecretVariables | None = None
    """Environment that no answer shows: `******` stands for each value, and sent back keeps the one that is stored."""
    pull_policy: fields.PullPolicy | None = None
    """When the image is pulled; `if_not_present` by default."""
    labels: fields.Labels | None = None
    """Up to 64 strings by names without `=`, to filter by; 32 KB in all."""
    mounts: fields.Mounts | None = None
    """Up to 32 places in the container where a mount that the operator names is found."""
    timeout: fields.Timeout | None = None
    """Seconds that a run may take; null is the server's own limit."""
    max_retries: fields.Retries | None = None
    """How often a failed exec is followed by another; 0 by default."""
    retry_delay: fields.RetryDelay | None = None
    """Seconds before the first retry, doubled for each further one, up to an hour; 10 by default."""
    retry_on: fields.RetryOn | None = None
    """Which failures are retried: `{"reasons": ["exit_code", "lost"]}`; null: all but `lost`."""
    execs_kept: fields.ExecsKept | None = None
    """How many ended execs are kept; null is the server's own number."""
    is_schedule_active: bool | None = None
    """Whether the schedule fires; needs a `schedule_mode`."""
    schedule_mode: str | None = None
    """An ISO 8601 repeating interval or a cron expression."""
    schedule_timezone: str | None = None
    """IANA zone of cron and of calendar steps; null is the start's own offset, else UTC."""
    missed_run_policy: fields.MissedRunPolicy | None = None
    """What becomes of slots that nothing could fire in time; `run_once`, by default, runs the newest."""
    starting_deadline: fields.Timeout | None = None
    """Seconds after its time when a slot is no longer worth starting; null: it always is."""
    concurrency_policy: fields.ConcurrencyPolicy | None = None
    """What happens when a slot comes due while an exec of the job waits or runs; `allow` by default."""
    email_enabled: bool | None = None
    """Whether a mail is sent when an exec ends badly, after its last retry; false by default."""
    email_recipients: fields.Recipients | None = None
    """Who gets it."""


class JobCreate(JobFields):
    name: fields.Name
    docker_image_repo: fields.Repository


class ExecCreate(Body):
    """What holds for one run alone; the command None is the image's own."""

    command: fields.Command | None = None
    docker_image_tag: fields.Tag | None = None
    runtime_vars: fields.Variables | None = None
    resource_size: str | None = None


def _subject(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Subject = Annotated[str, BeforeValidator(_subject), Field(json_schema_extra={"type": ["integer", "string"]})]
"""A job's id may come as the number that it is."""
HOOK_READ_ONLY = frozenset(["id", "namespace", "created_by", "created_at", "updated_at"])
"""Fields of a hook that a request may carry and that change nothing."""


def _with_hook_read_only(schema: dict[str, Any]) -> None:
    schema["properties"] |= {name: {"description": "Cannot be set: ignored."} for name in sorted(HOOK_READ_ONLY)}


class HookFields(Body):
    """All that may be said of a hook; None puts a default back where there is one."""

    model_config = ConfigDict(json_schema_extra=_with_hook_read_only)

    name: fields.Name | None = None
    """For people."""
    url: fields.Url | None = None
    """Where deliveries are sent: ASCII, without user, password and fragment."""
    events: fields.Events | None = None
    """What is told."""
    secret: fields.Secret | None = None
    """Signs the deliveries. No answer shows it: `******` stands for it, and sent back keeps the one that is stored."""
    is_active: bool | None = None
    """Whether anything is sent; true by default. A receiver that answers 410 switches it off."""


class HookCreate(HookFields):
    subject_type: fields.HookSubjectType
    """A hook of a job, or of all jobs of a namespace."""
    subject: Subject
    """The job's id, or the namespace's name."""
    url: fields.Url
    events: fields.Events


class HookChange(HookFields):
    subject_type: fields.HookSubjectType | None = None
    """Never changes."""
    subject: Subject | None = None
    """Never changes."""


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
    """IANA zone of cron and of calendar steps; null is the start's own offset, else UTC."""
    after: Annotated[Instant, Field(strict=False)] | None = None
    """Slots are strictly after it; null is now."""
    count: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many slots at most; 10 by default."""


class ProfileChange(Body):
    current_password: str
    password: fields.Password
    """The new one."""


class TokenCreate(Body):
    name: fields.Name
    """What it is for."""
    namespace: fields.Namespace | None = None
    """The only one that it opens; null: all that its user may use."""
    access: fields.TokenAccess | None = None
    """Null is `write`."""
    expires_at: Annotated[Instant, Field(strict=False)] | None = None
    """When it stops working, not later than the token that makes it; null: with that one, else never."""


class UserCreate(Body):
    username: fields.Namespace
    """1 to 63 of `A-Z a-z 0-9 . _ -`, the first and the last a letter or digit; nobody else has it."""
    password: fields.Password | None = None
    """Null: the user signs in with tokens alone."""
    is_admin: bool | None = None
    """Whether of the whole installation."""


class UserChange(Body):
    """What is None stays as it is."""

    password: fields.Password | None = None
    is_admin: bool | None = None
    """Whether of the whole installation."""
    is_active: bool | None = None
    """False refuses password and tokens from now on."""


class OrganizationCreate(Body):
    name: fields.Namespace
    """As a user's name, and no other user or organization has it."""
    admin: fields.Namespace | None = None
    """Its first admin; null is the caller."""


class MemberChange(Body):
    role: fields.Role


class MemberCreate(MemberChange):
    username: fields.Namespace


class JobQuery(PageQuery):
    namespace: str | None = None
    """Those of this namespace alone."""
    name: str | None = None
    """Those of exactly this name."""
    region: str | None = None
    """Those that run in this region."""
    scheduled: Flag | None = None
    """Those with this `is_schedule_active`."""
    label: Annotated[tuple[Label, ...], Field(max_length=fields.MAX_LABELS)] = ()
    """Those with this label, `NAME=VALUE`; may stand several times, 64 at most."""


class ExecQuery(PageQuery):
    namespace: str | None = None
    """Those of this namespace alone."""
    job: Annotated[int, Field(ge=1, le=MAX_ID), Digits] | None = None
    """Those of the job with this id."""
    status: fields.ExecStatus | None = None
    """Those with this status."""
    region: str | None = None
    """Those in this region."""
    since: Instant | None = None
    """Those created then or later."""
    until: Instant | None = None
    """Those created before then."""


class HookQuery(Query):
    subject_type: fields.HookSubjectType
    """Whether `subject` is a job or a namespace."""
    subject: str
    """The job's id, or the namespace's name."""


class TokenQuery(PageQuery):
    username: str | None = None
    """Another user's, for administrators of the installation."""


class AuditQuery(PageQuery):
    namespace: str | None = None
    """Changes in this namespace alone."""
    actor: str | None = None
    """Changes by this user alone."""
    since: Instant | None = None
    """Those made then or later."""
    until: Instant | None = None
    """Those made before then."""


class StopQuery(Query):
    force: Flag = False
    """End an exec whose region cannot be reached at once, as lost; of any other it changes nothing."""


class SlotQuery(Query):
    count: Annotated[int, Field(ge=1, le=1000), Digits] = 10
    """How many slots at most."""


class LogQuery(Query):
    tail: Annotated[int, Field(ge=0, le=10**9), Digits] | None = None
    """The last so many lines alone."""
    stream: Literal["stdout", "stderr"] | None = None
    """One stream alone."""
    timestamps: Flag = False
    """Each line of text begins with its time."""
    follow: Flag = False
    """The answer goes on until the exec has ended."""
