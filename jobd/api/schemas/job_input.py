"""From a request to a job's columns: defaults, null, and the rules between fields and with the configuration."""

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
"""Bytes of all that a user says of a job, as JSON: a default page of such jobs stays below a page's bytes."""
SCHEDULE = ("is_schedule_active", "schedule_mode", "schedule_timezone")
IMAGE = ("docker_image_repo", "docker_image_tag", "region_name")


def for_create(body: Mapping[str, Any], own_namespace: str, settings: Settings) -> dict[str, Any]:
    """All columns of a new job, by default in the caller's own namespace. Raises InvalidArgs with every fault."""
    default = defaults(settings) | {"namespace": own_namespace}
    given, faults = _given(JobCreate, body, default)
    _check_secrets(given, default | given, {}, faults)
    return default | _checked(given, faults, default | given, settings)


def for_update(body: Mapping[str, Any], current: Job, settings: Settings) -> dict[str, Any]:
    """The columns that a request changes in `current`. Raises InvalidArgs with every fault."""
    before = {name: getattr(current, name) for name in JobFields.model_fields}
    given, faults = _given(JobFields, body, defaults(settings))
    for name in ("name", "docker_image_repo"):
        if name in given and given[name] is None:
            faults[name] = ["must be a string: it has no default"]
    if given.get("namespace") not in (None, current.namespace):
        faults.setdefault("namespace", ["never changes"])
    _check_secrets(given, before | given, current.secret_vars, faults)
    if _are_kept(given.get("secret_vars"), current.secret_vars):
        del given["secret_vars"]
    changes = {name: value for name, value in given.items() if name != "namespace" and value != before[name]}
    return _checked(changes, faults, before | changes, settings)


def for_exec(body: Mapping[str, Any], job: Job, settings: Settings) -> dict[str, Any]:
    """What an exec of `job` shall have otherwise. Raises InvalidArgs with every fault."""
    given, faults = _sound(ExecCreate, ExecCreate, body)
    overrides = {name: value for name, value in given.items() if value is not None or name == "command"}
    whole = {name: getattr(job, name) for name in JobFields.model_fields} | overrides
    secret = sorted(overrides.get("runtime_vars", {}).keys() & job.secret_vars.keys())
    if secret:
        faults.setdefault("runtime_vars", [f"{few(secret, ', ')}: a secret of the job cannot be overridden"])
    variables = {**job.runtime_vars, **overrides.get("runtime_vars", {})}
    if fields.variables_length(variables) > fields.MAX_VARIABLES:
        text = f"together with the job's must be at most {fields.MAX_VARIABLES} bytes, names and values"
        faults.setdefault("runtime_vars", [text])
    whole["runtime_vars"] = variables
    if "docker_image_tag" in overrides:
        for _, texts in _image_faults(whole, settings):
            faults["docker_image_tag"] = texts
    _checked(overrides, faults, whole, settings, image=False)
    return overrides


def defaults(settings: Settings) -> dict[str, Any]:
    """Every field's default; None where a column stays empty."""
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


def _given(
    model: type[JobFields], body: Mapping[str, Any], default: Mapping[str, Any]
) -> tuple[dict[str, Any], Faults]:
    """What the request says, as far as it is sound, and what is wrong with the rest."""
    said = {name: value for name, value in body.items() if name not in READ_ONLY}
    given, faults = _sound(model, JobFields, said)
    return {name: default[name] if value is None else value for name, value in given.items()}, faults


def _sound(model: type[Body], without: type[Body], said: Mapping[str, Any]) -> tuple[dict[str, Any], Faults]:
    """What is said, as far as it is sound, and what is wrong with the rest; `without` requires no field."""
    parsed, faults = check(model, said)
    if parsed is None:
        parsed, _ = check(without, {name: value for name, value in said.items() if name not in faults})
    return parsed.model_dump(exclude_unset=True) if parsed else {}, faults


