"""Webhooks: whom to notify over HTTP about a job's execs, or about all execs of a namespace."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from peewee import Expression

from jobd.errors import InvalidArgs, NotFound, StateConflict
from jobd.keyring import Keyring
from jobd.store import audit, jobs, secrets
from jobd.store.callers import Caller
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.pages import Column, Page, PageRequest, page_of
from jobd.store.db.tables import Delivery, DeliveryAttempt, Hook
from jobd.store.namespaces import require_namespace

MAX_HOOKS = 20
"""The maximum number of webhooks of one job or namespace: each event becomes as many deliveries."""
AUDITED = ("job_id", "name", "url", "events", "secret", "is_active")
SECRET_PREFIX = "whsec_"  # noqa: S105


def create(caller: Caller, subject: int | str, values: Mapping[str, Any], keyring: Keyring | None = None) -> Hook:
    """Create a webhook for a job (a number) or a namespace (a name). `keyring` is needed for a `secret`.

    Raises InvalidArgs, PermissionDenied, StateConflict, ServiceUnavailable.
    """
    if isinstance(subject, int):
        try:
            # Locked: if the job were deleted meanwhile, its webhook would be left behind.
            namespace = jobs.get(caller, subject, lock="SHARE").namespace
        except NotFound as error:
            raise InvalidArgs("there is no such job", {"subject": [error.message]}) from None
    else:
        namespace = subject
    require_namespace(caller, namespace)
    job_id = subject if isinstance(subject, int) else None
    if Hook.select().where(_of(namespace, job_id)).count() >= MAX_HOOKS:
        raise StateConflict(f"there are {MAX_HOOKS} hooks for this already")
    at = now()
    plain, secret = {**values, "secret": None}, values.get("secret")
    hook = Hook(namespace=namespace, job_id=job_id, created_by=caller.username, created_at=at, updated_at=at, **plain)
    sql.insert(hook)
    if secret is not None:
        hook.secret = secrets.store_of_hook(keyring, hook.id, secret)
        sql.update(Hook, {"secret": hook.secret}, "id = ?", hook.id)
    audit.record(caller, "hook.create", namespace, hook.id, after=_audited(hook), at=at)
    return hook


def get(caller: Caller, hook_id: int) -> Hook:
    """Raises NotFound, also for a webhook that the caller may not see."""
    hook = sql.find(Hook, "id = ?", hook_id)
    if hook is None or not caller.may_read(hook.namespace):
        raise NotFound(f"no hook {hook_id}")
    return hook


def listed(caller: Caller, subject: int | str) -> list[Hook]:
    """The webhooks of a job (a number) or a namespace (a name), newest first; none if the caller may not see it."""
    of = Hook.job_id == subject if isinstance(subject, int) else _of(subject, None)
    return [hook for hook in Hook.select().where(of).order_by(Hook.id.desc()) if caller.may_read(hook.namespace)]


def update(caller: Caller, hook_id: int, changes: Mapping[str, Any], keyring: Keyring | None = None) -> Hook:
    """Change the fields that are named and leave the rest; `keyring` as in `create`.

    Raises NotFound, PermissionDenied, ServiceUnavailable.
    """
    hook = _writable(caller, hook_id)
    columns = {**changes, "updated_at": now()}
    if "secret" in changes:
        columns["secret"] = secrets.store_of_hook(keyring, hook.id, changes["secret"])
    sql.update(Hook, columns, "id = ?", hook.id)
    changed = get(caller, hook_id)
    audit.record(caller, "hook.update", hook.namespace, hook.id, _audited(hook), _audited(changed))
    return changed


def delete(caller: Caller, hook_id: int) -> None:
    """Delete a webhook; its deliveries are deleted later. Raises NotFound, PermissionDenied."""
    hook = _writable(caller, hook_id)
    secrets.drop_of_hooks([hook.id])
    Hook.delete().where(Hook.id == hook.id).execute()
    audit.record(caller, "hook.delete", hook.namespace, hook.id, before=_audited(hook))


def delete_of_job(job_id: int) -> None:
    _delete(Hook.job_id == job_id)


def delete_of_namespace(namespace: str) -> None:
    """Delete the webhooks of a namespace: whoever has the name next must have none of them."""
    _delete(Hook.namespace == namespace)


def _delete(which: Expression) -> None:
    secrets.drop_of_hooks(Hook.select(Hook.id).where(which))
    Hook.delete().where(which).execute()


def deliveries(caller: Caller, hook_id: int, request: PageRequest) -> tuple[Page, dict[int, list[DeliveryAttempt]]]:
    """A webhook's deliveries, newest first, and the attempts of each, oldest first. Raises NotFound."""
    query = Delivery.select().where(Delivery.hook_id == get(caller, hook_id).id)
    page = page_of(query, request, Column(Delivery.id, int, lambda row: int(row.id)))
    attempts: dict[int, list[DeliveryAttempt]] = {row.id: [] for row in page.rows}
    for attempt in (
        DeliveryAttempt.select().where(DeliveryAttempt.delivery_id.in_(list(attempts))).order_by(DeliveryAttempt.id)
    ):
        attempts[attempt.delivery_id].append(attempt)
    return page, attempts


def redeliver(caller: Caller, hook_id: int, delivery_id: int) -> Delivery:
    """Queue the same message once more, with its id, as another delivery. Raises NotFound, PermissionDenied, and
    StateConflict if the webhook is switched off.
    """
    hook = _writable(caller, hook_id)
    source = sql.find(Delivery, "id = ? AND hook_id = ?", delivery_id, hook.id)
    if source is None:
        raise NotFound(f"no delivery {delivery_id} of hook {hook_id}")
    if not hook.is_active:
        raise StateConflict(f"hook {hook_id} is switched off")
    same = ("message_id", "hook_id", "namespace", "job_id", "exec_id", "event", "event_at", "body")
    at = now()
    delivery = Delivery(**{name: getattr(source, name) for name in same}, next_at=at, created_at=at)
    sql.insert(delivery)
    audit.record(caller, "hook.redeliver", hook.namespace, hook.id, after={"delivery": source.id}, at=at)
    return delivery


def secret_bytes(secret: str) -> bytes:
    """The key that a secret stands for: the Base64 after `whsec_` (Standard Webhooks), or else its UTF-8 bytes.

    Raises ValueError.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    text = secret.removeprefix(SECRET_PREFIX)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"after {SECRET_PREFIX} must be Base64") from error


def _writable(caller: Caller, hook_id: int) -> Hook:
    hook = get(caller, hook_id)
    caller.require_write(hook.namespace)
    return hook


def _audited(hook: Hook) -> dict[str, Any]:
    return {name: getattr(hook, name) for name in AUDITED}


def _of(namespace: str, job_id: int | None) -> Expression:
    return Hook.job_id == job_id if job_id is not None else Hook.job_id.is_null() & (Hook.namespace == namespace)
