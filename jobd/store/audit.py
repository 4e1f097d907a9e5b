"""The audit log: who changed what. Each record is written in the transaction of its change, so every committed change
has one, and a change that was rolled back has none.
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
    """Write an audit record. Call it in the transaction of the change. `action` is `noun.verb`, `subject` is what was
    changed. Of `before` and `after` only the fields that differ are kept; if both are given and nothing differs, no
    record is written.
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
    """The row that `record` would insert, for a statement that inserts it together with the change."""
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
    """Records of the namespaces that the caller administers, newest first. A namespace that the caller cannot see looks
    empty.

    Raises PermissionDenied for a namespace that the caller may read, but does not administer.
    """
    query = Audit.select()
    if filters.namespace is not None:
        if caller.may_read(filters.namespace) and not caller.may_admin(filters.namespace):
            raise PermissionDenied(f"only admins of the namespace {filters.namespace!r} may see its audit")
        query = query.where(Audit.namespace == filters.namespace)
    if caller.roles is not None:
        query = query.where(Audit.namespace.in_(sorted(filter(caller.may_admin, caller.roles))))
        # Whoever owns the name now must not see the records of a former owner.
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
    """Delete at most one batch of records that are older than `max_age` seconds; returns how many. The oldest records
    are looked at first, so the query reads little when there is nothing to delete.
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
