"""No two names of users or organizations differ in upper and lower case alone."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("CREATE UNIQUE INDEX namespaces_by_case ON namespaces (lower(name))")
