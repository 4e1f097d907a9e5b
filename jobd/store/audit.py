"""The audit log: who changed what. Each record is written in the transaction of its change, so every committed change
has one, and a change that was rolled back has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial, reduce
from operator import or_
from typing import Any

from jobd.errors import PermissionDenied
from jobd.store import spans, tallies
from jobd.store.callers import Caller
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.pages import Column, Narrowing, Page, PageRequest, page_of
from jobd.store.db.tables import Audit, Namespace
from jobd.store.spans import CreatedBetween

HIDDEN = "******"
SECRET = frozenset(["secret", "secret_vars", "secrets", "password", "password_hash", "token", "digest", "prefix"])
"""Fields whose values are never recorded, only the fact that there was one."""
DROPPED_AT_ONCE = 1000
MAX_ASKED_EACH = 20
"""For up to so many namespaces the records of former owners are counted one namespace at a time; with more, everything
is counted.
"""


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
    namespaces = caller.shown(filters.namespace)
    if filters.namespace is not None and namespaces and not caller.may_admin(filters.namespace):
        raise PermissionDenied(f"only admins of the namespace {filters.namespace!r} may see its audit")
    since, count = filters.since, None
    if namespaces is not None and caller.roles is not None:
        begins = _begins(sorted(filter(caller.may_admin, namespaces)))
        query = query.where(_theirs(begins))
        if begins:
            since = max([min(begins.values()), *([since] if since else [])])
        count = partial(_number, begins) if len(begins) <= MAX_ASKED_EACH else None
    else:
        if namespaces is not None:
            query = query.where(Audit.namespace.in_(sorted(namespaces)))
        count = partial(tallies.number, tallies.AUDIT, namespaces)
    if filters.actor is not None:
        query = query.where(Audit.actor == filters.actor)
    narrow: Narrowing = CreatedBetween(tallies.AUDIT, since, filters.until).among
    if count is not None and filters == AuditFilter(namespace=filters.namespace):
        narrow = tallies.counting(count, narrow)
    return page_of(query, page, Column(Audit.id, int, lambda row: int(row.id)), narrow=narrow)


def _begins(names: list[str]) -> dict[str, datetime]:
    """Since when each namespace has its present owner, who must not see the records of a former one."""
    rows = sql.find_all(Namespace, f"name IN ({sql.marks(len(names))})", *names)
    return {row.name: row.created_at for row in rows}


def _theirs(begins: Mapping[str, datetime]) -> Any:
    """The condition for records of these namespaces. That no record is older than the first of their owners is checked
    elsewhere as well.
    """
    if len(begins) == 1:
        return Audit.namespace == next(iter(begins))
    of_each = [(Audit.namespace == name) & (Audit.at >= began) for name, began in begins.items()]
    return reduce(or_, of_each) if of_each else Audit.id.is_null()


def _number(begins: Mapping[str, datetime]) -> int:
    """How many records the namespaces have, without those of former owners. Call it in a snapshot."""
    before = 0
    for name, began in begins.items():
        last = spans.between(tallies.AUDIT, None, began).last
        earlier = "namespace = ? AND id <= ? AND at < ?"
        before += sql.count(Audit, earlier, name, last, Audit.at.db_value(began))
    return tallies.number(tallies.AUDIT, begins.keys()) - before


def drop_old(max_age: float) -> int:
    """Delete at most one batch of records that are older than `max_age` seconds; returns how many. The oldest records
    are looked at first, so the query reads little when there is nothing to delete.
    """
    before = now() - timedelta(seconds=max_age)
    oldest = Audit.select(Audit.id, Audit.at).order_by(Audit.id).limit(DROPPED_AT_ONCE)
    old = [row.id for row in oldest if row.at < before]
    rows = list(Audit.delete().where(Audit.id.in_(old)).returning(Audit.id, Audit.namespace).execute())
    tallies.gone(tallies.AUDIT, [(row.id, row.namespace, None) for row in rows])
    return len(rows)


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    was = {name: _shown(name, value) for name, value in before.items() if value != after.get(name)}
    became = {name: _shown(name, value) for name, value in after.items() if value != before.get(name)}
    return was, became


def _shown(name: str, value: Any) -> Any:
    if name in SECRET and value is not None:
        return dict.fromkeys(value, HIDDEN) if isinstance(value, Mapping) else HIDDEN
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value
