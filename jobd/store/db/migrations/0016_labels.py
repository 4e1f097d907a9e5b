"""Labels and the switch of jobs, in the order of lists."""

from typing import Any

from peewee import SqliteDatabase


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(
        "CREATE TABLE job_labels (label VARCHAR(511) NOT NULL, job_id BIGINT NOT NULL, "
        "namespace VARCHAR(255) NOT NULL, PRIMARY KEY (label, job_id, namespace))"
    )
    each = "json_each" if isinstance(db, SqliteDatabase) else "jsonb_each_text"
    db.execute_sql(
        "INSERT INTO job_labels (label, job_id, namespace) SELECT each.key || '=' || each.value, jobs.id, namespace "  # noqa: S608
        f"FROM jobs, {each}(labels) AS each WHERE deleted_at IS NULL"
    )
    db.execute_sql("CREATE INDEX job_labels_of_job ON job_labels (job_id)")
    db.execute_sql("CREATE INDEX jobs_by_switch ON jobs (is_schedule_active, id, namespace) WHERE deleted_at IS NULL")
