"""What lists are filtered by, each in the order of the list."""

from typing import Any

INDEXES = {
    "execs_by_status": "execs (status, seq)",
    "execs_by_region": "execs (region_name, seq)",
    "execs_by_creation": "execs (created_at)",
    "jobs_by_name": "jobs (name, id) WHERE deleted_at IS NULL",
    "jobs_by_region": "jobs (region_name, id) WHERE deleted_at IS NULL",
}


def up(migrator: Any, db: Any) -> None:
    for name, columns in INDEXES.items():
        db.execute_sql(f"CREATE INDEX {name} ON {columns}")
