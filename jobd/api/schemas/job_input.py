"""Turns requests into columns: defaults, null, and the rules between fields and with the configuration."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from jobd import schedule
from jobd.api.schemas import fields
from jobd.api.schemas.requests import READ_ONLY, ExecCreate, JobCreate, JobFields
from jobd.config import Settings
from jobd.errors import InvalidArgs, ScheduleError
from jobd.store import secrets
from jobd.store.db.tables import Job
from jobd.web import json_text
from jobd.web.requests import Body
from jobd.web.validation import Faults, check, few, shown, suggestion

MAX_JOB = 256 * 2**10
"""Bytes of a job's fields as JSON; a page of 20 such jobs, the default, stays below the limit for a page."""
SCHEDULE = ("is_schedule_active", "schedule_mode", "schedule_timezone")
IMAGE = ("docker_image_repo", "docker_image_tag", "region_name")


def for_create(body: Mapping[str, Any], own_namespace: str, settings: Settings) -> dict[str, Any]:
    """All columns of a new job, by default in the caller's own namespace. Raises InvalidArgs with all faults."""
    default = defaults(settings) | {"namespace": own_namespace}
    values, faults = _read(JobCreate, body, default)
    _check_secrets(values, default | values, {}, faults)
    return default | _checked(values, faults, default | values, settings)


def for_update(body: Mapping[str, Any], current: Job, settings: Settings) -> dict[str, Any]:
    """The columns of `current` that a request changes. Raises InvalidArgs with all faults."""
    before = {name: getattr(current, name) for name in JobFields.model_fields}
    values, faults = _read(JobFields, body, defaults(settings))
    for name in ("name", "docker_image_repo"):
        if name in values and values[name] is None:
            faults[name] = ["must be a string: this field has no default"]
    if values.get("namespace") not in (None, current.namespace):
        faults.setdefault("namespace", ["cannot be changed"])
    _check_secrets(values, before | values, current.secret_vars, faults)
    if _are_kept(values.get("secret_vars"), current.secret_vars):
        del values["secret_vars"]
    changes = {name: value for name, value in values.items() if name != "namespace" and value != before[name]}
    return _checked(changes, faults, before | changes, settings)


def for_exec(body: Mapping[str, Any], job: Job, settings: Settings) -> dict[str, Any]:
    """The fields in which a new exec differs from `job`. Raises InvalidArgs with all faults."""
    values, faults = _validated(ExecCreate, ExecCreate, body)
    overrides = {name: value for name, value in values.items() if value is not None or name == "command"}
    whole = {name: getattr(job, name) for name in JobFields.model_fields} | overrides
    secret = sorted(overrides.get("runtime_vars", {}).keys() & job.secret_vars.keys())
    if secret:
        faults.setdefault("runtime_vars", [f"{few(secret, ', ')}: a secret of the job cannot be overridden"])
    variables = {**job.runtime_vars, **overrides.get("runtime_vars", {})}
    if fields.variables_length(variables) > fields.MAX_VARIABLES:
        text = f"must be at most {fields.MAX_VARIABLES} bytes together with the job's, names and values"
        faults.setdefault("runtime_vars", [text])
    whole["runtime_vars"] = variables
    if "docker_image_tag" in overrides:
        for _, texts in _image_faults(whole, settings):
            faults["docker_image_tag"] = texts
    _checked(overrides, faults, whole, settings, image=False)
    return overrides


def defaults(settings: Settings) -> dict[str, Any]:
    """Every field's default; None for an empty column."""
    return dict.fromkeys(JobFields.model_fields) | {
        "docker_image_tag": "latest",
        "resource_size": settings.default_size,
        "region_name": settings.jobd.default_region,
        "runtime_vars": {},
        "secret_vars": {},
        "pull_policy": "if_not_present",
        "labels": {},
        "mounts": [],
        "max_retries": 0,
        "retry_delay": 10,
        "is_schedule_active": False,
        "missed_run_policy": "run_once",
        "concurrency_policy": "allow",
        "email_enabled": False,
        "email_recipients": [],
    }


def _read(model: type[JobFields], body: Mapping[str, Any], default: Mapping[str, Any]) -> tuple[dict[str, Any], Faults]:
    """The request's valid fields, with defaults in place of null, and what is wrong with the others."""
    writable = {name: value for name, value in body.items() if name not in READ_ONLY}
    values, faults = _validated(model, JobFields, writable)
    return {name: default[name] if value is None else value for name, value in values.items()}, faults


def _validated(model: type[Body], without: type[Body], body: Mapping[str, Any]) -> tuple[dict[str, Any], Faults]:
    """The body's valid fields, and what is wrong with the others. `without` is the model without required fields."""
    parsed, faults = check(model, body)
    if parsed is None:
        parsed, _ = check(without, {name: value for name, value in body.items() if name not in faults})
    return parsed.model_dump(exclude_unset=True) if parsed else {}, faults


