"""What is known of a clock that was wrong: up to where a job's slots were decided by it, and what a daemon saw last."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE jobs ADD COLUMN decided_until BIGINT")
    for column in ("seen_at BIGINT", "boot_id VARCHAR(36)", "steady_at BIGINT"):
        db.execute_sql(f"ALTER TABLE daemons ADD COLUMN {column}")