def _checked(
    given: dict[str, Any], faults: Faults, whole: Mapping[str, Any], settings: Settings, image: bool = True
) -> dict[str, Any]:
    """`given`, if it goes together with the configuration and the rest of the job; only what changes is judged."""
    found = list(_choice_faults(given, settings))
    if image and given.keys() & set(IMAGE) and not faults.keys() & set(IMAGE):
        found += _image_faults(whole, settings)
    if given.keys() & {"mounts", "region_name"} and whole["mounts"] and "mounts" not in faults:
        found += _mount_faults(whole, settings)
    # what is only switched off was stored before, and need not be readable any more
    if given.keys() & {"schedule_mode", "schedule_timezone"} or given.get("is_schedule_active"):
        found += _schedule_faults(whole, faults)
    if given and not faults:
        found += _size_faults(given, whole)
    for name, texts in found:
        faults.setdefault(name, texts)
    if faults:
        raise InvalidArgs("invalid request", faults)
    return given


def _check_secrets(
    given: Mapping[str, Any], whole: Mapping[str, Any], stored: Mapping[str, str], faults: Faults
) -> None:
    """Find a name that is both a plain and a secret variable, and a value that shall stay where there is none."""
    said = [name for name in ("secret_vars", "runtime_vars") if name in given]
    both = sorted(whole["runtime_vars"].keys() & whole["secret_vars"].keys())
    if said and both:
        faults.setdefault(said[0], [f"{few(both, ', ')}: cannot be in runtime_vars and in secret_vars"])
    unkept = secrets.unkept(given.get("secret_vars", {}), stored)
    if unkept:
        faults.setdefault("secret_vars", unkept)


def _are_kept(given: Mapping[str, SecretStr] | None, stored: Mapping[str, str]) -> bool:
    """Whether these are the secrets that are stored, each as it is."""
    return given is not None and given.keys() == stored.keys() and all(map(secrets.is_kept, given.values()))


def _choice_faults(given: Mapping[str, Any], settings: Settings) -> Iterator[tuple[str, list[str]]]:
    for name, known in (("resource_size", settings.sizes), ("region_name", settings.regions)):
        value = given.get(name)
        if value is not None and value not in known:
            yield name, [f"must be one of {', '.join(known)}{suggestion(value, known)}"]


def _size_faults(given: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The largest of what is given is at fault when the whole is too large. Secrets have bounds of their own."""
    sizes = {name: len(json_text.written(value)) for name, value in whole.items() if name != "secret_vars"}
    if sum(sizes.values()) > MAX_JOB:
        largest = max(given, key=lambda name: sizes.get(name, 0))
        yield largest, [f"makes a job of {sum(sizes.values())} bytes as JSON; at most {MAX_JOB} are taken"]


def _image_faults(whole: Mapping[str, Any], settings: Settings) -> Iterator[tuple[str, list[str]]]:
    repository, tag, region = (whole[name] for name in IMAGE)
    if repository is None:
        return
    image = fields.image(repository, tag)
    if len(image) > fields.IMAGE_LENGTH:
        yield "docker_image_repo", [f"with its tag must be at most {fields.IMAGE_LENGTH} characters"]
    elif region in settings.regions and not settings.regions[region].allows(image):
        globs = ", ".join(settings.regions[region].images)
        yield "docker_image_repo", [f"{image} is not allowed in the region {region}; right: {globs or 'none'}"]


def _mount_faults(whole: Mapping[str, Any], settings: Settings) -> Iterator[tuple[str, list[str]]]:
    region, namespace = whole["region_name"], whole["namespace"]
    there = [name for name, mount in settings.mounts.items() if mount.is_for(namespace, region)]
    missing = [mount["name"] for mount in whole["mounts"] if mount["name"] not in there]
    if missing:
        known = ", ".join(there) or "none"
        yield "mounts", [f"{shown(missing[0])!r} is not there for {namespace} in {region}; there are: {known}"]


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
