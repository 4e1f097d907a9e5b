"""Indexes have what lists are filtered by besides, so that entries are counted and passed over without their rows."""

from typing import Any

INDEXES = {
    "jobs_by_name": "jobs (name, id, namespace) WHERE deleted_at IS NULL",
    "jobs_by_region": "jobs (region_name, id, namespace) WHERE deleted_at IS NULL",
    "execs_by_namespace": "execs (namespace, seq, deleted_at)",
    "execs_by_job": "execs (job_id, seq, deleted_at)",
    "execs_by_status": "execs (status, seq, namespace, deleted_at)",
    "execs_by_region": "execs (region_name, seq, namespace, deleted_at)",
}


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP INDEX execs_by_creation")
    for name, columns in INDEXES.items():
        db.execute_sql(f"DROP INDEX {name}")
        db.execute_sql(f"CREATE INDEX {name} ON {columns}")