def _checked(
    values: dict[str, Any], faults: Faults, whole: Mapping[str, Any], settings: Settings, image: bool = True
) -> dict[str, Any]:
    """`values`, if they fit the configuration and the rest of the job, `whole`. Only fields that change are checked.

    Raises InvalidArgs with all faults.
    """
    conflicts = list(_choice_faults(values, settings))
    if image and values.keys() & set(IMAGE) and not faults.keys() & set(IMAGE):
        conflicts += _image_faults(whole, settings)
    if values.keys() & {"mounts", "region_name"} and whole["mounts"] and "mounts" not in faults:
        conflicts += _mount_faults(whole, settings)
    # A schedule that is only deactivated is not checked: it may have become invalid since it was stored.
    if values.keys() & {"schedule_mode", "schedule_timezone"} or values.get("is_schedule_active"):
        conflicts += _schedule_faults(whole, faults)
    if values and not faults:
        conflicts += _size_faults(values, whole)
    for name, texts in conflicts:
        faults.setdefault(name, texts)
    if faults:
        raise InvalidArgs("invalid request", faults)
    return values


def _check_secrets(
    values: Mapping[str, Any], whole: Mapping[str, Any], stored: Mapping[str, str], faults: Faults
) -> None:
    """Add faults for names that are both plain and secret variables, and for masks that stand for no stored value."""
    fields_sent = [name for name in ("secret_vars", "runtime_vars") if name in values]
    both = sorted(whole["runtime_vars"].keys() & whole["secret_vars"].keys())
    if fields_sent and both:
        faults.setdefault(fields_sent[0], [f"{few(both, ', ')}: cannot be in runtime_vars and in secret_vars"])
    unkept = secrets.unkept(values.get("secret_vars", {}), stored)
    if unkept:
        faults.setdefault("secret_vars", unkept)


def _are_kept(sent: Mapping[str, SecretStr] | None, stored: Mapping[str, str]) -> bool:
    """Whether the request keeps all stored secrets unchanged."""
    return sent is not None and sent.keys() == stored.keys() and all(map(secrets.is_kept, sent.values()))


def _choice_faults(values: Mapping[str, Any], settings: Settings) -> Iterator[tuple[str, list[str]]]:
    for name, known in (("resource_size", settings.sizes), ("region_name", settings.regions)):
        value = values.get(name)
        if value is not None and value not in known:
            yield name, [f"must be one of {', '.join(known)}{suggestion(value, known)}"]


def _size_faults(values: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """If the whole job is too large, the largest field of the request is at fault. Secrets have limits of their own."""
    sizes = {name: len(json_text.encoded(value)) for name, value in whole.items() if name != "secret_vars"}
    if sum(sizes.values()) > MAX_JOB:
        largest = max(values, key=lambda name: sizes.get(name, 0))
        yield largest, [f"makes the job {sum(sizes.values())} bytes of JSON; at most {MAX_JOB} are allowed"]


def _image_faults(whole: Mapping[str, Any], settings: Settings) -> Iterator[tuple[str, list[str]]]:
    repository, tag, region = (whole[name] for name in IMAGE)
    if repository is None:
        return
    image = fields.image(repository, tag)
    if len(image) > fields.IMAGE_LENGTH:
        yield "docker_image_repo", [f"must be at most {fields.IMAGE_LENGTH} characters together with the tag"]
    elif region in settings.regions and not settings.regions[region].allows(image):
        globs = ", ".join(settings.regions[region].images)
        yield "docker_image_repo", [f"{image} is not allowed in the region {region}; expected {globs or 'none'}"]


def _mount_faults(whole: Mapping[str, Any], settings: Settings) -> Iterator[tuple[str, list[str]]]:
    region, namespace = whole["region_name"], whole["namespace"]
    there = [name for name, mount in settings.mounts.items() if mount.is_for(namespace, region)]
    missing = [mount["name"] for mount in whole["mounts"] if mount["name"] not in there]
    if missing:
        known = ", ".join(there) or "none"
        yield "mounts", [f"{shown(missing[0])!r} is not available to {namespace} in {region}; expected one of: {known}"]


def _schedule_faults(whole: Mapping[str, Any], faults: Faults) -> Iterator[tuple[str, list[str]]]:
    active, mode, zone = (whole[name] for name in SCHEDULE)
    if active and mode is None and "schedule_mode" not in faults:
        yield "is_schedule_active", ["needs a schedule_mode"]
    if zone is not None:
        try:
            schedule.check_timezone(zone)
        except ScheduleError as error:
            yield "schedule_timezone", [error.message]
            zone = None
    if mode is not None:
        try:
            schedule.parse(mode, zone, datetime.now(UTC))
        except ScheduleError as error:
            yield from error.fields.items()
