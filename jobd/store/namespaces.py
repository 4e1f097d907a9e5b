"""Namespaces: the names that own jobs. Users and organizations share one set of names, so that a name says whose a job
is.
"""

import re
from datetime import datetime

from jobd.errors import InvalidArgs, PermissionDenied, StateConflict
from jobd.store.callers import Caller
from jobd.store.db import sql
from jobd.store.db.clock import now
from jobd.store.db.tables import Exec, Job, Namespace, Organization, User

USERNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_INSERT = "INSERT INTO namespaces (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING"


def create(name: str, field: str, at: datetime) -> None:
    """Claim a name. A namespace without an owner, created by being used, keeps its jobs.

    Raises InvalidArgs on `field` for what cannot be a name, and StateConflict for one that is taken, also if it differs
    from another only in case: people would mistake one for the other.
    """
    if not USERNAME.fullmatch(name):
        right = "1 to 63 of A-Z a-z 0-9 . _ -, the first and the last a letter or digit"
        raise InvalidArgs(f"{name!r} cannot be a {field}", {field: [right]})
    ensure(name, at)
    _lock(name)
    if sql.find(User, "username = ?", name) or sql.find(Organization, "name = ?", name):
        raise StateConflict(f"{name!r} is taken")


def ensure(name: str, at: datetime) -> None:
    """Create the namespace unless it exists. Raises StateConflict if it differs from another one only in case."""
    if not sql.execute(Namespace, _INSERT, name, Namespace.created_at.db_value(at)):
        alike = sql.find(Namespace, "lower(name) = ?", name.lower())
        if alike is not None and alike.name != name:
            raise StateConflict(f"{name!r} is taken: there is {alike.name!r}")


def require_namespace(caller: Caller, namespace: str) -> None:
    """Raises PermissionDenied if the caller may not write there, whether it exists or not, and InvalidArgs if it does
    not exist.
    """
    caller.require_change()
    if not caller.may_read(namespace):
        raise PermissionDenied(f"you may not write to the namespace {namespace!r}")
    caller.require_write(namespace)
    # Locked: it must not be dropped while something is created in it.
    locking = " FOR SHARE" if Namespace._meta.database.for_update else ""
    if sql.exists(Namespace, f"name = ?{locking}", namespace):
        return
    if not caller.makes_namespaces:
        raise InvalidArgs("no such namespace", {"namespace": [f"there is no user or organization {namespace!r}"]})
    ensure(namespace, now())


def drop(name: str) -> None:
    """Delete a name. Raises StateConflict while it has jobs or execs."""
    _lock(name)
    if sql.find(Job, "namespace = ? AND deleted_at IS NULL LIMIT 1", name):
        raise StateConflict(f"{name!r} has jobs; delete them first")
    if sql.find(Job, "namespace = ? LIMIT 1", name) or sql.find(Exec, "namespace = ? LIMIT 1", name):
        raise StateConflict(f"the last runs of {name!r} are being stopped; try again in a moment")
    Namespace.delete().where(Namespace.name == name).execute()


def _lock(name: str) -> None:
    """Lock the name against others who create a job there; wait for those who are creating one."""
    list(sql.locked(Namespace.select().where(Namespace.name == name)))
