"""Who changed what: a record in each change's own transaction, so that there is no change without one, and none of a
change that never was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobd.errors import PermissionDenied
from jobd.store.callers import Caller
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.pages import Column, Page, PageRequest, page_of
from jobd.store.db.tables import Audit, Namespace

HIDDEN = "******"
SECRET = frozenset(["secret", "secret_vars", "secrets", "password", "password_hash", "token", "digest", "prefix"])
"""Fields whose values are never recorded, only that they were there."""
DROPPED_AT_ONCE = 1000


@dataclass(frozen=True)
class AuditFilter:
    namespace: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def record(
    caller: Caller,
    action: str,
    namespace: str,
    subject: object,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> None:
    """To be called in the transaction of the change. `action` is `noun.verb`, `subject` what it was done to; of
    `before` and `after` only what differs is kept, and where both are given and nothing differs there is no record.
    """
    row = entry(caller, action, namespace, subject, before, after, at or now())
    if row is not None:
        sql.insert(row)


def entry(
    caller: Caller,
    action: str,
    namespace: str,
    subject: object,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    at: Any = sql.NOW,
) -> Audit | None:
    """What `record` inserts, for a statement that inserts it together with what it is about."""
    was, became = _difference(before or {}, after or {})
    if before is not None and after is not None and not was and not became:
        return None
    row = Audit(
        at=at,
        namespace=namespace,
        actor=caller.username,
        address=caller.address,
        request_id=caller.request_id,
        action=action,
        subject=str(subject),
    )
    if caller.token_id is not None:
        row.token_id = caller.token_id
    if was:
        row.before = was
    if became:
        row.after = became
    return row


def listed(caller: Caller, filters: AuditFilter, page: PageRequest) -> Page:
    """Records of the namespaces that the caller is admin of, newest first. A foreign namespace is empty.

    Raises PermissionDenied for a namespace that the caller may read and no more.
    """
    query = Audit.select()
    if filters.namespace is not None:
        if caller.may_read(filters.namespace) and not caller.may_admin(filters.namespace):
            raise PermissionDenied(f"only admins of the namespace {filters.namespace!r} may see its audit")
        query = query.where(Audit.namespace == filters.namespace)
    if caller.roles is not None:
        query = query.where(Audit.namespace.in_(sorted(filter(caller.may_admin, caller.roles))))
        # What another had under this name before is not theirs to see who have it now.
        began = Namespace.select(Namespace.created_at).where(Namespace.name == Audit.namespace)
        query = query.where(Audit.at >= began)
    if filters.actor is not None:
        query = query.where(Audit.actor == filters.actor)
    if filters.since is not None:
        query = query.where(Audit.at >= filters.since)
    if filters.until is not None:
        query = query.where(Audit.at < filters.until)
    return page_of(query, page, Column(Audit.id, int, lambda row: int(row.id)))


def drop_old(max_age: float) -> int:
    """Drop records that are older than `max_age` seconds, at most a batch of them; how many. The oldest come first, so
    that nothing is read when there is nothing to drop.
    """
    before = now() - timedelta(seconds=max_age)
    oldest = Audit.select(Audit.id, Audit.at).order_by(Audit.id).limit(DROPPED_AT_ONCE)
    old = [row.id for row in oldest if row.at < before]
    return int(Audit.delete().where(Audit.id.in_(old)).execute()) if old else 0


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    was = {name: _shown(name, value) for name, value in before.items() if value != after.get(name)}
    became = {name: _shown(name, value) for name, value in after.items() if value != before.get(name)}
    return was, became


def _shown(name: str, value: Any) -> Any:
    if name in SECRET and value is not None:
        return dict.fromkeys(value, HIDDEN) if isinstance(value, Mapping) else HIDDEN
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value
