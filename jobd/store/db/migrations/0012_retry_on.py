"""Which failures of a job are retried."""

from typing import Any

from peewee import SqliteDatabase


def up(migrator: Any, db: Any) -> None:
    json = "TEXT" if isinstance(db, SqliteDatabase) else "JSONB"
    for table in ("jobs", "execs"):
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN retry_on {json}")
