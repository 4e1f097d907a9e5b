"""What requests may say, as pydantic models: bodies by strict JSON types, queries from text."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from jobd.api import body, fields
from jobd.api.faults import check
from jobd.errors import InvalidArgs

Q = TypeVar("Q", bound="Query")
B = TypeVar("B", bound="Body")

READ_ONLY = frozenset(["id", "created_by", "created_at", "updated_at", "next_fire_at", "last_exec", "schedule_error"])
"""Fields of a job that a request may carry and that change nothing, so that what GET gave can be sent back."""


class Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class JobFields(Body):
    """All that a user may say of a job; None puts a field's default back."""

    name: fields.Name | None = None
    namespace: fields.Namespace | None = None
    command: fields.Command | None = None
    docker_image_repo: fields.Repository | None = None
    docker_image_tag: fields.Tag | None = None
    resource_size: str | None = None
    region_name: str | None = None
    runtime_vars: fields.Variables | None = None
    secret_vars: fields.SecretVariables | None = None
    pull_policy: fields.PullPolicy | None = None
    labels: fields.Labels | None = None
    mounts: fields.Mounts | None = None
    timeout: fields.Timeout | None = None
    max_retries: fields.Retries | None = None
    retry_delay: fields.RetryDelay | None = None
    execs_kept: fields.ExecsKept | None = None
    is_schedule_active: bool | None = None
    schedule_mode: str | None = None
    schedule_timezone: str | None = None
    missed_run_policy: fields.MissedRunPolicy | None = None
    starting_deadline: fields.Timeout | None = None
    concurrency_policy: fields.ConcurrencyPolicy | None = None


class JobCreate(JobFields):
    name: fields.Name
    docker_image_repo: fields.Repository


class ExecCreate(Body):
    """What holds for one run alone; the command None is the image's own."""

    command: fields.Command | None = None
    docker_image_tag: fields.Tag | None = None
    runtime_vars: fields.Variables | None = None
    resource_size: str | None = None


class Nothing(Body):
    """The body of a call that takes none."""


class Credentials(Body):
    username: str
    password: str


def _digits(text: Any) -> Any:
    if isinstance(text, str):
        if not re.fullmatch(r"[0-9]{1,19}", text):
            raise ValueError("must be a whole number")
        return int(text)
    return text


def _flag(text: Any) -> Any:
    if isinstance(text, str):
        if text not in ("true", "false", "1", "0"):
            raise ValueError("must be true or false")
        return text in ("true", "1")
    return text


def _instant(text: Any) -> Any:
    if not isinstance(text, str):
        raise ValueError("must be a time as a string, as in 2015-12-28T14:31:07Z")
    try:
        # An unescaped + of an offset arrives as a blank.
        instant = datetime.fromisoformat(text.replace(" ", "+"))
        if instant.tzinfo is None:
            raise ValueError
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time with an offset, as in 2015-12-28T14:31:07Z") from None


def _label(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError("must be NAME=VALUE")
    return name, value


Whole = Annotated[int, BeforeValidator(_digits)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
Label = Annotated[tuple[str, str], BeforeValidator(_label)]


class Preview(Body):
    schedule_mode: str
    schedule_timezone: str | None = None
    after: Annotated[Instant, Field(strict=False)] | None = None
    count: Annotated[int, Field(ge=1, le=1000)] | None = None


class ProfileChange(Body):
    current_password: str
    password: str


class TokenCreate(Body):
    name: fields.Name
    namespace: fields.Namespace | None = None
    access: fields.Access | None = None
    expires_at: Annotated[Instant, Field(strict=False)] | None = None


class UserCreate(Body):
    username: fields.Namespace
    password: str | None = None
    is_admin: bool | None = None


class UserChange(Body):
    """What is None stays as it is."""

    password: str | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


class OrganizationCreate(Body):
    name: fields.Namespace
    admin: fields.Namespace | None = None


class MemberChange(Body):
    role: fields.Role


class MemberCreate(MemberChange):
    username: fields.Namespace


class Query(BaseModel):
    """A query string; every parameter once, except those that are tuples here."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageQuery(Query):
    page: Annotated[Whole, Field(ge=1, le=10**9)] = 1
    page_size: Annotated[Whole, Field(ge=1, le=100)] = 20


class JobQuery(PageQuery):
    namespace: str | None = None
    name: str | None = None
    region: str | None = None
    scheduled: Flag | None = None
    label: tuple[Label, ...] = ()


class ExecQuery(PageQuery):
    namespace: str | None = None
    job: Annotated[Whole, Field(ge=1, le=fields.LARGEST_ID)] | None = None
    status: fields.Status | None = None
    region: str | None = None
    since: Instant | None = None
    until: Instant | None = None


class TokenQuery(PageQuery):
    username: str | None = None


class AuditQuery(PageQuery):
    namespace: str | None = None
    actor: str | None = None
    since: Instant | None = None
    until: Instant | None = None


class StopQuery(Query):
    force: Flag = False


class SlotQuery(Query):
    count: Annotated[Whole, Field(ge=1, le=1000)] = 10


class LogQuery(Query):
    tail: Annotated[Whole, Field(ge=0, le=10**9)] | None = None
    stream: Literal["stdout", "stderr"] | None = None
    timestamps: Flag = False
    follow: Flag = False


def read_body(model: type[B], values: Mapping[str, Any]) -> B:
    """Raises InvalidArgs with every fault."""
    parsed, faults = check(model, values)
    if parsed is None:
        raise InvalidArgs("the request holds what cannot be", faults)
    return parsed


def read_query(model: type[Q], arguments: Mapping[str, Sequence[bytes]]) -> Q:
    """Raises InvalidArgs with every fault: unknown parameters, doubled ones, wrong values."""
    values: dict[str, Any] = {}
    faults: dict[str, list[str]] = {}
    for name, given in arguments.items():
        try:
            texts = [value.decode() for value in given]
        except UnicodeDecodeError:
            faults[name] = ["must be UTF-8"]
            continue
        unfit = next(filter(None, map(body.unfit, [name, *texts])), None)
        many = name in model.model_fields and str(model.model_fields[name].annotation).startswith("tuple")
        if unfit:
            faults[ascii(name)[1:-1]] = [unfit]
        elif len(texts) > 1 and not many:
            faults[name] = ["must be given once"]
        else:
            values[name] = tuple(texts) if many else texts[0]
    parsed, more = check(model, values)
    if parsed is None or faults:
        raise InvalidArgs("the query holds what cannot be", {**more, **faults})
    return parsed
