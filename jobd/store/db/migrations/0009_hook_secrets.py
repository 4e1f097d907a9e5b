"""The secrets of hooks are sealed, as variables are. One from before cannot be sealed here, without the key file: its
hook is switched off, and is to be given its secret again.
"""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE secrets ADD COLUMN hook_id BIGINT")
    db.execute_sql("DROP INDEX secrets_of_job")
    db.execute_sql(
        "CREATE UNIQUE INDEX secrets_of_job ON secrets (job_id, name) WHERE exec_seq IS NULL AND hook_id IS NULL"
    )
    db.execute_sql("CREATE UNIQUE INDEX secrets_of_hook ON secrets (hook_id) WHERE hook_id IS NOT NULL")
    db.execute_sql("UPDATE hooks SET secret = NULL, is_active = false WHERE secret IS NOT NULL")
